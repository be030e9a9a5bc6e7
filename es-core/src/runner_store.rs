//! Everything that a runner of consumers needs from a store.

use crate::{
    control_store::ControlStore, diagnostics::Diagnostics, event_store::EventStore, generation_store::GenerationStore,
    lease_store::LeaseStore, parking_store::ParkingStore, partition_store::PartitionStore,
};

/// A store on which consumers can run: every store that implements the traits named here. The trait is object-safe, so
/// an application that chooses its store at startup can hold an `Arc<dyn RunnerStore>`.
pub trait RunnerStore:
    EventStore + GenerationStore + PartitionStore + LeaseStore + ParkingStore + ControlStore + Diagnostics
{
}

impl<S> RunnerStore for S where
    S: EventStore + GenerationStore + PartitionStore + LeaseStore + ParkingStore + ControlStore + Diagnostics + ?Sized
{
}

//! Everything that a runner of consumers needs of a store.

use crate::{
    control_store::ControlStore, diagnostics::Diagnostics, event_store::EventStore, generation_store::GenerationStore,
    lease_store::LeaseStore, parking_store::ParkingStore, partition_store::PartitionStore,
};

/// A store over which consumers can be run: every store that implements the contracts named here. Object-safe, so that an
/// application that chooses its store when it starts can hold an `Arc<dyn RunnerStore>`.
pub trait RunnerStore:
    EventStore + GenerationStore + PartitionStore + LeaseStore + ParkingStore + ControlStore + Diagnostics
{
}

impl<S> RunnerStore for S where
    S: EventStore + GenerationStore + PartitionStore + LeaseStore + ParkingStore + ControlStore + Diagnostics + ?Sized
{
}

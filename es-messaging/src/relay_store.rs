//! What relays need of a store.

use es_core::{ControlStore, DeadLetterStore, LeaseStore, OutboxStore};

/// What a relay needs of a store besides the log: dead letters, suspensions, and a lease for those that are published
/// again.
pub trait RelayStore: DeadLetterStore + LeaseStore + ControlStore {}

impl<S: DeadLetterStore + LeaseStore + ControlStore + ?Sized> RelayStore for S {}

/// Everything that the relay of an outbox needs of a store.
pub trait OutboxRelayStore: OutboxStore + RelayStore {}

impl<S: OutboxStore + RelayStore + ?Sized> OutboxRelayStore for S {}

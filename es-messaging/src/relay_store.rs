//! The store traits that relays require.

use es_core::{ControlStore, DeadLetterStore, LeaseStore, OutboxStore};

/// What a relay requires of a store in addition to the log: dead letters, suspensions, and a lease for publishing dead
/// letters again.
pub trait RelayStore: DeadLetterStore + LeaseStore + ControlStore {}

impl<S: DeadLetterStore + LeaseStore + ControlStore + ?Sized> RelayStore for S {}

/// Everything that the relay of an outbox requires of a store.
pub trait OutboxRelayStore: OutboxStore + RelayStore {}

impl<S: OutboxStore + RelayStore + ?Sized> OutboxRelayStore for S {}

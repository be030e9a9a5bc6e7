//! Tools for tests of event-sourced applications, and of the stores under them.
//!
//! - For applications: [`given`] tests an aggregate, [`given_events`] a view or projection; [`FaultyStore`] is a store with a
//!   bad network; [`HistoryChecker`] finds what was lost, doubled or skipped.
//! - For stores: [`conformance!`] runs every promise of a store as a test; see [its module](mod@conformance).
//! - For brokers, with the feature `messaging`: `broker_conformance!` runs every promise of a broker as a test; with the feature
//!   `certificates`, `Authority` signs certificates for tests of TLS.
//! - [`bank`] is the small domain that all of this speaks about.
//!
//! Everything here panics when a check fails, as tests do.

#[cfg(feature = "certificates")]
mod authority;
pub mod bank;
#[cfg(feature = "messaging")]
pub mod broker_conformance;
pub mod conformance;
mod faulty_store;
mod given;
mod harness;
mod history_checker;
mod memory_harness;
mod projection_spec;
mod rng;

#[cfg(feature = "certificates")]
pub use authority::Authority;
pub use faulty_store::{Fault, FaultPlan, FaultyStore, Operation};
pub use given::{AfterThen, Given, When, given};
pub use harness::{LedgerRow, OpenTransaction, StoreHarness};
pub use history_checker::{HistoryChecker, HistoryReport, Violation};
pub use memory_harness::{MemoryHarness, MemoryLedger};
pub use projection_spec::{GivenEvents, Viewed, given_events};
pub use rng::{SEED_VARIABLE, SeededRng};

/// What the macros use; not for anybody else.
#[doc(hidden)]
pub mod __private {
    pub use crate::conformance::run_case;
}

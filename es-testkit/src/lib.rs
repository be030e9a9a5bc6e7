//! Tools for tests of event-sourced applications, and of the stores under them.
//!
//! - For applications, without any feature: [`given`] tests an aggregate, [`given_events`] a view or projection; [`FaultyStore`] is a store with a
//!   bad network; [`HistoryChecker`] finds what was lost, doubled or skipped.
//! - For stores, with the feature `conformance`: `conformance!` runs every promise of a store as a test; see its module.
//! - For brokers, with the feature `messaging`: `broker_conformance!` runs every promise of a broker as a test, and
//!   `sdk_messages` are what other systems send; with the feature `certificates`, `Authority` signs certificates for
//!   tests of TLS, and with `proxy`, `TcpProxy` is a network that can be cut.
//! - [`bank`] is the small domain that all of this speaks about.
//!
//! Everything here panics when a check fails, as tests do.

#[cfg(feature = "certificates")]
mod authority;
pub mod bank;
#[cfg(feature = "messaging")]
pub mod broker_conformance;
#[cfg(feature = "conformance")]
pub mod conformance;
mod faulty_store;
mod given;
#[cfg(feature = "conformance")]
mod harness;
mod history_checker;
#[cfg(feature = "conformance")]
mod memory_harness;
mod projection_spec;
mod rng;
#[cfg(feature = "messaging")]
mod sdk_messages;
#[cfg(feature = "proxy")]
mod tcp_proxy;

#[cfg(feature = "certificates")]
pub use authority::Authority;
pub use faulty_store::{Fault, FaultPlan, FaultyStore, Operation};
pub use given::{AfterThen, Given, When, given};
#[cfg(feature = "conformance")]
pub use harness::{LedgerRow, OpenTransaction, StoreHarness};
pub use history_checker::{HistoryChecker, HistoryReport, Violation};
#[cfg(feature = "conformance")]
pub use memory_harness::{MemoryHarness, MemoryLedger};
pub use projection_spec::{GivenEvents, Viewed, given_events};
pub use rng::{SEED_VARIABLE, SeededRng};
#[cfg(feature = "messaging")]
pub use sdk_messages::{SdkMessage, sdk_messages};
#[cfg(feature = "proxy")]
pub use tcp_proxy::TcpProxy;

/// What the macros use; not for anybody else.
#[cfg(feature = "conformance")]
#[doc(hidden)]
pub mod __private {
    pub use crate::conformance::run_case;
}

//! Tools for tests: the conformance suite that every store runs, given/when/then for aggregates and projections, fault
//! injection, and a checker of histories.

pub mod bank;
mod harness;

pub use harness::{LedgerRow, StoreHarness};

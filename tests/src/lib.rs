//! What the end-to-end tests share, and the README as a test.

pub mod ledger;
pub mod poison;
pub mod processes;
pub mod progress;
pub mod read_models;
pub mod server;
pub mod traces;
pub mod wal_counter;
pub mod wire_counter;
pub mod workload;

/// The example of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

//! Throwaway servers for tests, and the tools that find or install them.
//!
//! The binary of this package is `cargo xtask`; this library is what it shares with tests that start,
//! crash and restart servers of their own:
//!
//! ```no_run
//! use xtask::postgres::{PostgresInstall, PostgresOptions, ThrowawayPostgres};
//!
//! let install = PostgresInstall::find()?;
//! let mut server = ThrowawayPostgres::start(&install, &PostgresOptions::durable())?;
//! println!("{}", server.url());
//! server.kill()?; // as a power cut would: every process of the server at once
//! server.restart()?; // same data, same port
//! # Ok::<(), xtask::ServerError>(())
//! ```
//!
//! A server never outlives the process that started it, not even when that process is killed with
//! `SIGKILL`: it runs under a small shell that stops it, and removes its folder, as soon as a pipe held by the
//! owner is closed.
//!
//! Linux only: processes are followed through `/proc`.

mod account;
pub mod brokers;
mod deadline;
mod error;
pub mod pgbouncer;
mod plain_server;
mod port;
pub mod postgres;
mod process;
mod supervisor;
mod temp_folder;
pub mod tools;
pub mod workspace;

pub use error::ServerError;

//! Throwaway PostgreSQL servers, and the installations they are started from.

mod install;
mod options;
mod slow_flush;
mod throwaway;

pub use install::{MINIMUM_MAJOR, PostgresInstall, PostgresVersion};
pub use options::{Auth, PostgresOptions};
pub(crate) use throwaway::postgres_url;
pub use throwaway::{Shutdown, ThrowawayPostgres};

//! An event-sourcing framework with CQRS projections, as one dependency.
//!
//! This crate has no code of its own. It re-exports the crates that most applications use, so that a program names one
//! dependency of the framework and chooses its stores by features:
//!
//! | feature | what it adds |
//! |---|---|
//! | (always) | everything in [`es_core`]: aggregates, events, repositories, contracts, the store in memory |
//! | `projections` (default) | [`Runner`] and [`Subscription`]; everything else in [`projections`] |
//! | `sqlite` (default) | [`SqliteStore`]; everything else in [`sqlite`] |
//! | `postgres` | `PgStore`; everything else in `postgres` |
//! | `messaging` | relays, outbox, consumers and dead letters in `messaging`; each broker is a crate of its own |
//!
//! Libraries that extend the framework depend on the crates themselves.
//!
//! ```
//! use es::{EventFilter, EventStore, PageSize, Position, SqliteStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = std::env::temp_dir().join(format!("es-facade-{}.db", std::process::id()));
//! let store = SqliteStore::open(&file).await?;
//! let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await?;
//! assert!(page.events.is_empty());
//! # Ok(()) }
//! ```

pub use es_core::*;

#[cfg(feature = "messaging")]
pub use es_messaging as messaging;
#[cfg(feature = "postgres")]
pub use es_postgres::{self as postgres, PgOptions, PgStore};
#[cfg(feature = "projections")]
pub use es_projections::{
    self as projections, ConsumerOptions, FailurePolicy, Runner, RunnerBuilder, StartFrom, Subscription,
};
#[cfg(feature = "sqlite")]
pub use es_sqlite::{self as sqlite, SqliteOptions, SqliteStore};

//! The embedded event store: one SQLite file, without a server.
//!
//! [`SqliteStore`] implements every contract of `es-core`. SQLite itself is compiled in.
//!
//! ```
//! # use es_core::*; use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize)] enum CounterEvent { Added { amount: u32 } }
//! # impl DomainEvent for CounterEvent { const CATEGORY: &'static str = "counter"; }
//! # struct Add(u32);
//! # #[derive(Default, Clone)] struct Counter { total: u32 }
//! # impl Aggregate for Counter {
//! #     type Event = CounterEvent; type Command = Add; type Error = std::convert::Infallible;
//! #     fn handle(&self, c: &Add) -> Result<Vec<CounterEvent>, Self::Error> { Ok(vec![CounterEvent::Added { amount: c.0 }]) }
//! #     fn apply(&mut self, CounterEvent::Added { amount }: &CounterEvent) { self.total += amount; }
//! # }
//! # #[derive(Default, Serialize, Deserialize)] struct Total { total: u32 }
//! # impl View for Total {
//! #     const NAME: &'static str = "total"; type Event = CounterEvent;
//! #     fn keys(event: &Recorded<CounterEvent>) -> Vec<String> { vec![event.stream().id().to_owned()] }
//! #     fn apply(&mut self, event: &Recorded<CounterEvent>) -> DocumentAction {
//! #         let CounterEvent::Added { amount } = event.event; self.total += amount; DocumentAction::Keep
//! #     }
//! # }
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("es-sqlite-doc-{}-lib", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let path = folder.join("counters.db");
//! use es_sqlite::SqliteOptions;
//!
//! // The view is up to date as soon as a command has returned:
//! let store = SqliteOptions::new(&path).inline_view::<Total>().open().await?;
//! let counters = Repository::<Counter>::new(&store);
//! counters.execute("clicks", Add(2)).await?;
//!
//! let total = store.view::<Total>().get("clicks").await?;
//! assert_eq!(total.map(|view| view.total), Some(2));
//! # store.close().await?;
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(()) }
//! ```

mod append;
mod append_alone;
mod blobs;
mod config;
mod control;
mod dead_letters;
mod diagnostics;
mod documents;
mod error;
mod generations;
mod handler_scope;
mod inbox;
mod inline;
mod leases;
mod limits;
mod migrate;
mod opened_file;
mod outbox;
mod page_time;
mod parking;
mod partitions;
mod projections;
mod queue;
mod read_all;
mod read_connection;
mod read_stream;
mod readers;
mod records;
mod rows;
mod shared_commit;
mod snapshots;
mod sql;
mod sqlite_version;
mod store;
mod turns;
mod unit_of_work;
mod waiting;
mod wakeups;
mod writer;

pub use config::{DEFAULT_BUSY_TIMEOUT, DEFAULT_READERS, MAX_BUSY_TIMEOUT, MAX_READERS, SqliteOptions, Synchronous};
pub use limits::{
    FILE_CHECK_INTERVAL, MAX_PAGE_TIME, MAX_SHARED_COMMIT_TIME, MAX_WRITER_WAIT, MAX_WRITES_PER_COMMIT,
    PAGE_TIME_CHECK_INTERVAL,
};
pub use queue::MAX_APPENDS_PER_COMMIT;
pub use read_connection::ReadConnection;
pub use sqlite_version::MIN_SQLITE_VERSION;
/// The driver, in the version that this crate uses.
pub use sqlx;
pub use sqlx::SqliteConnection;
pub use store::SqliteStore;
pub use unit_of_work::UnitOfWork;
pub use wakeups::POLL_INTERVAL;

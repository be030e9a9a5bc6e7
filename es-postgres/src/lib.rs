//! The PostgreSQL event store.
//!
//! [`PgStore`] keeps one totally ordered log in one schema of a PostgreSQL database, 15 or newer. An append is one call
//! of one function in the database, whatever the number of events and streams, and is flushed when it returns.
//!
//! - **Order.** An advisory lock, held to the end of the transaction, orders all appends to a schema over all processes. So
//!   positions are gapless and follow the order of commits, and a reader that has seen a position has seen
//!   everything before it.
//! - **With your own writes.** [`PgStore::begin`] gives a [`UnitOfWork`]: your writes and your events, both or neither.
//!   [`PgStore::append_in`] appends in a transaction that you have.
//! - **Inline.** [`PgOptions::inline_view`] and [`PgOptions::inline_projection`] keep a read model up to date in the
//!   transaction of the append itself.
//! - **Schema.** It is created and migrated by [`PgStore::connect`]. Several stores may live in one database, each in its schema
//!   ([`PgOptions::schema`]); nothing outside the schema is touched.
//! - **Rights.** Programs need no rights to change the log's tables: [`roles_script`] writes the roles.
//! - **TLS** by rustls, with the feature `tls`, which is on by default: `sslmode`, `sslrootcert`, `sslcert` and `sslkey` in the URL, or
//!   [`PgOptions::ssl_mode`] and its neighbors.
//! - **PgBouncer** in transaction mode: [`PgOptions::pgbouncer`].
//!
//! Projections write with a [`PgConnection`]; [`sqlx`] is re-exported for them.

mod append;
mod blobs;
mod config;
mod connections;
mod control;
mod dead_letters;
mod diagnostics;
mod documents;
mod durability;
mod error;
mod generations;
mod handler_scope;
mod inbox;
mod inline;
mod leases;
mod migrate;
mod outbox;
mod parking;
mod partitions;
mod projections;
mod queue;
mod read_all;
mod read_connection;
mod read_stream;
mod records;
mod roles;
mod rows;
mod snapshots;
mod source;
mod sql;
mod statements;
mod store;
mod tails;
mod tls;
mod unit_of_work;
mod wakeups;
mod writer;

pub use sqlx;
pub use sqlx::PgConnection;

pub use config::{
    DEFAULT_ACQUIRE_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_LOCK_TIMEOUT, DEFAULT_MAX_CONNECTIONS, PgOptions,
};
pub use queue::{MAX_APPENDS_PER_COMMIT, MAX_WAITING_APPENDS};
pub use read_connection::ReadConnection;
pub use roles::roles_script;
pub use statements::MAX_SCHEMA_NAME_BYTES;
pub use store::PgStore;
pub use unit_of_work::{MAX_APPENDS_PER_UNIT_OF_WORK, UnitOfWork};

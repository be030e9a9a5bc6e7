//! The PostgreSQL event store.
//!
//! [`PgStore`] keeps one totally ordered log in one schema of a PostgreSQL database, version 15 or newer. An append
//! calls one function in the database once, whatever the number of events and streams, and is flushed when it returns.
//!
//! - **Order.** An advisory lock, held until the end of the transaction, orders all appends to a schema across all
//!   processes. Positions therefore have no gaps and follow commit order, and a reader that has seen a position has
//!   seen everything before it.
//! - **With your own writes.** [`PgStore::begin`] returns a [`UnitOfWork`], which commits your writes and your events
//!   together or not at all. [`PgStore::append_in`] appends in an existing transaction.
//! - **Inline.** [`PgOptions::inline_view`] and [`PgOptions::inline_projection`] keep a read model up to date in the
//!   transaction of the append itself.
//! - **Schema.** [`PgStore::connect`] creates and migrates the schema. One database can contain several stores, each in
//!   its own schema ([`PgOptions::schema`]). The store touches nothing outside its schema.
//! - **Rights.** Programs need no rights to change the tables of the log: [`roles_script`] returns a script that
//!   creates the roles.
//! - **TLS** uses rustls, with the feature `tls`, which is on by default. Configure it with `sslmode`, `sslrootcert`,
//!   `sslcert`, and `sslkey` in the URL, or with [`PgOptions::ssl_mode`] and related methods.
//! - **PgBouncer** is supported in transaction mode: [`PgOptions::pgbouncer`].
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

//! The databases that are measured, each with its store and with hand-written statements on the same tables.

mod postgres;
mod postgres_floor;
mod postgres_totals;
mod sqlite;
mod sqlite_floor;
mod sqlite_totals;

use std::sync::Arc;

use async_trait::async_trait;
use es_core::RunnerStore;
use es_projections::Runner;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

pub use self::{postgres::Postgres, sqlite::Sqlite};
use crate::{Error, models::Model, row::Row};

/// Rows in one commit, or in one page.
pub const PAGE: usize = 1_000;
/// Rows in one page of a bulk load: as many as a page of a store may have.
pub const LARGE_PAGE: usize = es_core::limits::MAX_PAGE_EVENTS;

/// Where one store is: a schema of the server, or a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place(pub String);

/// A database: opens stores, and gives the floor beneath them.
#[async_trait]
pub trait Database: Send + Sync {
    /// A new, empty place, with the tables of a store in it.
    async fn create(&self) -> Result<Place, Error>;

    /// Opens the store in a place; the only place where a store is opened, and so where its settings are.
    async fn open(&self, place: &Place) -> Result<Arc<dyn RunnerStore>, Error>;

    /// A store and a runner with one read model.
    async fn runner(&self, place: &Place, model: Model) -> Result<(Arc<dyn RunnerStore>, Runner), Error>;

    /// Hand-written statements on the tables in a place, with at most so many connections.
    async fn floor(&self, place: &Place, connections: usize) -> Result<Arc<dyn Floor>, Error>;

    /// Removes a place with everything in it.
    async fn discard(&self, place: Place) -> Result<(), Error>;

    /// Its version and settings, for the report.
    async fn description(&self) -> Result<Vec<(String, String)>, Error>;
}

/// What the database itself can do: hand-written sqlx statements on the store's own tables and indexes, on connections that
/// are not pinged before each use.
#[async_trait]
pub trait Floor: Send + Sync {
    /// Inserts one row and commits.
    async fn insert_one(&self, row: Row) -> Result<(), Error>;

    /// Inserts rows in one commit, in the quickest way that sqlx offers for rows as they come.
    async fn insert_many(&self, rows: Vec<Row>) -> Result<(), Error>;

    /// Reads all rows, or those of one stream, in order by one statement, and deserializes each payload; gives how many.
    async fn read_streamed(&self, stream: Option<&str>) -> Result<u64, Error>;

    /// Reads all rows in order, by pages, and deserializes each payload; gives how many.
    async fn read_in_pages(&self) -> Result<u64, Error>;

    /// Upserts one row for each booking, in one transaction for each page, into a table of its own.
    async fn upsert_each(&self, pages: &[Vec<(String, i64)>]) -> Result<(), Error>;

    /// What a program without the framework would do to keep sums by account: reads a page, deserializes it, and
    /// upserts the sums by one statement, in one transaction with its checkpoint. Gives how many events it read.
    async fn keep_sums(&self) -> Result<u64, Error>;

    /// The quickest that a program without the framework could load the same rows: reads the log in large pages, deserializes it,
    /// adds all sums up in memory, and inserts them by multi-row statements in one transaction. Gives how many events it read.
    async fn load_sums(&self) -> Result<u64, Error>;

    /// Tells the database that much has been written, as its own maintenance would some time later.
    async fn settle(&self) -> Result<(), Error>;
}

/// A statement of ours; nothing in it comes from outside but the name of a schema or table, which is ours too.
fn sql(text: impl Into<String>) -> SqlStr {
    AssertSqlSafe(text.into()).into_sql_str()
}

//! What calls of a store wait for, as far as the database can tell.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{error::StoreError, timestamp::rfc3339};

/// A database process that blocks a call of the store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DatabaseBlocker {
    /// The ID of the database process.
    pub pid: i32,
    /// The name that the blocking application set.
    pub application_name: String,
    /// The latest statement, cut to [`MAX_SHOWN_QUERY_CHARS`](crate::limits::MAX_SHOWN_QUERY_CHARS).
    pub query: String,
    /// The state in the database's words, such as `active` or `idle in transaction`.
    pub state: String,
    /// When the transaction began, by the database's clock, if that is known.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

impl DatabaseBlocker {
    /// Creates a blocker. Stores report blockers in this way.
    pub fn new(
        pid: i32,
        application_name: String,
        query: String,
        state: String,
        since: Option<OffsetDateTime>,
    ) -> Self {
        Self { pid, application_name, query, state, since }
    }
}

impl fmt::Display for DatabaseBlocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, application_name, query, state, since } = self;
        write!(f, "process {pid} ({application_name}), {state}")?;
        if let Some(since) = since {
            write!(f, " since {}", rfc3339(*since))?;
        }
        write!(f, ": {query}")
    }
}

/// A call of the store that another process blocks in the database.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DatabaseWait {
    /// The ID of the database process that serves the call.
    pub pid: i32,
    /// The statement, cut to [`MAX_SHOWN_QUERY_CHARS`](crate::limits::MAX_SHOWN_QUERY_CHARS).
    pub query: String,
    /// The processes that block the call.
    pub blocked_by: Vec<DatabaseBlocker>,
}

impl DatabaseWait {
    /// Creates a waiting call. Stores report waiting calls in this way.
    pub fn new(pid: i32, query: String, blocked_by: Vec<DatabaseBlocker>) -> Self {
        Self { pid, query, blocked_by }
    }
}

impl fmt::Display for DatabaseWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} waits with {:?}", self.pid, self.query)?;
        for (index, blocker) in self.blocked_by.iter().enumerate() {
            write!(f, "{} {blocker}", if index == 0 { " for" } else { ", and for" })?;
        }
        Ok(())
    }
}

/// A store's information about its own problems. The trait is object-safe.
///
/// # Cancel safety
/// The method changes nothing.
#[async_trait]
pub trait Diagnostics: Send + Sync {
    /// Returns which of this store's calls are currently blocked in the database, at most
    /// [`MAX_DATABASE_WAITS`](crate::limits::MAX_DATABASE_WAITS). The list is empty if the database cannot tell.
    async fn waiting_on(&self) -> Result<Vec<DatabaseWait>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl<S: Diagnostics + ?Sized> Diagnostics for Arc<S> {
    async fn waiting_on(&self) -> Result<Vec<DatabaseWait>, StoreError> {
        (**self).waiting_on().await
    }
}

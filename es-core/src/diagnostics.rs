//! What a store's calls wait for, as far as its database can tell.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{error::StoreError, timestamp::rfc3339};

/// Who keeps a call of the store waiting.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DatabaseBlocker {
    /// The process of the database that serves it.
    pub pid: i32,
    /// What it calls itself.
    pub application_name: String,
    /// Its latest statement, cut to [`MAX_SHOWN_QUERY_CHARS`](crate::limits::MAX_SHOWN_QUERY_CHARS).
    pub query: String,
    /// What it is doing, in the database's words: `active`, `idle in transaction`.
    pub state: String,
    /// Since when it has been in its transaction, by the database's clock, if that is known.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

impl DatabaseBlocker {
    /// Somebody who keeps a call waiting, as stores report it.
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

/// A call of the store that waits for somebody else in the database.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DatabaseWait {
    /// The process of the database that serves the call.
    pub pid: i32,
    /// Its statement, cut to [`MAX_SHOWN_QUERY_CHARS`](crate::limits::MAX_SHOWN_QUERY_CHARS).
    pub query: String,
    /// For whom it waits.
    pub blocked_by: Vec<DatabaseBlocker>,
}

impl DatabaseWait {
    /// A call that waits, as stores report it.
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

/// What a store can tell about its own troubles. Object-safe.
///
/// # Cancel safety
/// Changes nothing.
#[async_trait]
pub trait Diagnostics: Send + Sync {
    /// Which of this store's calls wait for somebody else in the database now; at most
    /// [`MAX_DATABASE_WAITS`](crate::limits::MAX_DATABASE_WAITS). None where the database cannot tell.
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

//! Counts what a SQLite database writes, from its write-ahead log.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

/// Bytes before the first frame.
const HEADER: usize = 32;
/// Bytes before the page of a frame.
const FRAME_HEADER: usize = 24;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalCosts {
    /// Transactions that were committed.
    pub commits: u64,
    /// Pages that they wrote.
    pub pages: u64,
}

impl WalCosts {
    /// What came since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { commits: self.commits - earlier.commits, pages: self.pages - earlier.pages }
    }

    /// The smaller of each number.
    #[must_use]
    pub fn cheapest(self, other: Self) -> Self {
        Self { commits: self.commits.min(other.commits), pages: self.pages.min(other.pages) }
    }
}

/// Reads the write-ahead log of a database, and keeps it from being started over.
#[derive(Debug)]
pub struct WalCounter {
    log: PathBuf,
    /// In a read transaction: what it may still need is kept.
    _reader: SqliteConnection,
}

impl WalCounter {
    /// A counter for an open database.
    ///
    /// # Panics
    /// If the database cannot be opened.
    pub async fn of(file: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(file);
        let mut reader = SqliteConnection::connect_with(&options).await.expect("the database opens");
        for statement in ["BEGIN", "SELECT count(*) FROM sqlite_schema"] {
            sqlx::query(statement).execute(&mut reader).await.expect("a read transaction begins");
        }
        let mut log = file.as_os_str().to_owned();
        log.push("-wal");
        Self { log: log.into(), _reader: reader }
    }

    /// Everything that stands in the log.
    ///
    /// # Panics
    /// If the log cannot be read.
    pub fn costs(&self) -> WalCosts {
        let log = fs::read(&self.log).expect("the write-ahead log can be read");
        let Some(header) = log.get(..HEADER) else { return WalCosts::default() };
        let page_bytes = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let salts = &header[16..24];
        let (mut costs, mut open) = (WalCosts::default(), 0);
        for frame in log[HEADER..].chunks_exact(FRAME_HEADER + page_bytes) {
            // What an earlier use of the file has left.
            if &frame[8..16] != salts {
                break;
            }
            open += 1;
            let is_commit = frame[4..8] != [0; 4];
            if is_commit {
                costs.commits += 1;
                costs.pages += std::mem::take(&mut open);
            }
        }
        costs
    }
}

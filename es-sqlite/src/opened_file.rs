//! The files of an open store, and whether their paths still refer to them.
//!
//! A file that is replaced, renamed, or removed while a process has it open continues to exist without a name. Data
//! written to it is lost, and no other process sees it.

use std::{
    fs::Metadata,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use es_core::StoreError;
use sqlx::{Connection, SqliteConnection};

use crate::{error::store_error, limits::FILE_CHECK_INTERVAL};

/// The database file, its write-ahead log, and its index, as they were when they were opened.
pub(crate) struct OpenedFile {
    /// The path of the database as passed to the store, which may contain links, and the paths of the other files,
    /// which are next to `file`.
    paths: [PathBuf; 3],
    /// The path of the database without links.
    file: Arc<Path>,
    /// The files to which `paths` referred then.
    seen: [Option<Identity>; 3],
    checked_at: Mutex<Instant>,
    /// A connection that is not used. SQLite removes the write-ahead log and its index together with the last
    /// connection. Without this connection, losing the only other connection would look like a replaced file.
    anchor: Mutex<Option<SqliteConnection>>,
}

/// The identity of a file, independent of its names.
#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = ();

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {}

impl OpenedFile {
    /// Records which files `anchor` has open. `given` is absolute, and `file` is the same path without links.
    pub(crate) fn new(given: PathBuf, file: Arc<Path>, anchor: SqliteConnection) -> Self {
        let beside = |suffix| {
            let mut name = file.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let paths = [given, beside("-wal"), beside("-shm")];
        let look = |path: &PathBuf| std::fs::metadata(path).ok().map(|metadata| identity(&metadata));
        let seen = std::array::from_fn(|index| look(&paths[index]));
        Self { paths, file, seen, checked_at: Mutex::new(Instant::now()), anchor: Mutex::new(Some(anchor)) }
    }

    /// Closes the connection that keeps the files in place. Call it after all others were closed.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner).take();
        match anchor {
            Some(anchor) => anchor.close().await.map_err(store_error),
            None => Ok(()),
        }
    }

    fn checked_at(&self) -> MutexGuard<'_, Instant> {
        self.checked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the absolute path of the database file, without links.
    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.file
    }

    /// Checks that the paths still refer to the files that are open. Call it before a transaction that writes.
    ///
    /// # Errors
    /// Returns [`StoreError::Setup`] if a file was replaced, renamed, removed, or emptied.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for (index, (path, seen)) in self.paths.iter().zip(self.seen).enumerate() {
            let found = match std::fs::metadata(path) {
                Ok(metadata) if index == 0 && metadata.len() == 0 => return Err(changed(path, "emptied")),
                Ok(metadata) => Some(identity(&metadata)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                // It is unknown whether it is the same file. The next operation on it will report the problem.
                Err(_) => continue,
            };
            match (seen, found) {
                (Some(_), None) => return Err(changed(path, "removed or renamed")),
                (Some(seen), Some(found)) if seen != found => return Err(changed(path, "replaced")),
                _ => {}
            }
        }
        *self.checked_at() = Instant::now();
        Ok(())
    }

    /// Performs the same check, at most once in [`FILE_CHECK_INTERVAL`]. Call it before a read.
    ///
    /// # Errors
    /// Returns the errors of [`check`](Self::check).
    pub(crate) fn check_now_and_then(&self) -> Result<(), StoreError> {
        if self.checked_at().elapsed() < FILE_CHECK_INTERVAL {
            return Ok(());
        }
        self.check()
    }
}

fn changed(path: &Path, what: &str) -> StoreError {
    StoreError::Setup {
        problem: format!("{} was {what} while the store had it open; nothing more is written", path.display()),
        remedy:
            "stop every program that has the store open, see that the file and those ending in -wal and -shm beside \
                 it belong together, and open the store again"
                .to_owned(),
        source: None,
    }
}

//! The files of an open store, and whether their paths still name them.
//!
//! A file that is replaced, renamed or removed under a running process lives on without a name: what is written to it
//! is lost, and nobody else sees it.

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

/// The database file, its write-ahead log and its index, as they were when they were opened.
pub(crate) struct OpenedFile {
    /// The database by the path that the store was opened with, which may go through links; the others beside `file`.
    paths: [PathBuf; 3],
    /// The database without links.
    file: Arc<Path>,
    /// What `paths` named then.
    seen: [Option<Identity>; 3],
    checked_at: Mutex<Instant>,
    /// A connection that nobody uses. SQLite removes the write-ahead log and its index together with the last
    /// connection, so without this one, losing the only other connection would look like a replaced file.
    anchor: Mutex<Option<SqliteConnection>>,
}

/// What tells files apart, whatever their names are.
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
    /// Notes which files `anchor` has open. `given` is absolute, `file` the same without links.
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

    /// Closes the connection that keeps the files in place. For after all others were closed.
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

    /// The database file, by an absolute path without links.
    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.file
    }

    /// Checks that the paths still name the files that are open. For before a transaction that writes.
    ///
    /// # Errors
    /// [`StoreError::Setup`] if a file was replaced, renamed, removed or emptied.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for (index, (path, seen)) in self.paths.iter().zip(self.seen).enumerate() {
            let found = match std::fs::metadata(path) {
                Ok(metadata) if index == 0 && metadata.len() == 0 => return Err(changed(path, "emptied")),
                Ok(metadata) => Some(identity(&metadata)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                // Whether it is the same file cannot be told; what uses it will say what is wrong.
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

    /// The same, at most once in [`FILE_CHECK_INTERVAL`]. For before a read.
    ///
    /// # Errors
    /// As of [`check`](Self::check).
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

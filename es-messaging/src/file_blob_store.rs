//! A blob store of files.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use async_trait::async_trait;
use es_core::{BlobStore, StoreError, check_blob};
use time::OffsetDateTime;
use uuid::Uuid;

/// Keeps payloads as files of one folder, which its processes share; for several machines it must be a shared file system.
///
/// A file is written beside its place, flushed, and renamed: it is there as a whole or not at all. Times are those of the files.
#[derive(Debug, Clone)]
pub struct FileBlobStore {
    folder: PathBuf,
}

/// What files begin with that are being written; no blob does.
const UNFINISHED: &str = ".unfinished-";

impl FileBlobStore {
    /// A store in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// The file system's, if it cannot be made.
    pub async fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        let own = folder.clone();
        run(move || fs::create_dir_all(&own)).await?;
        Ok(Self { folder })
    }

    /// The file of a blob.
    fn path(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        check_blob(name, bytes)?;
        if name.starts_with('.') {
            return Err(StoreError::Refused { reason: "the name of a blob in a file does not begin with a dot" });
        }
        Ok(self.folder.join(name))
    }
}

/// Does something with files where it does not hold others up.
async fn run<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn unavailable(source: io::Error) -> StoreError {
    StoreError::Backend { source: Box::new(source) }
}

fn put(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<bool> {
    match fs::read(path) {
        Ok(kept) if kept == bytes => {
            // Put again, it is kept for as long again.
            File::options().append(true).open(path)?.set_modified(SystemTime::now())?;
            return Ok(true);
        }
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let unfinished = folder.join(format!("{UNFINISHED}{}", Uuid::now_v7()));
    let written = (|| {
        let mut file = File::create_new(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // The name itself must survive too.
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written.map(|()| true)
}

fn drop_before(folder: &Path, time: SystemTime) -> io::Result<u64> {
    let mut dropped = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if !metadata.is_file() || metadata.modified()? >= time {
            continue;
        }
        match fs::remove_file(entry.path()) {
            // What a crash left unfinished goes too, and is no blob.
            Ok(()) => dropped += u64::from(!entry.file_name().to_string_lossy().starts_with(UNFINISHED)),
            // Somebody else was quicker.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(dropped)
}

#[async_trait]
impl BlobStore for FileBlobStore {
    async fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name, bytes)?;
        let (folder, bytes) = (self.folder.clone(), bytes.to_vec());
        if run(move || put(&folder, &path, &bytes)).await.map_err(unavailable)? {
            Ok(())
        } else {
            Err(StoreError::Refused { reason: "other bytes are kept under the blob's name" })
        }
    }

    async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(name, &[])?;
        match run(move || fs::read(path)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn drop_blobs_before(&self, time: OffsetDateTime) -> Result<u64, StoreError> {
        let folder = self.folder.clone();
        run(move || drop_before(&folder, time.into())).await.map_err(unavailable)
    }
}

//! A blob store that uses files.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use async_trait::async_trait;
use es_core::{BlobStore, StoreError, check_blob, limits as core_limits};
use time::OffsetDateTime;
use uuid::Uuid;

/// Stores payloads as files in one folder, which several processes can share. For several machines, the folder must be
/// on a shared file system.
///
/// A file is written under a temporary name, flushed, and renamed, so that it exists completely or not at all. Times
/// are the modification times of the files.
///
/// A blob is a regular file. Anything else in the folder, such as a symbolic link to a file elsewhere, is neither read
/// nor written nor dropped, and a blob of that name is refused.
#[derive(Debug, Clone)]
pub struct FileBlobStore {
    folder: PathBuf,
}

/// The prefix of files that are being written. No blob name begins with it.
const UNFINISHED: &str = ".unfinished-";

impl FileBlobStore {
    /// Opens a store in a folder, which is created if it does not exist.
    ///
    /// # Errors
    /// Returns an I/O error if the folder cannot be created.
    pub async fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        let own = folder.clone();
        run(move || fs::create_dir_all(&own)).await?;
        Ok(Self { folder })
    }

    /// Returns the path of a blob.
    fn path(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        check_blob(name, bytes)?;
        if name.starts_with('.') {
            return Err(StoreError::Refused { reason: "the name of a blob in a file does not begin with a dot" });
        }
        Ok(self.folder.join(name))
    }
}

/// Runs file operations on a thread where they do not block other tasks.
async fn run<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn unavailable(source: io::Error) -> StoreError {
    StoreError::Backend { source: Box::new(source) }
}

/// What exists under the name of a blob.
enum Found {
    Blob(File),
    /// A link, a folder, or a pipe.
    Other,
    Nothing,
}

/// Opens a regular file and nothing else. Does not follow a link in place of the file, and does not wait for the writer
/// of a pipe.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Found> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let is_file = |metadata: fs::Metadata| metadata.is_file();
    let found = match fs::symlink_metadata(path).map(is_file) {
        Ok(true) => options.open(path),
        Ok(false) => return Ok(Found::Other),
        Err(error) => Err(error),
    };
    match found {
        Ok(file) if file.metadata().map(is_file)? => Ok(Found::Blob(file)),
        Ok(_) => Ok(Found::Other),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
        #[cfg(unix)]
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(Found::Other),
        Err(error) => Err(error),
    }
}

/// Reads a file, up to one byte more than the maximum size of a blob.
fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(core_limits::MAX_BLOB_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

const NO_FILE: StoreError =
    StoreError::Refused { reason: "the blob's name belongs to something that is not a regular file" };

fn get(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match open(path, File::options().read(true)).map_err(unavailable)? {
        Found::Blob(file) => Ok(Some(read(file).map_err(unavailable)?)),
        Found::Other => Err(NO_FILE),
        Found::Nothing => Ok(None),
    }
}

fn put(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    // Opened for writing as well, because otherwise the time could not be set on all platforms.
    match open(path, File::options().read(true).append(true)).map_err(unavailable)? {
        Found::Blob(file) => {
            // Storing the same blob again restarts its retention time.
            let again = file.try_clone().map_err(unavailable)?;
            match read(file).map_err(unavailable)? == bytes {
                true => again.set_modified(SystemTime::now()).map_err(unavailable),
                false => Err(StoreError::Refused { reason: "other bytes are kept under the blob's name" }),
            }
        }
        Found::Other => Err(NO_FILE),
        Found::Nothing => write(folder, path, bytes).map_err(unavailable),
    }
}

fn write(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = folder.join(format!("{UNFINISHED}{}", Uuid::now_v7()));
    let written = (|| {
        let mut file = File::create_new(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // The directory entry must be durable too.
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
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
            // Unfinished files of a crash are removed too, but do not count as blobs.
            Ok(()) => dropped += u64::from(!entry.file_name().to_string_lossy().starts_with(UNFINISHED)),
            // Another process was faster.
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
        run(move || Ok(put(&folder, &path, &bytes))).await.map_err(unavailable)?
    }

    async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(name, &[])?;
        run(move || Ok(get(&path))).await.map_err(unavailable)?
    }

    async fn drop_blobs_before(&self, time: OffsetDateTime) -> Result<u64, StoreError> {
        let folder = self.folder.clone();
        run(move || drop_before(&folder, time.into())).await.map_err(unavailable)
    }
}

//! A folder for one server that is removed with it.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, Hasher};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::error::ServerError;

/// How many names are tried before giving up.
const MAX_NAME_ATTEMPTS: u32 = 16;

/// A folder only its account may enter, removed on drop.
#[derive(Debug)]
pub(crate) struct TempFolder {
    path: PathBuf,
}

impl TempFolder {
    /// Creates a folder for `account` in `TMPDIR`, or, where that account has no right there, in `/tmp` or
    /// `/var/tmp` (root's own `TMPDIR` is often closed to others).
    pub(crate) fn create(what: &str, account: &Account) -> Result<Self, ServerError> {
        let parent = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")]
            .into_iter()
            .find(|parent| account.can_write(parent))
            .ok_or_else(|| ServerError::NoTemporaryFolder { user: account.name().to_owned() })?;
        let mut attempt = 1;
        loop {
            let path = parent.join(format!("es-{what}-{}-{:08x}", std::process::id(), random() as u32));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let folder = Self { path };
                    account.take_over(&folder.path)?;
                    return Ok(folder);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < MAX_NAME_ATTEMPTS => attempt += 1,
                Err(error) => return Err(ServerError::io("create", &path)(error)),
            }
        }
    }

    /// Where the folder is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that only `account` can read.
    pub(crate) fn write(&self, name: &str, text: &str, account: &Account) -> Result<PathBuf, ServerError> {
        let path = self.path.join(name);
        fs::write(&path, text).map_err(ServerError::io("write", &path))?;
        account.take_over(&path)?;
        Ok(path)
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Usually gone already: the supervising shell removes it. Nobody could act on a failure here.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A number that differs from call to call and from process to process.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

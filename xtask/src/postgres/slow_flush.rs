//! A library that, preloaded into a server, makes its flushes slow.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::account::Account;
use crate::error::ServerError;
use crate::process::run_quietly;
use crate::temp_folder::TempFolder;

const SOURCE: &str = include_str!("../slow_flush.c");

/// Compiles the library into a server's folder; gives the variables that make the server use it.
pub(super) fn environment(
    time: Duration,
    folder: &TempFolder,
    account: &Account,
) -> Result<Vec<(&'static str, OsString)>, ServerError> {
    let source = folder.write("slow_flush.c", SOURCE, account)?;
    let library: PathBuf = folder.path().join("slow_flush.so");
    let is_missing = |error: std::io::Error| error.kind() == ErrorKind::NotFound;
    if Command::new("cc").arg("--version").output().is_err_and(is_missing) {
        return Err(ServerError::CompilerMissing);
    }
    let mut command = Command::new("cc");
    command.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    run_quietly(command)?;
    account.take_over(&library)?;
    Ok(vec![("LD_PRELOAD", library.into()), ("ES_SLOW_FLUSH_US", time.as_micros().to_string().into())])
}

//! Programs that are published as Python packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::apt;
use super::run::run;
use crate::account::is_root;
use crate::error::ServerError;

/// Installs a package into the virtual environment `folder`, which is created where it is missing.
pub(super) fn install(folder: &Path, package: &str) -> Result<(), ServerError> {
    let pip = folder.join("bin/pip");
    if !pip.is_file() {
        create_environment(folder)?;
    }
    run(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", package]))
}

fn create_environment(folder: &Path) -> Result<(), ServerError> {
    fs::create_dir_all(folder).map_err(ServerError::io("create", folder))?;
    let create = || run(Command::new("python3").args(["-m", "venv"]).arg(folder));
    match create() {
        // Debian's Python comes without the module `venv`.
        Err(_) if is_root()? && apt::exists() => {
            println!("that failed and this is root: installing what it needs");
            apt::install(&["python3-venv"])?;
            create()
        }
        result => result,
    }
}

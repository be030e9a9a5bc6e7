//! Packages of Debian and its relatives.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::run::{output_of, run};
use crate::error::ServerError;

/// How many seconds to wait for another installation to end.
const LOCK_LIMIT_SECONDS: u32 = 120;

/// Whether this machine has these packages at all.
pub(super) fn exists() -> bool {
    Command::new("apt-get")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Installs packages for the whole machine; needs root rights.
pub(super) fn install(packages: &[&str]) -> Result<(), ServerError> {
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command
            .args(["-q", "-o", &format!("DPkg::Lock::Timeout={LOCK_LIMIT_SECONDS}")])
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // The lists that are there may do, as when another installation holds their lock.
    if let Err(error) = run(apt_get().arg("update")) {
        println!("that failed: {error}");
    }
    run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

/// Unpacks a package and those of its dependencies whose name begins with one of `libraries` into `folder`, without
/// installing them; needs no rights. Other dependencies are taken to be there.
pub(super) fn unpack(package: &str, libraries: &[&str], folder: &Path) -> Result<(), ServerError> {
    let apt = folder.join("apt");
    let packages = apt.join("packages");
    for needed in [apt.join("lists/partial"), apt.join("cache/archives/partial"), packages.clone()] {
        fs::create_dir_all(&needed).map_err(ServerError::io("create", &needed))?;
    }
    // The machine's own lists may be missing or out of date, and only root can renew them.
    let private = |program: &str| {
        let mut command = Command::new(program);
        command
            .arg("-o")
            .arg(format!("Dir::State::lists={}", apt.join("lists").display()))
            .arg("-o")
            .arg(format!("Dir::Cache={}", apt.join("cache").display()))
            .args(["-o", "Debug::NoLocking=true"])
            .current_dir(&packages);
        command
    };
    run(private("apt-get").args(["-q", "update"]))?;
    let listing = output_of(private("apt-cache").args(["depends", package]))?;
    let needed = dependencies(&listing, libraries);
    run(private("apt-get").args(["-q", "download", package]).args(needed))?;
    let downloaded = fs::read_dir(&packages).map_err(ServerError::io("read", &packages))?;
    for entry in downloaded {
        let path = entry.map_err(ServerError::io("read", &packages))?.path();
        run(Command::new("dpkg").arg("-x").arg(path).arg(folder))?;
    }
    // Only needed for the download.
    fs::remove_dir_all(&apt).map_err(ServerError::io("remove", &apt))
}

/// Picks from what `apt-cache depends` prints the packages whose name begins with one of `prefixes`.
fn dependencies<'a>(listing: &'a str, prefixes: &[&str]) -> Vec<&'a str> {
    listing
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dependencies_asked_for_are_picked() {
        let listing = "pgbouncer\n  PreDepends: init-system-helpers\n  Depends: libc-ares2\n  Depends: libc6\n  Suggests: libevent-dev\n";
        assert_eq!(dependencies(listing, &["libc-ares", "libevent"]), ["libc-ares2"]);
    }
}

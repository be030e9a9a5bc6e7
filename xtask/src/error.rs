//! What can go wrong while a server is found, installed, started or stopped.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::postgres::PostgresVersion;

/// Why a server could not be found, installed, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No usable PostgreSQL server is on this machine: install one.
    #[error(
        "no PostgreSQL server of version {minimum} or newer was found \
         (neither by ES_PG_BIN, pg_config, nor in /usr/lib/postgresql or .tools); run `cargo xtask install`"
    )]
    PostgresMissing {
        /// The oldest major version that would do.
        minimum: u32,
    },
    /// A server that tests need is not on this machine: install it.
    #[error("{program} was not found (neither by {variable}, on PATH, nor in .tools); run `cargo xtask install`")]
    ProgramMissing {
        /// The program.
        program: &'static str,
        /// The variable that may name it.
        variable: &'static str,
    },
    /// A variable that should name a program names no file: correct or remove it.
    #[error("{variable} is {}, which is not a file", program.display())]
    NotAProgram {
        /// The variable.
        variable: &'static str,
        /// What it names.
        program: PathBuf,
    },
    /// A folder that should hold the programs of a PostgreSQL server does not: correct `ES_PG_BIN`.
    #[error(
        "{} holds no PostgreSQL server: there is no `{program}` (is ES_PG_BIN right? to install one, run `cargo xtask install`)",
        bin_folder.display()
    )]
    NotAPostgresInstall {
        /// The folder that was looked at.
        bin_folder: PathBuf,
        /// The program that is not there.
        program: &'static str,
    },
    /// The PostgreSQL server is too old: choose or install a newer one.
    #[error(
        "the PostgreSQL in {} is version {version}, at least {minimum} is needed; run `cargo xtask install`",
        bin_folder.display()
    )]
    PostgresTooOld {
        /// Where it is installed.
        bin_folder: PathBuf,
        /// Its version.
        version: PostgresVersion,
        /// The oldest major version that would do.
        minimum: u32,
    },
    /// A program did not tell its version in the expected form.
    #[error("`{} --version` printed no version: {output:?}", program.display())]
    VersionUnreadable {
        /// The program that was asked.
        program: PathBuf,
        /// What it printed.
        output: String,
    },
    /// A C compiler is needed for slow flushes: install one.
    #[error(
        "there is no `cc` to compile the library that makes flushes slow; install a C compiler (Debian: gcc and libc6-dev)"
    )]
    CompilerMissing,
    /// The servers refuse to run as root, and there is no other account to run them as: create one.
    #[error("servers must not run as root, and there is neither a user `postgres` nor `nobody` to run them as")]
    NoUnprivilegedAccount,
    /// The account that runs the servers can write to no folder for temporary files: set `TMPDIR`.
    #[error("user {user} may write to none of the folders for temporary files; set TMPDIR to one where it may")]
    NoTemporaryFolder {
        /// The name of the account.
        user: String,
    },
    /// An operation on a file, folder or process failed.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// What it was attempted on.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A program that was run to the end reported a failure.
    #[error("`{command}` failed with {status}{}", indented(output))]
    CommandFailed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed, where that was not shown already.
        output: String,
    },
    /// The server ended by itself while it was starting.
    #[error("{server} ended while it was starting; the end of its log:{}", indented(log))]
    EndedAtStart {
        /// Which server.
        server: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The server is alive, but did not get ready in time.
    #[error("{server} was not ready after {} s; the end of its log:{}", waited.as_secs(), indented(log))]
    NotReady {
        /// Which server.
        server: &'static str,
        /// How long it was waited for.
        waited: Duration,
        /// The end of its log.
        log: String,
    },
    /// The server, or a part of it, did not end in time.
    #[error("process {pid} of {server} still ran {} s after it was told to end", waited.as_secs())]
    NotStopped {
        /// Which server.
        server: &'static str,
        /// One of its processes.
        pid: u32,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Every port that was tried was taken.
    #[error("no free port was found on 127.0.0.1 in {attempts} attempts")]
    NoFreePort {
        /// How many ports were tried.
        attempts: u32,
    },
    /// The supervising shell is gone, so the server cannot be started or followed: start a new one.
    #[error("the shell that supervises {server} is gone")]
    SupervisorGone {
        /// Which server.
        server: &'static str,
    },
    /// No route of installation is left for this machine.
    #[error("{tool} cannot be installed here: {reason}")]
    CannotInstall {
        /// What was to be installed.
        tool: &'static str,
        /// Why it cannot.
        reason: &'static str,
    },
}

impl ServerError {
    /// Wraps an error of the operating system: use as `.map_err(ServerError::io("read", path))`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// Puts each line of `text` on a line of its own, indented.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("\n    {line}")).collect()
}

//! A PostgreSQL server with a data folder of its own, gone when it is dropped.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::install::{PostgresInstall, PostgresVersion};
use super::options::{Auth, PostgresOptions, configuration};
use super::slow_flush;
use crate::account::Account;
use crate::deadline::poll;
use crate::error::ServerError;
use crate::port;
use crate::process::{Process, run_quietly, wait_for_end};
use crate::supervisor::{Supervised, Supervisor};
use crate::temp_folder::TempFolder;

const NAME: &str = "PostgreSQL";

/// How long a server gets to start; recovery after a crash is part of it.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a server gets to stop.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// The longest path of a Unix socket that Linux takes, less the name of the socket itself.
const MAX_SOCKET_FOLDER_LENGTH: usize = 107 - "/.s.PGSQL.00000".len();

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shutdown {
    /// Clients are disconnected, everything is flushed.
    Fast,
    /// Clients are disconnected, nothing is flushed: the next start has to recover, as after a crash.
    Immediate,
}

impl Shutdown {
    fn signal(self) -> &'static str {
        match self {
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
        }
    }
}

/// A PostgreSQL server with a data folder of its own on a free port of 127.0.0.1, stopped and removed on drop.
///
/// It also goes when this process ends without dropping it: on a panic, Ctrl-C, or `SIGKILL`.
#[derive(Debug)]
pub struct ThrowawayPostgres {
    supervisor: Supervisor,
    install: PostgresInstall,
    account: Account,
    options: PostgresOptions,
    port: u16,
}

impl ThrowawayPostgres {
    /// Creates a cluster and starts its server. Takes about a second.
    ///
    /// The superuser is `postgres`, the encoding UTF-8, the locale `C.UTF-8`. Where this process is root, the server
    /// runs as the
    /// user `postgres`, or else `nobody`.
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that shows the end of the server's log where there is one.
    pub fn start(install: &PostgresInstall, options: &PostgresOptions) -> Result<Self, ServerError> {
        Self::start_on(install, options, init_cluster)
    }

    /// Starts a hot standby of this server: a copy that follows it by streaming replication, and takes queries that only
    /// read. It is an asynchronous one until this server's `synchronous_standby_names` names it; any name will do.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_standby(&self, options: &PostgresOptions) -> Result<Self, ServerError> {
        Self::start_on(&self.install, options, |install, _, folder, account| {
            let mut command = Command::new(install.program("pg_basebackup"));
            command
                .args(["--dbname", &self.url(), "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast"])
                .args(["--no-sync", "--pgdata"])
                .arg(folder.path().join("data"))
                .current_dir(folder.path());
            account.apply(&mut command);
            run_quietly(command)
        })
    }

    fn start_on(
        install: &PostgresInstall,
        options: &PostgresOptions,
        fill_data_folder: impl FnOnce(&PostgresInstall, &PostgresOptions, &TempFolder, &Account) -> Result<(), ServerError>,
    ) -> Result<Self, ServerError> {
        let account = Account::choose()?;
        let folder = TempFolder::create("postgres", &account)?;
        let install = executable_install(install, &folder, &account)?;
        fill_data_folder(&install, options, &folder, &account)?;
        for (name, text) in &options.files {
            let path = folder.write(name, text, &account)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(ServerError::io("protect", &path))?;
        }
        let environment = match options.slow_flush {
            Some(time) => slow_flush::environment(time, &folder, &account)?,
            None => Vec::new(),
        };
        let what = Supervised {
            server: NAME,
            stop_signal: Shutdown::Immediate.signal(),
            command: vec![install.program("postgres").into(), OsString::from("-D"), folder.path().join("data").into()],
            environment,
        };
        let mut server = Self {
            supervisor: Supervisor::spawn(what, folder, &account)?,
            install,
            account,
            options: options.clone(),
            port: 0,
        };
        for _ in 0..port::MAX_PORT_ATTEMPTS {
            server.port = port::free()?;
            match server.launch() {
                // Somebody else took the port in the meantime.
                Err(ServerError::EndedAtStart { .. }) if !port::is_free(server.port) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
        Err(ServerError::NoFreePort { attempts: port::MAX_PORT_ATTEMPTS })
    }

    /// The URL of the database `postgres`, for the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for("postgres")
    }

    /// The URL of a database, for the superuser; whether the database exists is not checked.
    #[must_use]
    pub fn url_for(&self, database: &str) -> String {
        let password = match &self.options.auth {
            Auth::Trust => None,
            Auth::Scram { password } => Some(password.as_str()),
        };
        self.url_as("postgres", password, database)
    }

    /// The URL of a database, for a role with this password or without any.
    #[must_use]
    pub fn url_as(&self, role: &str, password: Option<&str>, database: &str) -> String {
        postgres_url(role, password, self.port, database)
    }

    /// The port on 127.0.0.1; it stays the same over [`restart`](Self::restart).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The version of the server.
    #[must_use]
    pub fn version(&self) -> PostgresVersion {
        self.install.version()
    }

    /// The installation it runs from: for its other programs, such as `psql` or `pg_basebackup`.
    #[must_use]
    pub fn install(&self) -> &PostgresInstall {
        &self.install
    }

    /// The folder that holds everything of this server and goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.supervisor.folder().path()
    }

    /// The process id of the postmaster, unless it was stopped or killed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.supervisor.server().map(|process| process.pid())
    }

    /// How clients prove who they are.
    pub(crate) fn auth(&self) -> &Auth {
        &self.options.auth
    }

    /// Everything the server has logged so far.
    ///
    /// # Errors
    ///
    /// [`ServerError::Io`] if the log cannot be read.
    pub fn log(&self) -> Result<String, ServerError> {
        self.supervisor.log()
    }

    /// Crashes the server: `SIGKILL` to the postmaster and all its children at once. On return none of them runs any
    /// more.
    ///
    /// A server that is down already stays so.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotStopped`] if one of the processes does not go.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        let Some(postmaster) = self.supervisor.server() else {
            return Ok(());
        };
        postmaster.kill_with_children(NAME)?;
        self.supervisor.reap(STOP_LIMIT)
    }

    /// Stops the server in order. On return neither it nor a child of it runs any more.
    ///
    /// A server that is down already stays so.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotStopped`] if it does not stop within a minute.
    pub fn stop(&mut self, how: Shutdown) -> Result<(), ServerError> {
        let Some(postmaster) = self.supervisor.server() else {
            return Ok(());
        };
        let children = postmaster.children()?;
        postmaster.signal(how.signal())?;
        self.supervisor.reap(STOP_LIMIT)?;
        wait_for_end(&children, STOP_LIMIT, NAME)
    }

    /// Starts the server again with the same data on the same port; one that still runs is stopped first.
    ///
    /// # Errors
    ///
    /// [`ServerError::EndedAtStart`] if it cannot start, as when another process has taken the port, or the data
    /// cannot be recovered.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.stop(Shutdown::Fast)?;
        self.launch()
    }

    /// Starts the server on `self.port` and waits until it takes connections.
    fn launch(&mut self) -> Result<(), ServerError> {
        let folder = self.supervisor.folder();
        let (port, path) = (self.port.to_string(), folder.path().to_string_lossy());
        let sockets = if path.len() <= MAX_SOCKET_FOLDER_LENGTH { &*path } else { "" };
        let own = [
            ("listen_addresses", "127.0.0.1"),
            ("port", port.as_str()),
            ("unix_socket_directories", sockets),
            // In the data folder, where nothing is left behind after a crash.
            ("dynamic_shared_memory_type", "mmap"),
        ];
        let settings = self.options.settings.iter();
        let settings = settings.map(|(name, value)| (name.as_str(), value.as_str()));
        folder.write("throwaway.conf", &configuration(own.into_iter().chain(settings)), &self.account)?;

        let lock_file = folder.path().join("data/postmaster.pid");
        let postmaster = self.supervisor.start()?;
        let ended = poll(START_LIMIT, || {
            if is_ready(&lock_file, postmaster) { Some(false) } else { (!postmaster.is_running()).then_some(true) }
        });
        match ended {
            Some(false) => Ok(()),
            Some(true) => {
                let log = self.supervisor.log_tail();
                self.supervisor.reap(STOP_LIMIT)?;
                Err(ServerError::EndedAtStart { server: NAME, log })
            }
            None => Err(ServerError::NotReady { server: NAME, waited: START_LIMIT, log: self.supervisor.log_tail() }),
        }
    }
}

/// The URL of a database on 127.0.0.1.
pub(crate) fn postgres_url(role: &str, password: Option<&str>, port: u16, database: &str) -> String {
    let password = password.map(|password| format!(":{}", percent_encoded(password)));
    format!(
        "postgres://{}{}@127.0.0.1:{port}/{}",
        percent_encoded(role),
        password.unwrap_or_default(),
        percent_encoded(database)
    )
}

/// Escapes what has a meaning in a URL.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Whether the lock file says that this very postmaster takes connections. (The lock file that a killed server
/// left behind says the same of that one.)
fn is_ready(lock_file: &Path, postmaster: Process) -> bool {
    let text = fs::read_to_string(lock_file).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    lines.next() == Some(&postmaster.pid().to_string()) && lines.nth(6) == Some("ready")
}

/// The installation itself where `account` may run it, else a copy of it in `folder`: a workspace in root's home
/// is closed to the account that runs the servers.
fn executable_install(
    install: &PostgresInstall,
    folder: &TempFolder,
    account: &Account,
) -> Result<PostgresInstall, ServerError> {
    if account.can_execute(&install.program("postgres")) {
        return Ok(install.clone());
    }
    let target = folder.path().join("install");
    fs::create_dir(&target).map_err(ServerError::io("create", &target))?;
    let copy = install.copy_to(&target)?;
    account.take_over_all(&target)?;
    Ok(copy)
}

/// Creates the data folder.
fn init_cluster(
    install: &PostgresInstall,
    options: &PostgresOptions,
    folder: &TempFolder,
    account: &Account,
) -> Result<(), ServerError> {
    let data = folder.path().join("data");
    let mut command = Command::new(install.program("initdb"));
    command
        .arg("-D")
        .arg(&data)
        .args(["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
        .current_dir(folder.path());
    account.apply(&mut command);
    match &options.auth {
        Auth::Trust => command.arg("--auth=trust"),
        Auth::Scram { password } => {
            let file: PathBuf = folder.write("password", password, account)?;
            command.arg("--auth=scram-sha-256").arg("--pwfile").arg(file)
        }
    };
    run_quietly(command)?;
    let path = data.join("postgresql.conf");
    let mut text = fs::read_to_string(&path).map_err(ServerError::io("read", &path))?;
    text.push_str("\ninclude '../throwaway.conf'\n");
    // Written in place: the file keeps its owner.
    fs::write(&path, text).map_err(ServerError::io("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_cannot_break_out_of_the_url() {
        let url = postgres_url("ann", Some("p@s/s:w%"), 5432, "my db");
        assert_eq!(url, "postgres://ann:p%40s%2Fs%3Aw%25@127.0.0.1:5432/my%20db");
    }
}

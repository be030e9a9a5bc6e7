//! Throwaway PgBouncers in front of throwaway PostgreSQL servers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account::Account;
use crate::deadline::poll;
use crate::error::ServerError;
use crate::port;
use crate::postgres::{Auth, ThrowawayPostgres, postgres_url};
use crate::supervisor::{Supervised, Supervisor};
use crate::temp_folder::TempFolder;
use crate::workspace;

const NAME: &str = "PgBouncer";

/// How long it gets to start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long it gets to end.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The most clients at once.
const MAX_CLIENTS: u32 = 1000;

/// The most connections to the server for each database.
const MAX_SERVER_CONNECTIONS: u32 = 20;

/// The program PgBouncer on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgBouncerInstall {
    program: PathBuf,
    /// Where its libraries are, if not at the usual place.
    libraries: Option<PathBuf>,
}

impl PgBouncerInstall {
    /// Finds PgBouncer: the program named by the variable `ES_PGBOUNCER`, else on `PATH`, else in `/usr/sbin`, else
    /// in the
    /// workspace's `.tools`.
    ///
    /// # Errors
    ///
    /// [`ServerError::PgBouncerMissing`] if there is none, [`ServerError::NotAPgBouncer`] if `ES_PGBOUNCER` names no
    /// file.
    pub fn find() -> Result<Self, ServerError> {
        if let Some(program) = std::env::var_os("ES_PGBOUNCER").filter(|value| !value.is_empty()) {
            let program = PathBuf::from(program);
            return Self::at(&program).ok_or(ServerError::NotAPgBouncer { program });
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain([PathBuf::from("/usr/sbin")])
            .find_map(|folder| Self::at(&folder.join("pgbouncer")))
            .or_else(|| Self::unpacked(&unpacked_folder()))
            .ok_or(ServerError::PgBouncerMissing)
    }

    fn at(program: &Path) -> Option<Self> {
        program.is_file().then(|| Self { program: program.to_owned(), libraries: None })
    }

    /// The one that was unpacked into `folder`, together with its libraries.
    fn unpacked(folder: &Path) -> Option<Self> {
        let install = Self::at(&folder.join("usr/sbin/pgbouncer"))?;
        // The only folder in there is named after the kind of machine.
        let libraries = std::fs::read_dir(folder.join("usr/lib")).ok()?;
        let libraries = libraries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.to_string_lossy().ends_with("-linux-gnu"));
        Some(Self { libraries, ..install })
    }

    /// The path of the program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// Where packages are unpacked by those who may not install them.
pub(crate) fn unpacked_folder() -> PathBuf {
    workspace::tools_folder().join("pgbouncer")
}

/// A PgBouncer in transaction mode in front of a [`ThrowawayPostgres`], on a free port of 127.0.0.1, stopped on drop.
///
/// Each transaction of a client may run on another connection to the server, so that nothing of a session
/// survives a transaction: prepared statements, settings, advisory locks of the session. The server may be killed
/// and restarted
/// behind it.
#[derive(Debug)]
pub struct ThrowawayPgBouncer {
    supervisor: Supervisor,
    port: u16,
    password: Option<String>,
}

impl ThrowawayPgBouncer {
    /// Starts PgBouncer in front of `server`, which should outlive it.
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that shows the end of its log where there is one.
    pub fn start(install: &PgBouncerInstall, server: &ThrowawayPostgres) -> Result<Self, ServerError> {
        let account = Account::choose()?;
        let folder = TempFolder::create("pgbouncer", &account)?;
        let password = match server.auth() {
            Auth::Trust => None,
            Auth::Scram { password } => Some(password.clone()),
        };
        let quoted = password.as_deref().unwrap_or_default().replace('"', r#""""#);
        folder.write("users.txt", &format!("\"postgres\" \"{quoted}\"\n"), &account)?;
        let libraries = install.libraries.clone().map(OsString::from);
        let what = Supervised {
            server: NAME,
            // Nothing it holds would be missed.
            stop_signal: "KILL",
            command: vec![install.program.clone().into(), folder.path().join("pgbouncer.ini").into()],
            environment: libraries.map(|folder| ("LD_LIBRARY_PATH", folder)).into_iter().collect(),
        };
        let mut bouncer = Self { supervisor: Supervisor::spawn(what, folder, &account)?, port: 0, password };
        for _ in 0..port::MAX_PORT_ATTEMPTS {
            bouncer.port = port::free()?;
            let text = bouncer.configuration(server.port());
            bouncer.supervisor.folder().write("pgbouncer.ini", &text, &account)?;
            match bouncer.launch() {
                // Somebody else took the port in the meantime.
                Err(ServerError::EndedAtStart { .. }) if !port::is_free(bouncer.port) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(bouncer),
            }
        }
        Err(ServerError::NoFreePort { attempts: port::MAX_PORT_ATTEMPTS })
    }

    /// The URL of the database `postgres` through PgBouncer, for the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for("postgres")
    }

    /// The URL of a database through PgBouncer, for the superuser.
    #[must_use]
    pub fn url_for(&self, database: &str) -> String {
        postgres_url("postgres", self.password.as_deref(), self.port, database)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that holds everything of this PgBouncer and goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.supervisor.folder().path()
    }

    /// Everything it has logged so far.
    ///
    /// # Errors
    ///
    /// [`ServerError::Io`] if the log cannot be read.
    pub fn log(&self) -> Result<String, ServerError> {
        self.supervisor.log()
    }

    fn configuration(&self, server_port: u16) -> String {
        format!(
            "[databases]\n\
             * = host=127.0.0.1 port={server_port}\n\
             \n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = {auth_type}\n\
             auth_file = users.txt\n\
             admin_users = postgres\n\
             pool_mode = transaction\n\
             max_client_conn = {MAX_CLIENTS}\n\
             default_pool_size = {MAX_SERVER_CONNECTIONS}\n\
             ; drivers send it, and there is nothing to keep of it\n\
             ignore_startup_parameters = extra_float_digits\n\
             ; a server that was restarted is found again after this many seconds\n\
             server_login_retry = 1\n",
            port = self.port,
            auth_type = if self.password.is_some() { "scram-sha-256" } else { "trust" },
        )
    }

    /// Starts the program and waits until it listens.
    fn launch(&mut self) -> Result<(), ServerError> {
        let process = self.supervisor.start()?;
        // That somebody answers on the port would not prove that it is this one.
        let listens = format!("listening on 127.0.0.1:{}", self.port);
        let ended = poll(START_LIMIT, || match self.supervisor.log() {
            Ok(log) if log.contains(&listens) => Some(false),
            _ => (!process.is_running()).then_some(true),
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

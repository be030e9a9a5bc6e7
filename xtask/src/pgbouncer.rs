//! Throwaway PgBouncers in front of throwaway PostgreSQL servers.

use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::error::ServerError;
use crate::plain_server::{PlainServer, Ready, find_program};
use crate::postgres::{Auth, ThrowawayPostgres, postgres_url};
use crate::temp_folder::TempFolder;
use crate::workspace;

const NAME: &str = "PgBouncer";

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
    /// Finds PgBouncer: the program named by the variable `ES_PGBOUNCER`, else on `PATH`, else in `/usr/sbin`, else in the
    /// workspace's `.tools`.
    ///
    /// # Errors
    ///
    /// [`ServerError::ProgramMissing`], [`ServerError::NotAProgram`].
    pub fn find() -> Result<Self, ServerError> {
        match find_program("pgbouncer", "ES_PGBOUNCER", &["/usr/sbin"]) {
            Ok(program) => Ok(Self { program, libraries: None }),
            Err(missing @ ServerError::ProgramMissing { .. }) => Self::unpacked(&unpacked_folder()).ok_or(missing),
            Err(error) => Err(error),
        }
    }

    /// The one that was unpacked into `folder`, together with its libraries.
    fn unpacked(folder: &Path) -> Option<Self> {
        let program = Some(folder.join("usr/sbin/pgbouncer")).filter(|program| program.is_file())?;
        // The only folder in there is named after the kind of machine.
        let libraries = std::fs::read_dir(folder.join("usr/lib")).ok()?;
        let libraries = libraries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.to_string_lossy().ends_with("-linux-gnu"));
        Some(Self { program, libraries })
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
    server: PlainServer,
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
        let password = match server.auth() {
            Auth::Trust => None,
            Auth::Scram { password } => Some(password.clone()),
        };
        let (bouncer, port) = PlainServer::launch_on_free_port(|port| {
            let folder = TempFolder::create("pgbouncer", &account)?;
            let quoted = password.as_deref().unwrap_or_default().replace('"', r#""""#);
            folder.write("users.txt", &format!("\"postgres\" \"{quoted}\"\n"), &account)?;
            let text = configuration(port, password.is_some(), server.port());
            let configuration = folder.write("pgbouncer.ini", &text, &account)?;
            let command = vec![install.program.clone().into(), configuration.into()];
            let libraries = install.libraries.clone().map(|folder| ("LD_LIBRARY_PATH", folder.into()));
            // That somebody answers on the port would not prove that it is this one.
            let ready = Ready::Logged(format!("listening on 127.0.0.1:{port}"));
            PlainServer::new(NAME, ready, command, libraries.into_iter().collect(), folder, &account)
        })?;
        Ok(Self { server: bouncer, port, password })
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
        self.server.folder().path()
    }

    /// Everything it has logged so far.
    ///
    /// # Errors
    ///
    /// [`ServerError::Io`] if the log cannot be read.
    pub fn log(&self) -> Result<String, ServerError> {
        self.server.log()
    }
}

fn configuration(port: u16, has_password: bool, server_port: u16) -> String {
    let auth_type = if has_password { "scram-sha-256" } else { "trust" };
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
         server_login_retry = 1\n"
    )
}

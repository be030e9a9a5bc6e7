//! A server that is one process with one log.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account::Account;
use crate::deadline::poll;
use crate::error::ServerError;
use crate::port;
use crate::supervisor::{Supervised, Supervisor};
use crate::temp_folder::TempFolder;
use crate::workspace;

/// How long a server gets to start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long it gets to end.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// By what a server is known to take connections.
#[derive(Debug, Clone)]
pub(crate) enum Ready {
    /// Its log says this.
    Logged(String),
    /// It logs nothing of the kind, but somebody listens on this port.
    Listens(u16),
}

/// Such a server.
#[derive(Debug)]
pub(crate) struct PlainServer {
    name: &'static str,
    ready: Ready,
    supervisor: Supervisor,
}

impl PlainServer {
    /// One that has not started yet.
    pub(crate) fn new(
        name: &'static str,
        ready: Ready,
        command: Vec<OsString>,
        environment: Vec<(&'static str, OsString)>,
        folder: TempFolder,
        account: &Account,
    ) -> Result<Self, ServerError> {
        // Nothing of a throwaway server is missed after its owner.
        let what = Supervised { server: name, stop_signal: "KILL", command, environment };
        Ok(Self { name, ready, supervisor: Supervisor::spawn(what, folder, account)? })
    }

    /// Starts one on a free port; `prepare` makes one for a port.
    pub(crate) fn launch_on_free_port(
        prepare: impl Fn(u16) -> Result<Self, ServerError>,
    ) -> Result<(Self, u16), ServerError> {
        for _ in 0..port::MAX_PORT_ATTEMPTS {
            let port = port::free()?;
            let mut server = prepare(port)?;
            match server.launch() {
                // Somebody else took the port in the meantime.
                Err(ServerError::EndedAtStart { .. }) if !port::is_free(port) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok((server, port)),
            }
        }
        Err(ServerError::NoFreePort { attempts: port::MAX_PORT_ATTEMPTS })
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn launch(&mut self) -> Result<(), ServerError> {
        self.begin()?;
        self.wait_ready()
    }

    /// Starts it.
    pub(crate) fn begin(&mut self) -> Result<(), ServerError> {
        // What earlier starts have logged is not taken for this one's.
        std::fs::write(self.supervisor.log_path(), "").map_err(ServerError::io("empty", self.supervisor.log_path()))?;
        self.supervisor.start().map(|_| ())
    }

    /// Waits until it is ready.
    pub(crate) fn wait_ready(&mut self) -> Result<(), ServerError> {
        let gone = ServerError::SupervisorGone { server: self.name };
        let process = self.supervisor.server().ok_or(gone)?;
        let ended =
            poll(START_LIMIT, || if self.is_ready() { Some(false) } else { (!process.is_running()).then_some(true) });
        match ended {
            Some(false) => Ok(()),
            Some(true) => {
                let log = self.supervisor.log_tail();
                self.supervisor.reap(STOP_LIMIT)?;
                Err(ServerError::EndedAtStart { server: self.name, log })
            }
            None => {
                let log = self.supervisor.log_tail();
                Err(ServerError::NotReady { server: self.name, waited: START_LIMIT, log })
            }
        }
    }

    fn is_ready(&self) -> bool {
        match &self.ready {
            Ready::Logged(text) => self.supervisor.log().is_ok_and(|log| log.contains(text)),
            Ready::Listens(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok(),
        }
    }

    /// Ends it by a signal; one that is down already stays so.
    pub(crate) fn end(&mut self, signal: &str) -> Result<(), ServerError> {
        if let Some(process) = self.supervisor.server() {
            process.signal(signal)?;
            self.supervisor.reap(STOP_LIMIT)?;
        }
        Ok(())
    }

    /// Sends it a signal, if it runs.
    pub(crate) fn signal(&self, signal: &str) -> Result<(), ServerError> {
        self.supervisor.server().map_or(Ok(()), |process| process.signal(signal))
    }

    /// The folder that holds everything of it.
    pub(crate) fn folder(&self) -> &TempFolder {
        self.supervisor.folder()
    }

    /// What it has logged since its last start.
    pub(crate) fn log(&self) -> Result<String, ServerError> {
        self.supervisor.log()
    }
}

/// Finds a program: named by an environment variable, on `PATH`, or in one of some folders, or in the workspace's `.tools`.
pub(crate) fn find_program(
    program: &'static str,
    variable: &'static str,
    folders: &[&str],
) -> Result<PathBuf, ServerError> {
    find_packaged(program, variable, || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(folders.iter().map(PathBuf::from))
            .chain([workspace::tools_folder().join("bin")])
            .map(|folder| folder.join(program))
            .find(|candidate| Path::is_file(candidate))
    })
}

/// Finds a program: named by an environment variable, or where `packaged` says.
pub(crate) fn find_packaged(
    program: &'static str,
    variable: &'static str,
    packaged: impl FnOnce() -> Option<PathBuf>,
) -> Result<PathBuf, ServerError> {
    match std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from) {
        Some(named) if named.is_file() => Ok(named),
        Some(program) => Err(ServerError::NotAProgram { variable, program }),
        None => packaged().ok_or(ServerError::ProgramMissing { program, variable }),
    }
}

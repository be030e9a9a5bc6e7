//! A server that is one process with one log, which says when it is ready.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account::Account;
use crate::deadline::poll;
use crate::error::ServerError;
use crate::supervisor::{Supervised, Supervisor};
use crate::temp_folder::TempFolder;
use crate::workspace;

/// How long a server gets to start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long it gets to end.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Such a server.
#[derive(Debug)]
pub(crate) struct PlainServer {
    name: &'static str,
    ready: &'static str,
    supervisor: Supervisor,
}

impl PlainServer {
    /// One that has not started yet. `ready` is what its log says when it takes connections.
    pub(crate) fn new(
        name: &'static str,
        ready: &'static str,
        command: Vec<OsString>,
        folder: TempFolder,
        account: &Account,
    ) -> Result<Self, ServerError> {
        // Nothing of a throwaway server is missed after its owner.
        let what = Supervised { server: name, stop_signal: "KILL", command, environment: Vec::new() };
        Ok(Self { name, ready, supervisor: Supervisor::spawn(what, folder, account)? })
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
        let ended = poll(START_LIMIT, || match self.supervisor.log() {
            Ok(log) if log.contains(self.ready) => Some(false),
            _ => (!process.is_running()).then_some(true),
        });
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
    if let Some(named) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
        let named = PathBuf::from(named);
        return if named.is_file() { Ok(named) } else { Err(ServerError::NotAProgram { variable, program: named }) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(folders.iter().map(PathBuf::from))
        .chain([workspace::tools_folder().join("bin")])
        .map(|folder| folder.join(program))
        .find(|candidate| Path::is_file(candidate))
        .ok_or(ServerError::ProgramMissing { program, variable })
}

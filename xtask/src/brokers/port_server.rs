//! What servers have in common that take a port on their command line and keep nothing on a disk.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::account::Account;
use crate::deadline::poll;
use crate::error::ServerError;
use crate::port;
use crate::supervisor::{Supervised, Supervisor};
use crate::temp_folder::TempFolder;

/// How long a server gets to start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long it gets to end.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A server on a free port of 127.0.0.1, stopped on drop.
#[derive(Debug)]
pub(super) struct PortServer {
    name: &'static str,
    supervisor: Supervisor,
    port: u16,
}

impl PortServer {
    /// Starts a server; `command` gives its command line for a port.
    pub(super) fn start(
        name: &'static str,
        folder: &str,
        environment: &[(&'static str, OsString)],
        command: impl Fn(u16) -> Vec<OsString>,
    ) -> Result<Self, ServerError> {
        for _ in 0..port::MAX_PORT_ATTEMPTS {
            let port = port::free()?;
            match Self::start_at(name, folder, environment, port, command(port)) {
                // Somebody else took the port in the meantime.
                Err(ServerError::EndedAtStart { .. }) if !port::is_free(port) => {}
                result => return result,
            }
        }
        Err(ServerError::NoFreePort { attempts: port::MAX_PORT_ATTEMPTS })
    }

    /// Starts a server on this port.
    pub(super) fn start_at(
        name: &'static str,
        folder: &str,
        environment: &[(&'static str, OsString)],
        port: u16,
        command: Vec<OsString>,
    ) -> Result<Self, ServerError> {
        // None of them minds root, and a Python may be where only its owner may read.
        let account = Account::Own;
        let what = Supervised {
            server: name,
            // Nothing it holds would be missed.
            stop_signal: "KILL",
            command,
            environment: environment.to_vec(),
        };
        let supervisor = Supervisor::spawn(what, TempFolder::create(folder, &account)?, &account)?;
        let mut server = Self { name, supervisor, port };
        server.restart()?;
        Ok(server)
    }

    /// Its port on 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&mut self) -> Result<(), ServerError> {
        if let Some(server) = self.supervisor.server() {
            server.kill_with_children(self.name)?;
        }
        self.supervisor.reap(STOP_LIMIT)
    }

    /// Starts it again on the same port, empty.
    pub(super) fn restart(&mut self) -> Result<(), ServerError> {
        let process = self.supervisor.start()?;
        let ended = poll(START_LIMIT, || {
            if !process.is_running() {
                return Some(true);
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok().then_some(false)
        });
        match ended {
            Some(false) => Ok(()),
            Some(true) => {
                let log = self.supervisor.log_tail();
                self.supervisor.reap(STOP_LIMIT)?;
                Err(ServerError::EndedAtStart { server: self.name, log })
            }
            None => {
                Err(ServerError::NotReady { server: self.name, waited: START_LIMIT, log: self.supervisor.log_tail() })
            }
        }
    }

    /// Halts it: connections stay, nobody answers.
    pub(super) fn pause(&self) -> Result<(), ServerError> {
        self.supervisor.server().map_or(Ok(()), |server| server.signal("STOP"))
    }

    /// Lets it go on.
    pub(super) fn resume(&self) -> Result<(), ServerError> {
        self.supervisor.server().map_or(Ok(()), |server| server.signal("CONT"))
    }

    /// Everything it has logged so far.
    pub(super) fn log(&self) -> Result<String, ServerError> {
        self.supervisor.log()
    }
}

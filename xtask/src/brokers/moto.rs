//! Throwaway servers that speak as Amazon SQS and SNS do: moto.

use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::error::ServerError;
use crate::plain_server::{PlainServer, Ready, find_packaged};
use crate::temp_folder::TempFolder;
use crate::workspace;

const NAME: &str = "moto";

/// How moto is run.
const LAUNCHER: &str = include_str!("moto_server.py");

/// A Python that has moto.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MotoInstall {
    program: PathBuf,
}

impl MotoInstall {
    /// Finds moto: the Python named by the variable `ES_MOTO_PYTHON`, else the one in the workspace's `.tools`.
    ///
    /// # Errors
    ///
    /// [`ServerError::ProgramMissing`], [`ServerError::NotAProgram`].
    pub fn find() -> Result<Self, ServerError> {
        find_packaged("moto", "ES_MOTO_PYTHON", packaged).map(|program| Self { program })
    }

    /// The path of Python.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }
}

fn packaged() -> Option<PathBuf> {
    let folder = workspace::tools_folder().join("bin");
    folder.join("moto_server").is_file().then(|| folder.join("python3"))
}

/// A server that speaks as Amazon SQS and SNS do, on a free port of 127.0.0.1, stopped on drop.
///
/// It takes any credentials, unless [`start_strict`](Self::start_strict) started it. After [`kill`](Self::kill) and
/// [`restart`](Self::restart) it is empty.
#[derive(Debug)]
pub struct ThrowawayMoto {
    server: PlainServer,
    port: u16,
}

impl ThrowawayMoto {
    /// Starts a server without queues and topics.
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that shows the end of its log where there is one.
    pub fn start(install: &MotoInstall) -> Result<Self, ServerError> {
        Self::start_with(install, &[])
    }

    /// Starts a server that knows no account at all, and so refuses all credentials.
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that shows the end of its log where there is one.
    pub fn start_strict(install: &MotoInstall) -> Result<Self, ServerError> {
        Self::start_with(install, &[("INITIAL_NO_AUTH_ACTION_COUNT", "0".into())])
    }

    fn start_with(
        install: &MotoInstall,
        environment: &[(&'static str, std::ffi::OsString)],
    ) -> Result<Self, ServerError> {
        let (server, port) = PlainServer::launch_on_free_port(|port| {
            let mut command = vec![install.program.clone().into(), "-c".into(), LAUNCHER.into()];
            command.extend(["-H", "127.0.0.1", "-p", &port.to_string()].map(Into::into));
            // A Python may be where only its owner may read.
            let account = Account::Own;
            let folder = TempFolder::create("moto", &account)?;
            PlainServer::new(NAME, Ready::Listens(port), command, environment.to_vec(), folder, &account)
        })?;
        Ok(Self { server, port })
    }

    /// Its URL: `sqs://test:test@127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("sqs://test:test@127.0.0.1:{}", self.port())
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

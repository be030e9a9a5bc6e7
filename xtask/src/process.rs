//! Processes, followed and ended by their id.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::deadline::poll;
use crate::error::ServerError;

/// How long processes get to react to a signal that they cannot refuse.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);

/// One process of this machine; another that is given the same id later is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pid: u32,
    started: u64,
}

/// What `/proc/PID/stat` says, as far as it is needed here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    started: u64,
}

impl Process {
    /// The process that has this id now, also where it has ended and waits to be reaped.
    pub(crate) fn with_id(pid: u32) -> Option<Self> {
        let started = read_stat(pid)?.started;
        Some(Self { pid, started })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs; one that has ended and waits to be reaped does not.
    pub(crate) fn is_running(&self) -> bool {
        self.state().is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }

    fn state(&self) -> Option<char> {
        let stat = read_stat(self.pid)?;
        (stat.started == self.started).then_some(stat.state)
    }

    /// The processes it started that still run.
    pub(crate) fn children(&self) -> Result<Vec<Process>, ServerError> {
        let path = Path::new("/proc");
        let entries = fs::read_dir(path).map_err(ServerError::io("read", path))?;
        Ok(entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| {
                let stat = read_stat(pid)?;
                (stat.parent == self.pid).then_some(Process { pid, started: stat.started })
            })
            .filter(Process::is_running)
            .collect())
    }

    /// Sends a signal, named without `SIG`. A process that is gone already is no error.
    pub(crate) fn signal(&self, name: &str) -> Result<(), ServerError> {
        send(name, &[*self])
    }

    /// Ends the process and its children with `SIGKILL`, all at once, and waits until they are gone.
    ///
    /// The process is halted first, so that it can neither start further children nor react to the end of some.
    pub(crate) fn kill_with_children(&self, server: &'static str) -> Result<(), ServerError> {
        self.signal("STOP")?;
        // What cannot be halted in time is killed all the same.
        poll(SIGNAL_LIMIT, || self.state().is_none_or(|state| matches!(state, 'T' | 't' | 'Z' | 'X')).then_some(()));
        let mut all = vec![*self];
        all.extend(self.children()?);
        send("KILL", &all)?;
        wait_for_end(&all, SIGNAL_LIMIT, server)
    }
}

/// Waits until none of the processes runs any more.
pub(crate) fn wait_for_end(processes: &[Process], limit: Duration, server: &'static str) -> Result<(), ServerError> {
    poll(limit, || (!processes.iter().any(Process::is_running)).then_some(()));
    match processes.iter().find(|process| process.is_running()) {
        None => Ok(()),
        Some(process) => Err(ServerError::NotStopped { server, pid: process.pid, waited: limit }),
    }
}

/// Sends one signal to several processes.
fn send(signal: &str, processes: &[Process]) -> Result<(), ServerError> {
    // The shell's own `kill`: the program of that name is not on every machine.
    let status = Command::new("sh")
        .args(["-c", r#"kill -s "$@""#, "sh", signal])
        .args(processes.iter().map(|process| process.pid.to_string()))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(ServerError::io("run", Path::new("sh")))?;
    let refused = processes.iter().find(|process| process.is_running());
    match refused {
        // A failure means "no such process", which is fine, or "not permitted".
        Some(process) if !status.success() && processes.len() == 1 => Err(ServerError::Io {
            doing: "send a signal to the process",
            path: format!("/proc/{}", process.pid).into(),
            source: io::Error::from(io::ErrorKind::PermissionDenied),
        }),
        _ => Ok(()),
    }
}

/// Runs a command to its end; its output matters only if it fails.
pub(crate) fn run_quietly(mut command: Command) -> Result<(), ServerError> {
    let program = PathBuf::from(command.get_program());
    let output = command.stdin(Stdio::null()).output().map_err(ServerError::io("run", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(ServerError::CommandFailed {
        command: format!("{command:?}"),
        status: output.status,
        output: String::from_utf8_lossy(&text).into_owned(),
    })
}

fn read_stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The second field is the program's name in parentheses, which may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some(Stat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        started: fields.nth(17)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_parentheses_does_not_confuse() {
        let text = "12 (a) S 9 (b) T 7 1 1 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        let expected = Stat { state: 'T', parent: 7, started: 4711 };
        assert_eq!(parse_stat(text), Some(expected));
    }

    #[test]
    fn a_process_that_has_ended_does_not_run_though_nobody_has_reaped_it() -> Result<(), Box<dyn std::error::Error>> {
        let mut child = Command::new("sleep").arg("60").spawn()?;
        let process = Process::with_id(child.id()).ok_or("no such process")?;
        assert!(process.is_running());
        process.kill_with_children("sleep")?;
        assert!(!process.is_running());
        assert!(Process::with_id(child.id()).is_some(), "it waits to be reaped");
        child.wait()?;
        Ok(())
    }
}

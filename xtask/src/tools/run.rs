//! Running the programs of others in the open: the command is printed, its output goes to the terminal.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::ServerError;

/// Runs a command to its end.
pub(super) fn run(command: &mut Command) -> Result<(), ServerError> {
    let line = command_line(command);
    println!("  $ {line}");
    let program = command.get_program().to_owned();
    let status = command.stdin(Stdio::null()).status().map_err(ServerError::io("run", Path::new(&program)))?;
    if status.success() {
        return Ok(());
    }
    Err(ServerError::CommandFailed { command: line, status, output: String::new() })
}

/// Runs a command to its end and gives what it printed.
pub(super) fn output_of(command: &mut Command) -> Result<String, ServerError> {
    let line = command_line(command);
    let program = command.get_program().to_owned();
    let output = command.stdin(Stdio::null()).output().map_err(ServerError::io("run", Path::new(&program)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ServerError::CommandFailed {
        command: line,
        status: output.status,
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn command_line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

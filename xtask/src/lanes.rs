//! Test programs side by side: each lane runs its own one after the other.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::test_programs::TestProgram;

/// How long one test program may take before it is ended, as hung.
const PROGRAM_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long to rest between two looks at a program that runs.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The last line that a test program prints of a run in which nothing failed starts so.
const RESULT: &str = "test result: ";

/// One run of a test program.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its name in what is printed.
    pub(crate) name: String,
    /// What is run.
    pub(crate) program: TestProgram,
    /// How many of its tests run at a time, where the machine's processors should not decide.
    pub(crate) threads: Option<usize>,
    /// Variables for it.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Variables that must not come from outside.
    pub(crate) removed: Vec<&'static str>,
}

/// How one run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The run's name.
    pub(crate) name: String,
    /// How long it took.
    pub(crate) took: Duration,
    /// Whether every test passed.
    pub(crate) passed: bool,
}

/// Runs all lanes to their ends, side by side, also where a run fails.
///
/// Of each run that passed one line is printed, of one that failed everything it printed; all of it stays in `logs`.
pub(crate) fn run(lanes: Vec<Vec<Run>>, logs: &Path) -> Vec<Outcome> {
    thread::scope(|scope| {
        let lanes: Vec<_> = lanes
            .into_iter()
            .map(|lane| scope.spawn(|| lane.into_iter().map(|run| run_one(run, logs)).collect::<Vec<_>>()))
            .collect();
        // A lane that panicked has printed why; its runs are missing then, which is a failure.
        let broken = || vec![Outcome { name: "a lane".into(), took: Duration::ZERO, passed: false }];
        lanes.into_iter().flat_map(|lane| lane.join().unwrap_or_else(|_| broken())).collect()
    })
}

fn run_one(run: Run, logs: &Path) -> Outcome {
    let start = Instant::now();
    let log = logs.join(format!("{}.log", run.name.replace([' ', '/'], "-")));
    let ended = start_program(&run, &log).and_then(|child| wait(child, PROGRAM_LIMIT));
    let took = start.elapsed();
    let text = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let (passed, why) = match ended {
        Ok(Some(status)) if status.success() => (true, result_line(&text).to_owned()),
        Ok(Some(status)) => (false, format!("ended with {status}")),
        Ok(None) => (false, format!("still ran after {} s, and was ended", PROGRAM_LIMIT.as_secs())),
        Err(error) => (false, format!("could not be run: {error}")),
    };
    let mut out = io::stdout().lock();
    // Nobody could act on a standard output that is closed.
    let _ = if passed {
        writeln!(out, "  {:<44} {:>6.1} s  {why}", run.name, took.as_secs_f64())
    } else {
        let program = run.program.program.display();
        writeln!(out, "\n  {:<44} {:>6.1} s  FAILED: {why}\n  $ {program}\n{text}", run.name, took.as_secs_f64())
    };
    Outcome { name: run.name, took, passed }
}

fn start_program(run: &Run, log: &Path) -> io::Result<Child> {
    let log = File::create(log)?;
    let mut command = Command::new(&run.program.program);
    if let Some(threads) = run.threads {
        command.arg(format!("--test-threads={threads}"));
    }
    for name in &run.removed {
        command.env_remove(name);
    }
    command
        .envs(run.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&run.program.folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// Waits for the end of a program; `None` is one that took too long and was killed. Its servers end with it.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// How many passed, as the program itself said.
fn result_line(output: &str) -> &str {
    let line = output.lines().rev().find_map(|line| line.strip_prefix(RESULT)).unwrap_or_default();
    line.split(" measured").next().and_then(|line| line.rsplit_once(';')).map_or(line, |(result, _)| result)
}

/// The folder for what the test programs print, emptied: beside the folder they were built into.
pub(crate) fn logs_folder(programs: &[TestProgram]) -> io::Result<PathBuf> {
    // .../target/debug/deps/program
    let target = programs.first().and_then(|first| first.program.ancestors().nth(3));
    let folder = target.unwrap_or(Path::new("target")).join("test-logs");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(name: &str, folder: &Path, script: &str) -> io::Result<Run> {
        let program = folder.join(name);
        fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let program = TestProgram { package: "p".into(), target: name.into(), folder: folder.into(), program };
        Ok(Run { name: name.into(), program, threads: None, environment: Vec::new(), removed: Vec::new() })
    }

    fn folder(name: &str) -> io::Result<PathBuf> {
        let folder = std::env::temp_dir().join(format!("es-lanes-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    #[test]
    fn lanes_run_side_by_side_and_a_failure_stops_none() -> io::Result<()> {
        let folder = folder("side-by-side")?;
        // Each waits for the other: one after the other, neither would ever end.
        let wait_for = |mine: &str, other: &str| format!("touch {mine}; until test -e {other}; do sleep 0.01; done");
        let lanes = vec![
            vec![
                shell("left", &folder, &wait_for("l", "r"))?,
                shell("fails", &folder, "exit 3")?,
                shell("last", &folder, "exit 0")?,
            ],
            vec![shell("right", &folder, &wait_for("r", "l"))?],
        ];
        let outcomes = run(lanes, &folder);
        let passed: Vec<_> = outcomes.iter().map(|outcome| (outcome.name.as_str(), outcome.passed)).collect();
        assert_eq!(passed, [("left", true), ("fails", false), ("last", true), ("right", true)]);
        fs::remove_dir_all(&folder)
    }

    #[test]
    fn a_program_that_hangs_is_ended() -> io::Result<()> {
        let folder = folder("hangs")?;
        let child = start_program(&shell("hangs", &folder, "exec sleep 600")?, &folder.join("log"))?;
        assert_eq!(wait(child, Duration::from_millis(50))?, None);
        fs::remove_dir_all(&folder)
    }

    #[test]
    fn a_run_is_told_how_many_tests_at_a_time_and_gets_its_variables_alone() -> io::Result<()> {
        let folder = folder("told")?;
        let mut told = shell("told", &folder, r#"echo "$1 $ES_GIVEN ${HOME-none}""#)?;
        told.threads = Some(8);
        told.environment = vec![("ES_GIVEN", "here".into())];
        told.removed = vec!["HOME"];
        assert!(run(vec![vec![told]], &folder)[0].passed);
        assert_eq!(fs::read_to_string(folder.join("told.log"))?, "--test-threads=8 here none\n");
        fs::remove_dir_all(&folder)
    }

    #[test]
    fn the_result_is_what_the_program_said_last() {
        let output = "running 2 tests\n..\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        assert_eq!(result_line(output), "ok. 2 passed; 0 failed; 0 ignored");
        assert_eq!(result_line(""), "");
    }
}

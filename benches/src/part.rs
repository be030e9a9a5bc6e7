//! Parts of a workload that run in a process of their own.

use std::process::Stdio;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, stdin},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{
    Error,
    database::Place,
    workload::{
        Bench,
        catch_up::{self, ReadModel},
        commands, delay,
        import::Import,
        processes, reading, rebuild,
    },
};

/// What a process of its own does; given to it as JSON, by the hidden option `--part`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The workloads of the command line, each measured without what others have left in memory.
    Workloads,
    /// Fills a store.
    Fill { place: Place, what: Import },
    /// Lets a read model catch up, and tells how much memory that takes.
    CatchUp { place: Place, model: ReadModel },
    /// Rebuilds a read model, and tells how much memory that takes.
    Rebuild { place: Place, model: ReadModel, is_compared: bool },
    /// Follows a store, and tells what it saw when its standard input ends.
    Follow { place: Place },
    /// Executes commands as soon as it is told to.
    Deposits { place: Place, deposits: commands::Deposits },
}

impl Part {
    /// Does the part, and prints its result as one line of JSON.
    pub async fn run(self, bench: &Bench, workloads: &[String]) -> Result<(), Error> {
        let result = match self {
            Self::Workloads => {
                let mut lines = Vec::new();
                for name in workloads {
                    lines.extend(bench.run(name).await?);
                }
                serde_json::to_string(&lines)?
            }
            Self::Fill { place, what } => serde_json::to_string(&reading::fill_here(bench, &place, what).await?)?,
            Self::CatchUp { place, model } => {
                serde_json::to_string(&catch_up::memory_of_catch_up(bench, &place, model).await?)?
            }
            Self::Rebuild { place, model, is_compared } => {
                serde_json::to_string(&rebuild::memory_of_rebuild(bench, &place, &model, is_compared).await?)?
            }
            Self::Follow { place } => serde_json::to_string(&delay::follow_until_told(bench, &place).await?)?,
            Self::Deposits { place, deposits } => {
                serde_json::to_string(&processes::deposit_when_told(bench, &place, deposits).await?)?
            }
        };
        println!("{result}");
        Ok(())
    }
}

/// Tells the parent that the process is ready.
pub fn say_ready() {
    println!("ready");
}

/// Waits for a line from the parent, or for the end of its standard input.
pub async fn wait_to_be_told() -> Result<(), Error> {
    let mut line = String::new();
    BufReader::new(stdin()).read_line(&mut line).await?;
    Ok(())
}

/// A process that does a part.
pub struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts this program again, for the same database.
    pub fn start(bench: &Bench, part: &Part, arguments: &[String]) -> Result<Self, Error> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--store", bench.kind.name(), "--part", &serde_json::to_string(part)?])
            .args(["--repetitions", &bench.repetitions.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(url) = &bench.url {
            command.args(["--url", url]);
        }
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("no standard output")?);
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// Returns when the process has said that it is ready.
    pub async fn is_ready(&mut self) -> Result<(), Error> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        match line.trim() {
            "ready" => Ok(()),
            other => Err(format!("a process of the benchmark said {other:?} instead of being ready").into()),
        }
    }

    /// Tells the process to begin, or to come to an end.
    pub async fn tell(&mut self) -> Result<(), Error> {
        if let Some(mut input) = self.input.take() {
            input.write_all(b"go\n").await?;
        }
        Ok(())
    }

    /// Its result.
    pub async fn result<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        let mut text = String::new();
        self.output.read_to_string(&mut text).await?;
        let status = self.child.wait().await?;
        if !status.success() {
            return Err(format!("a process of the benchmark ended with {status}").into());
        }
        Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
    }
}

//! The command line.

/// What `cargo xtask --help` prints.
pub(crate) const HELP: &str = "\
The commands for those who work on this workspace.

Usage: cargo xtask <COMMAND>

Commands:
  bench      Measure the stores beside what their databases can do
  test       Run the whole check: format, clippy, tests against real servers, docs; or with --quick, what needs no server
  install    Find or install the servers that the tests need
  postgres   Run a throwaway PostgreSQL until Enter is pressed
  rabbitmq, nats, kafka, redis, sqs
             Run such a throwaway broker until Enter is pressed
  help       Print this help, or that of a command

`cargo xtask <COMMAND> --help` tells more about a command.";

const TEST_HELP: &str = "\
Run the whole check; it is what runs before every merge.

Usage: cargo xtask test [--quick]

Options:
  --quick  Only format, clippy, and the tests of es-core, es-sqlite, es-projections, es-messaging and es-testkit, with `tidy`:
           everything on memory and SQLite, without a server. For before each commit

Steps, in this order; the first that fails ends the check:
  format       cargo fmt --all --check
  clippy       cargo clippy --workspace --all-targets -- -D warnings, with the same features as the tests
  servers      find or install PostgreSQL 15 or newer, PostgreSQL 18, PgBouncer and the brokers (RabbitMQ, NATS, Tansu, Redis,
               moto), and start the databases on free ports; tests start the brokers that they need
  build        cargo test --workspace --no-run, with the features of all brokers and formats
  tests        every test program, in two lanes side by side: those that wait for brokers, and the others; what they print is
               kept in target/test-logs, and shown of those that fail
  tests on 18  the programs of es-postgres once more, in the second lane
  doc tests    cargo test --workspace --doc
  docs         RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
  bench        cargo run -p es-bench -- --smoke: every workload runs to its end; nothing depends on how fast

A missing server is installed, and if that is impossible, the check fails. PostgreSQL 18 alone may be
missing; the summary then says that nothing was tested against it. No server outlives the check, however it ends.

Set for the tests:
  ES_TEST_POSTGRES_URL   a PostgreSQL that never waits for the disk
  ES_TEST_PGBOUNCER_URL  the same server through PgBouncer in transaction mode
  ES_PG_BIN              the folder with the programs of that PostgreSQL
  ES_BERKA_CSV           a file of real bank transactions, where this machine has it

Read by the check:
  ES_PG_BIN     the folder with `initdb` of the PostgreSQL to use instead of the one that would be found
  ES_PGBOUNCER  the PgBouncer program to use
  TMPDIR        where the servers keep their data";

const BENCH_HELP: &str = "\
Measure the stores beside what their databases can do.

Usage: cargo xtask bench [ARGUMENTS]

Runs `cargo run --release -p es-bench -- ARGUMENTS`; `cargo xtask bench -- --help` lists them. With `--quick` it takes less
than three minutes. See docs/benchmarks.md.";

const INSTALL_HELP: &str = "\
Find or install the servers that the tests need.

Usage: cargo xtask install [postgres] [postgres18] [pgbouncer] [rabbitmq] [nats] [kafka] [redis] [sqs]

Without a name, all of them. What is there already is left alone. As root, the distribution's packages are installed;
otherwise, and for what the distribution lacks, everything goes into the folder `.tools` of the workspace. `kafka` is Tansu,
`sqs` is moto.";

const POSTGRES_HELP: &str = "\
Run a throwaway PostgreSQL until Enter is pressed, for trying the examples. Its URL is the first line printed.

Usage: cargo xtask postgres [--durable] [--newest]

Options:
  --durable  Flush commits to the disk, as in production
  --newest   Use PostgreSQL 18 or newer instead of the one that the tests use

The server and its data are gone afterwards, also after Ctrl-C.";

const BROKER_HELP: &str = "\
Run a throwaway broker until Enter is pressed, for trying the examples. Its URL is the first line printed.

Usage: cargo xtask <rabbitmq|nats|kafka|redis|sqs>

`kafka` is Tansu and `sqs` is moto, which keep nothing on a disk; NATS and Redis flush what they confirm. A broker that is missing
is installed. The line `kill` kills it, as a crash would, and starts it again on the same port. The server and its data are gone
afterwards, also after Ctrl-C.";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print a text.
    Help(&'static str),
    /// Run the benchmark with these arguments.
    Bench(Vec<String>),
    /// Run the check.
    Test(Scope),
    /// Find or install servers.
    Install(Vec<Tool>),
    /// Run a throwaway PostgreSQL.
    Postgres(ServeOptions),
    /// Run a throwaway broker.
    Broker(Broker),
}

/// How much of the check is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of it.
    Whole,
    /// What needs no server.
    Quick,
}

/// A broker that can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broker {
    RabbitMq,
    Nats,
    Kafka,
    Redis,
    Sqs,
}

/// What can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// A PostgreSQL of a supported version.
    Postgres,
    /// The newest PostgreSQL that is tested against.
    NewestPostgres,
    /// PgBouncer.
    PgBouncer,
    /// A message broker.
    Broker(Broker),
}

/// What can be installed, by name.
const TOOLS: [(&str, Tool); 8] = [
    ("postgres", Tool::Postgres),
    ("postgres18", Tool::NewestPostgres),
    ("pgbouncer", Tool::PgBouncer),
    ("rabbitmq", Tool::Broker(Broker::RabbitMq)),
    ("nats", Tool::Broker(Broker::Nats)),
    ("kafka", Tool::Broker(Broker::Kafka)),
    ("redis", Tool::Broker(Broker::Redis)),
    ("sqs", Tool::Broker(Broker::Sqs)),
];

/// How a throwaway PostgreSQL is run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ServeOptions {
    /// Whether it flushes commits.
    pub(crate) durable: bool,
    /// Whether it is the newest version.
    pub(crate) newest: bool,
}

/// A command line that was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("a command is missing")]
    NoCommand,
    #[error("there is no command `{0}`")]
    UnknownCommand(String),
    #[error("the command `{command}` does not take `{argument}`")]
    UnknownArgument { command: &'static str, argument: String },
}

/// Understands the words after `cargo xtask`.
pub(crate) fn parse(words: &[String]) -> Result<Command, UsageError> {
    let mut words = words.iter().map(String::as_str);
    let command = words.next().ok_or(UsageError::NoCommand)?;
    let rest: Vec<&str> = words.collect();
    if rest.iter().take_while(|word| **word != "--").any(|word| matches!(*word, "--help" | "-h")) {
        return help_of(command).map(Command::Help);
    }
    match command {
        "bench" => Ok(Command::Bench(rest.into_iter().skip_while(|word| *word == "--").map(str::to_owned).collect())),
        "help" | "--help" | "-h" => match rest.first() {
            None => Ok(Command::Help(HELP)),
            Some(command) => help_of(command).map(Command::Help),
        },
        "test" => match rest.as_slice() {
            [] => Ok(Command::Test(Scope::Whole)),
            ["--quick"] => Ok(Command::Test(Scope::Quick)),
            ["--quick", argument, ..] | [argument, ..] => Err(unknown_argument("test", argument)),
        },
        "install" => parse_install(&rest),
        "postgres" => parse_postgres(&rest),
        _ => parse_broker(command, &rest),
    }
}

fn parse_broker(command: &str, arguments: &[&str]) -> Result<Command, UsageError> {
    match (broker(command), arguments.first()) {
        (Some((_, broker)), None) => Ok(Command::Broker(broker)),
        (Some((name, _)), Some(argument)) => Err(unknown_argument(name, argument)),
        (None, _) => Err(UsageError::UnknownCommand(command.to_owned())),
    }
}

fn help_of(command: &str) -> Result<&'static str, UsageError> {
    match command {
        "help" | "--help" | "-h" => Ok(HELP),
        "bench" => Ok(BENCH_HELP),
        "test" => Ok(TEST_HELP),
        "install" => Ok(INSTALL_HELP),
        "postgres" => Ok(POSTGRES_HELP),
        _ if broker(command).is_some() => Ok(BROKER_HELP),
        _ => Err(UsageError::UnknownCommand(command.to_owned())),
    }
}

/// The broker of this name.
fn broker(name: &str) -> Option<(&'static str, Broker)> {
    TOOLS.iter().find_map(|tool| match tool {
        (known, Tool::Broker(broker)) if *known == name => Some((*known, *broker)),
        _ => None,
    })
}

fn parse_install(arguments: &[&str]) -> Result<Command, UsageError> {
    if arguments.is_empty() {
        return Ok(Command::Install(TOOLS.map(|(_, tool)| tool).to_vec()));
    }
    let tools = arguments.iter().map(|argument| {
        let known = TOOLS.iter().find(|(name, _)| name == argument);
        known.map(|(_, tool)| *tool).ok_or_else(|| unknown_argument("install", argument))
    });
    tools.collect::<Result<_, _>>().map(Command::Install)
}

fn parse_postgres(arguments: &[&str]) -> Result<Command, UsageError> {
    let mut options = ServeOptions::default();
    for argument in arguments {
        match *argument {
            "--durable" => options.durable = true,
            "--newest" => options.newest = true,
            _ => return Err(unknown_argument("postgres", argument)),
        }
    }
    Ok(Command::Postgres(options))
}

fn unknown_argument(command: &'static str, argument: &str) -> UsageError {
    UsageError::UnknownArgument { command, argument: argument.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, UsageError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn every_command_has_its_own_help() {
        for (command, text) in
            [("bench", BENCH_HELP), ("test", TEST_HELP), ("install", INSTALL_HELP), ("postgres", POSTGRES_HELP)]
        {
            assert_eq!(parsed(&format!("{command} --help")), Ok(Command::Help(text)));
            assert_eq!(parsed(&format!("help {command}")), Ok(Command::Help(text)));
            assert!(HELP.contains(command), "{command} is not in the list");
        }
    }

    #[test]
    fn a_broker_is_run_by_its_name() {
        assert_eq!(parsed("redis"), Ok(Command::Broker(Broker::Redis)));
        assert_eq!(parsed("nats --help"), Ok(Command::Help(BROKER_HELP)));
        assert_eq!(parsed("kafka now"), Err(unknown_argument("kafka", "now")));
        for (name, tool) in TOOLS {
            assert!(HELP.contains(name) || !matches!(tool, Tool::Broker(_)), "{name} is not in the list");
        }
    }

    #[test]
    fn what_follows_bench_is_the_benchmarks_own() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(parsed("bench W1 --quick"), Ok(Command::Bench(words("W1 --quick"))));
        assert_eq!(parsed("bench -- --help"), Ok(Command::Bench(words("--help"))));
        assert_eq!(parsed("bench"), Ok(Command::Bench(Vec::new())));
    }

    #[test]
    fn install_without_a_name_installs_everything() {
        assert_eq!(parsed("install"), Ok(Command::Install(TOOLS.map(|(_, tool)| tool).to_vec())));
        assert_eq!(parsed("install pgbouncer"), Ok(Command::Install(vec![Tool::PgBouncer])));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parsed("tset"), Err(UsageError::UnknownCommand("tset".to_owned())));
        assert_eq!(parsed("test --quick"), Ok(Command::Test(Scope::Quick)));
        assert_eq!(parsed("test --quick now"), Err(unknown_argument("test", "now")));
        assert_eq!(parsed("test --fast"), Err(unknown_argument("test", "--fast")));
        assert_eq!(parsed(""), Err(UsageError::NoCommand));
    }
}

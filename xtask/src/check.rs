//! `cargo xtask test`: the whole check.

use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use xtask::pgbouncer::{PgBouncerInstall, ThrowawayPgBouncer};
use xtask::postgres::{PostgresInstall, PostgresOptions, ThrowawayPostgres};
use xtask::{ServerError, tools, workspace};

use crate::report::{Report, Verdict};
use crate::with_causes;

const FORMAT: &str = "format";
const CLIPPY: &str = "clippy";
const SERVERS: &str = "servers";
const TESTS: &str = "tests";
const TESTS_ON_NEWEST: &str = "tests on 18";
const DOCS: &str = "docs";
const BENCH: &str = "bench";

/// All steps, in order.
const STEPS: [&str; 7] = [FORMAT, CLIPPY, SERVERS, TESTS, TESTS_ON_NEWEST, DOCS, BENCH];

/// What is built besides the default features: every broker, every format, so that all of it is checked and compiled once.
/// (TLS to Kafka needs the machine's OpenSSL.)
const FEATURES: &str = "orders/all,es-messaging/metrics,es-messaging-rabbitmq/tls,es-messaging-redis/tls,\
    es-messaging-schemas/avro,es-messaging-schemas/json-schema,es-messaging-schemas/protobuf,es-messaging-schemas/registry-http";

/// A step failed, and the report says so.
struct Failed;

/// Variables for a command.
type Environment<'a> = &'a [(&'static str, OsString)];

/// The servers that the tests run against.
struct Servers {
    main: Postgres,
    newest: Newest,
}

/// A PostgreSQL and a PgBouncer in front of it. Dropped in this order.
struct Postgres {
    bouncer: ThrowawayPgBouncer,
    server: ThrowawayPostgres,
}

/// The newest PostgreSQL that is tested against, beside the main one; or why there is none.
type Newest = Result<Postgres, &'static str>;

/// Runs the check, prints the report, and gives the exit code.
pub(crate) fn run() -> ExitCode {
    let mut report = Report::default();
    // The servers are stopped when this returns, before the report.
    let _ = run_steps(&mut report);
    for step in STEPS {
        if !report.has(step) {
            report.add(step, Duration::ZERO, Verdict::NotRun("an earlier step failed"));
        }
    }
    println!("\n{report}");
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_steps(report: &mut Report) -> Result<(), Failed> {
    cargo(report, FORMAT, &["fmt", "--all", "--check"], &[])?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--features", FEATURES, "--", "-D", "warnings"];
    cargo(report, CLIPPY, &clippy, &[])?;
    let with_metrics =
        ["clippy", "-p", "es-projections", "--all-targets", "--features", "metrics", "--", "-D", "warnings"];
    cargo(report, CLIPPY, &with_metrics, &[])?;
    let servers = start_servers(report)?;

    let mut environment = postgres_environment(&servers.main);
    environment.extend(real_data());
    cargo(report, TESTS, &["test", "--workspace", "--features", FEATURES], &environment)?;
    let with_metrics = ["test", "-p", "es-projections", "--features", "metrics", "--test", "metrics"];
    cargo(report, TESTS, &with_metrics, &[])?;

    match &servers.newest {
        Ok(newest) => {
            let tests = ["test", "-p", "es-postgres", "--tests"];
            cargo(report, TESTS_ON_NEWEST, &tests, &postgres_environment(newest))?;
        }
        Err(reason) => report.add(TESTS_ON_NEWEST, Duration::ZERO, Verdict::NotRun(reason)),
    }
    let docs = ["doc", "--workspace", "--no-deps", "--features", FEATURES];
    cargo(report, DOCS, &docs, &[("RUSTDOCFLAGS", "-D warnings".into())])?;
    // With nothing else running beside it.
    drop(servers);
    cargo(report, BENCH, &["run", "--release", "-p", "es-bench", "--", "--quick"], &[])
}

/// Runs cargo in the root of the workspace as one step.
fn cargo(
    report: &mut Report,
    step: &'static str,
    arguments: &[&str],
    environment: Environment<'_>,
) -> Result<(), Failed> {
    announce(step);
    for (name, value) in environment {
        println!("  {name}={}", value.display());
    }
    println!("  $ cargo {}", arguments.join(" "));
    let start = Instant::now();
    // The cargo that runs this program, which may be another than the first on PATH.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(&program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        // What is not set for this step must not come from outside.
        .removed(["ES_TEST_POSTGRES_URL", "ES_TEST_PGBOUNCER_URL"], environment)
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .status();
    let verdict = match status {
        Ok(status) if status.success() => Verdict::Passed,
        Ok(status) => {
            println!("  cargo ended with {status}");
            Verdict::Failed
        }
        Err(error) => {
            println!("  {} could not be run: {error}", program.display());
            Verdict::Failed
        }
    };
    finish(report, step, start, verdict)
}

/// Finds or installs the servers and starts them, as one step.
fn start_servers(report: &mut Report) -> Result<Servers, Failed> {
    announce(SERVERS);
    let start = Instant::now();
    match try_start_servers() {
        Ok(servers) => {
            finish(report, SERVERS, start, Verdict::Passed)?;
            Ok(servers)
        }
        Err(error) => {
            println!("  {}", with_causes(&error));
            finish(report, SERVERS, start, Verdict::Failed)?;
            Err(Failed)
        }
    }
}

fn try_start_servers() -> Result<Servers, ServerError> {
    let install = tools::ensure_postgres()?;
    let bouncer = tools::ensure_pgbouncer()?;
    tools::ensure_tansu()?;
    tools::ensure_moto()?;
    tools::ensure_nats()?;
    tools::ensure_redis()?;
    tools::ensure_rabbitmq()?;
    let main = start_postgres(&install, &bouncer)?;
    let newest = start_newest(&install, &bouncer)?;
    Ok(Servers { main, newest })
}

fn start_newest(main: &PostgresInstall, bouncer: &PgBouncerInstall) -> Result<Newest, ServerError> {
    if main.version().major >= tools::NEWEST_POSTGRES_MAJOR {
        return Ok(Err("the tests above ran on it"));
    }
    match tools::ensure_newest_postgres() {
        Ok(install) => start_postgres(&install, bouncer).map(Ok),
        Err(error) => {
            println!("  {}", with_causes(&error));
            println!("  PostgreSQL 18 is not available: nothing will be tested against it");
            Ok(Err("PostgreSQL 18 could not be installed here; NOTHING was tested against it"))
        }
    }
}

fn start_postgres(install: &PostgresInstall, bouncer: &PgBouncerInstall) -> Result<Postgres, ServerError> {
    let server = ThrowawayPostgres::start(install, &PostgresOptions::fast())?;
    let bouncer = ThrowawayPgBouncer::start(bouncer, &server)?;
    println!("  PostgreSQL {}: {}, behind PgBouncer: {}", server.version(), server.url(), bouncer.url());
    Ok(Postgres { bouncer, server })
}

fn postgres_environment(postgres: &Postgres) -> Vec<(&'static str, OsString)> {
    vec![
        ("ES_TEST_POSTGRES_URL", postgres.server.url().into()),
        ("ES_TEST_PGBOUNCER_URL", postgres.bouncer.url().into()),
        ("ES_PG_BIN", postgres.server.install().bin_folder().into()),
    ]
}

/// The variable that names the file of real data, where there is one.
fn real_data() -> Option<(&'static str, OsString)> {
    let file = std::env::var_os("ES_BERKA_CSV").or_else(|| workspace::real_transactions().map(Into::into));
    match &file {
        Some(file) => println!("\nReal bank transactions are used: {}", file.display()),
        None => println!("\nReal bank transactions are not on this machine: the made-up sample is used"),
    }
    file.map(|file| ("ES_BERKA_CSV", file))
}

fn announce(step: &str) {
    println!("\n== {step}");
}

fn finish(report: &mut Report, step: &'static str, start: Instant, verdict: Verdict) -> Result<(), Failed> {
    let failed = verdict == Verdict::Failed;
    report.add(step, start.elapsed(), verdict);
    if failed { Err(Failed) } else { Ok(()) }
}

/// Removes variables from a command's environment.
trait RemovedVariables {
    fn removed<const N: usize>(&mut self, names: [&str; N], except: Environment<'_>) -> &mut Self;
}

impl RemovedVariables for Command {
    fn removed<const N: usize>(&mut self, names: [&str; N], except: Environment<'_>) -> &mut Self {
        for name in names {
            if !except.iter().any(|(kept, _)| OsStr::new(kept) == OsStr::new(name)) {
                self.env_remove(name);
            }
        }
        self
    }
}

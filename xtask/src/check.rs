//! `cargo xtask test`: the whole check.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use xtask::pgbouncer::{PgBouncerInstall, ThrowawayPgBouncer};
use xtask::postgres::{PostgresInstall, PostgresOptions, ThrowawayPostgres};
use xtask::{ServerError, tools, workspace};

use crate::cli::Scope;
use crate::lanes::{self, Outcome, Run};
use crate::report::{Report, Verdict};
use crate::test_programs::{self, TestProgram};
use crate::with_causes;

const FORMAT: &str = "format";
const CLIPPY: &str = "clippy";
const SERVERS: &str = "servers";
const BUILD: &str = "build";
const TESTS: &str = "tests";
const TESTS_ON_NEWEST: &str = "tests on 18";
const DOC_TESTS: &str = "doc tests";
const DOCS: &str = "docs";
const BENCH: &str = "bench";

/// All steps of the whole check, in order.
const STEPS: [&str; 9] = [FORMAT, CLIPPY, SERVERS, BUILD, TESTS, TESTS_ON_NEWEST, DOC_TESTS, DOCS, BENCH];

/// The steps of the quick check, in order.
const QUICK_STEPS: [&str; 4] = [FORMAT, CLIPPY, BUILD, TESTS];

/// The packages that the quick check tests: none of them needs a server.
const QUICK_PACKAGES: [&str; 5] = ["es-core", "es-messaging", "es-projections", "es-sqlite", "es-testkit"];

/// A test of the workspace's files, which the quick check runs too.
const TIDY: &str = "tidy";

/// How many tests of brokers run at a time: more than there are processors, since they mostly wait.
const BROKER_TESTS: usize = 6;

/// What the name of a run on the newest PostgreSQL ends with.
const ON_NEWEST: &str = "on the newest PostgreSQL";

/// Variables that name servers: none is taken from outside.
const FROM_HERE_ALONE: [&str; 2] = ["ES_TEST_POSTGRES_URL", "ES_TEST_PGBOUNCER_URL"];

/// What is built besides the default features: every broker, every format, so that all of it is checked and compiled once.
/// (TLS to Kafka needs the machine's OpenSSL.)
const FEATURES: &str = "orders/all,es-messaging/metrics,es-projections/metrics,es-messaging-rabbitmq/tls,es-messaging-redis/tls,\
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
pub(crate) fn run(scope: Scope) -> ExitCode {
    let mut report = Report::default();
    // The servers are stopped when this returns, before the report.
    let (steps, _) = match scope {
        Scope::Whole => (&STEPS[..], run_steps(&mut report)),
        Scope::Quick => (&QUICK_STEPS[..], run_quick_steps(&mut report)),
    };
    for &step in steps {
        if !report.has(step) {
            report.add(step, Duration::ZERO, Verdict::NotRun("an earlier step failed"));
        }
    }
    println!("\n{report}");
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_steps(report: &mut Report) -> Result<(), Failed> {
    lint(report)?;
    let servers = start_servers(report)?;
    let programs = build_tests(report, &[])?;
    run_tests(report, &programs, &servers)?;
    // Examples in the documentation use no server.
    cargo(report, DOC_TESTS, &["test", "--workspace", "--doc", "--features", FEATURES], &[])?;
    let docs = ["doc", "--workspace", "--no-deps", "--features", FEATURES];
    cargo(report, DOCS, &docs, &[("RUSTDOCFLAGS", "-D warnings")])?;
    drop(servers);
    // Shows that every workload runs. How fast depends on the machine, so no timing can fail the check.
    cargo(report, BENCH, &["run", "-p", "es-bench", "--", "--smoke"], &[])
}

fn run_quick_steps(report: &mut Report) -> Result<(), Failed> {
    lint(report)?;
    let mut targets = vec!["--lib".to_owned()];
    for name in QUICK_PACKAGES.iter().flat_map(|package| test_programs::named_tests(package)).chain([TIDY.to_owned()]) {
        targets.extend(["--test".to_owned(), name]);
    }
    let mut programs = build_tests(report, &targets)?;
    programs.retain(|it| QUICK_PACKAGES.contains(&it.package.as_str()) || it.target == TIDY);
    announce(TESTS);
    let start = Instant::now();
    // Two lanes, since many tests wait for the disk.
    let (even, odd): (Vec<_>, Vec<_>) = programs.iter().enumerate().partition(|(index, _)| index % 2 == 0);
    let plan = |lane: Vec<(usize, &TestProgram)>| lane.into_iter().map(|(_, it)| plan(it, None, &[], "")).collect();
    let verdict = match run_lanes(&programs, vec![plan(even), plan(odd)]) {
        Some(outcomes) => verdict(&outcomes),
        None => Verdict::Failed,
    };
    finish(report, TESTS, start, verdict)
}

/// Checks the format and the lints, as two steps.
fn lint(report: &mut Report) -> Result<(), Failed> {
    cargo(report, FORMAT, &["fmt", "--all", "--check"], &[])?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--features", FEATURES, "--", "-D", "warnings"];
    cargo(report, CLIPPY, &clippy, &[])
}

/// Builds test programs, all of them if no targets are chosen, as one step.
fn build_tests(report: &mut Report, targets: &[String]) -> Result<Vec<TestProgram>, Failed> {
    announce(BUILD);
    let start = Instant::now();
    match test_programs::build(FEATURES, targets) {
        Ok(programs) => {
            finish(report, BUILD, start, Verdict::Passed)?;
            Ok(programs)
        }
        Err(error) => {
            println!("  {}", with_causes(&error));
            finish(report, BUILD, start, Verdict::Failed)?;
            Err(Failed)
        }
    }
}

/// Runs all test programs, in two lanes side by side: those that mostly wait for their brokers do so beside the others.
fn run_tests(report: &mut Report, programs: &[TestProgram], servers: &Servers) -> Result<(), Failed> {
    announce(TESTS);
    let mut main = postgres_environment(&servers.main);
    main.extend(real_data());
    print_environment(&main);
    let (waiting, working): (Vec<_>, Vec<_>) = programs.iter().partition(|program| waits(program));
    let mut waiting: Vec<Run> =
        waiting.into_iter().map(|program| plan(program, Some(BROKER_TESTS), &main, "")).collect();
    let working = working.into_iter().map(|program| plan(program, None, &main, "")).collect();
    let on_newest: Vec<Run> = match &servers.newest {
        Ok(newest) => {
            let environment = postgres_environment(newest);
            println!("  and once more, {ON_NEWEST}:");
            print_environment(&environment);
            let of_store = programs.iter().filter(|program| program.package == "es-postgres");
            of_store.map(|program| plan(program, None, &environment, ON_NEWEST)).collect()
        }
        Err(reason) => {
            report.add(TESTS_ON_NEWEST, Duration::ZERO, Verdict::NotRun(reason));
            Vec::new()
        }
    };
    waiting.extend(on_newest);

    let start = Instant::now();
    let Some(outcomes) = run_lanes(programs, vec![working, waiting]) else {
        return finish(report, TESTS, start, Verdict::Failed);
    };
    let (on_newest, main): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(|outcome| outcome.name.ends_with(ON_NEWEST));
    if !on_newest.is_empty() {
        report.add(TESTS_ON_NEWEST, on_newest.iter().map(|outcome| outcome.took).sum(), verdict(&on_newest));
    }
    let failed = verdict(&on_newest) == Verdict::Failed;
    finish(report, TESTS, start, verdict(&main))?;
    if failed { Err(Failed) } else { Ok(()) }
}

/// Runs test programs in lanes side by side. `None` if there is no place for what they print.
fn run_lanes(programs: &[TestProgram], lanes: Vec<Vec<Run>>) -> Option<Vec<Outcome>> {
    match lanes::logs_folder(programs) {
        Ok(logs) => {
            println!("  what they print is in {}", logs.display());
            Some(lanes::run(lanes, &logs))
        }
        Err(error) => {
            println!("  the folder for what the tests print could not be made: {error}");
            None
        }
    }
}

/// Whether a program mostly waits: for brokers that start, are killed, or give a message again.
fn waits(program: &TestProgram) -> bool {
    program.package.starts_with("es-messaging-") || program.package == "orders"
}

fn plan(program: &TestProgram, threads: Option<usize>, environment: Environment<'_>, suffix: &str) -> Run {
    let TestProgram { package, target, .. } = program;
    let name =
        if *target == package.replace('-', "_") { format!("{package} itself") } else { format!("{package} {target}") };
    Run {
        name: format!("{name} {suffix}").trim_end().to_owned(),
        program: program.clone(),
        threads,
        environment: environment.to_vec(),
        removed: FROM_HERE_ALONE.to_vec(),
    }
}

/// Failed, if any of the runs did; each is named.
fn verdict(outcomes: &[Outcome]) -> Verdict {
    let failed: Vec<&str> =
        outcomes.iter().filter(|outcome| !outcome.passed).map(|outcome| outcome.name.as_str()).collect();
    if failed.is_empty() {
        return Verdict::Passed;
    }
    println!("  FAILED: {}", failed.join(", "));
    Verdict::Failed
}

/// Runs cargo in the root of the workspace as one step.
fn cargo(
    report: &mut Report,
    step: &'static str,
    arguments: &[&str],
    environment: &[(&'static str, &'static str)],
) -> Result<(), Failed> {
    announce(step);
    for (name, value) in environment {
        println!("  {name}={value}");
    }
    println!("  $ cargo {}", arguments.join(" "));
    let start = Instant::now();
    let program = test_programs::cargo();
    let status = Command::new(&program)
        .args(arguments)
        .envs(environment.iter().copied())
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
            println!("  {} could not be run: {error}", Path::new(&program).display());
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

fn print_environment(environment: Environment<'_>) {
    for (name, value) in environment {
        println!("  {name}={}", value.display());
    }
}

fn announce(step: &str) {
    println!("\n== {step}");
}

fn finish(report: &mut Report, step: &'static str, start: Instant, verdict: Verdict) -> Result<(), Failed> {
    let failed = verdict == Verdict::Failed;
    report.add(step, start.elapsed(), verdict);
    if failed { Err(Failed) } else { Ok(()) }
}

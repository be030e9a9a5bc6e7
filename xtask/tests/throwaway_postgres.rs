//! What a throwaway PostgreSQL promises.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use xtask::ServerError;
use xtask::postgres::{Auth, PostgresInstall, PostgresOptions, Shutdown, ThrowawayPostgres};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LIMIT: Duration = Duration::from_secs(30);

fn start(options: &PostgresOptions) -> Result<ThrowawayPostgres> {
    Ok(ThrowawayPostgres::start(&PostgresInstall::find()?, options)?)
}

/// Runs a statement with `psql`.
fn psql(server: &ThrowawayPostgres, url: &str, sql: &str) -> Result<Output> {
    let mut command = Command::new(server.install().program("psql"));
    command.args(["-X", "-A", "-t", "-q", "-w", "-c", sql, url]).stdin(Stdio::null());
    Ok(command.output()?)
}

/// Runs a statement that must succeed and gives what it printed.
fn query(server: &ThrowawayPostgres, sql: &str) -> Result<String> {
    let output = psql(server, &server.url(), sql)?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The processes that run in `folder`: in that of a server its supervisor, in `data` below it the server itself.
fn processes_in(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        // Of a folder that is gone, the name stays the beginning of what is told.
        let directory = fs::read_link(process.join("cwd")).unwrap_or_default();
        if directory.to_string_lossy().starts_with(&*folder.to_string_lossy()) {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            found.push(format!("{}: {}", process.display(), String::from_utf8_lossy(&line)));
        }
    }
    Ok(found)
}

/// Waits until `done`, or fails.
fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while !done()? {
        if Instant::now() > end {
            return Err(format!("not so after {} s: {what}", LIMIT.as_secs()).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn a_server_answers_at_its_url_with_the_settings_asked_for() -> Result<()> {
    let server = start(&PostgresOptions::fast().setting("work_mem", "7MB"))?;
    let settings = "select current_setting('fsync'), current_setting('work_mem'), \
                    current_setting('max_connections')::int >= 200, current_setting('server_encoding'), current_user";
    assert_eq!(query(&server, settings)?, "off|7MB|t|UTF8|postgres");
    assert!(query(&server, "show server_version")?.starts_with(&server.version().to_string()));
    assert_eq!(query(&server, "show listen_addresses")?, "127.0.0.1");
    Ok(())
}

#[test]
fn a_server_with_slow_flushes_takes_as_long_for_a_commit() -> Result<()> {
    const FLUSH: Duration = Duration::from_millis(20);
    let server = start(&PostgresOptions::durable().slow_flush(FLUSH))?;
    query(&server, "create table commits (number int)")?;
    // Timed by the server's clock, between a commit's own statement and the next one: no client in between.
    let timed = "do $$ declare begun timestamptz; begin for number in 1..5 loop begun := clock_timestamp(); \
                 insert into commits values (number); commit; \
                 if clock_timestamp() - begun < interval '20 ms' then raise 'a commit took only %', \
                 clock_timestamp() - begun; end if; end loop; end $$";
    query(&server, timed)?;
    assert_eq!(query(&server, "select count(*) from commits")?, "5");
    Ok(())
}

#[test]
fn two_servers_run_side_by_side() -> Result<()> {
    let (one, other) = (start(&PostgresOptions::fast())?, start(&PostgresOptions::fast())?);
    assert_ne!(one.port(), other.port());
    query(&one, "create database only_here")?;
    assert_eq!(query(&other, "select count(*) from pg_database where datname = 'only_here'")?, "0");
    Ok(())
}

#[test]
fn a_killed_server_leaves_no_process_and_keeps_its_committed_data_over_a_restart() -> Result<()> {
    let mut server = start(&PostgresOptions::durable())?;
    query(&server, "create table kept (n int); insert into kept values (42)")?;
    let port = server.port();
    // A backend that is in the middle of something must go too.
    let mut client = Command::new(server.install().program("psql"))
        .args(["-X", "-q", "-c", "select pg_sleep(600)", &server.url()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    wait_until("the client sleeps on the server", || {
        let sleeping = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)'";
        Ok(query(&server, sleeping)? == "1")
    })?;

    let data = server.folder().join("data");
    assert!(processes_in(&data)?.len() > 3, "the test sees the postmaster and its children");
    server.kill()?;

    let postmaster_and_children = processes_in(&data)?;
    assert!(postmaster_and_children.is_empty(), "{postmaster_and_children:#?}");
    assert!(!client.wait()?.success(), "the client lost its connection");
    assert!(query(&server, "select 1").is_err(), "nobody answers");
    assert_eq!(server.pid(), None);

    server.restart()?;
    assert_eq!(server.port(), port);
    assert_eq!(query(&server, "select n from kept")?, "42");
    assert!(server.log()?.contains("not properly shut down"), "it was a crash, not a shutdown");
    Ok(())
}

#[test]
fn a_server_can_be_killed_and_restarted_many_times() -> Result<()> {
    let mut server = start(&PostgresOptions::durable())?;
    query(&server, "create table rounds (n int)")?;
    for round in 1..=5 {
        query(&server, &format!("insert into rounds values ({round})"))?;
        server.kill()?;
        server.kill()?;
        server.restart()?;
        assert_eq!(query(&server, "select count(*) from rounds")?, round.to_string());
    }
    Ok(())
}

#[test]
fn a_stopped_server_starts_again_without_recovery() -> Result<()> {
    let mut server = start(&PostgresOptions::durable())?;
    server.stop(Shutdown::Fast)?;
    assert!(processes_in(&server.folder().join("data"))?.is_empty());
    server.restart()?;
    assert_eq!(query(&server, "select 1")?, "1");
    assert!(!server.log()?.contains("not properly shut down"));
    Ok(())
}

#[test]
fn an_immediate_shutdown_makes_the_next_start_recover() -> Result<()> {
    let mut server = start(&PostgresOptions::durable())?;
    server.stop(Shutdown::Immediate)?;
    server.restart()?;
    assert_eq!(query(&server, "select 1")?, "1");
    assert!(server.log()?.contains("not properly shut down"));
    Ok(())
}

#[test]
fn dropping_a_server_stops_it_and_removes_its_folder() -> Result<()> {
    let server = start(&PostgresOptions::fast())?;
    let folder = server.folder().to_owned();
    assert!(folder.is_dir());
    assert!(!processes_in(&folder)?.is_empty(), "the test sees running servers");
    drop(server);
    assert!(!folder.exists());
    let left = processes_in(&folder)?;
    assert!(left.is_empty(), "{left:#?}");
    Ok(())
}

#[test]
fn dropping_a_killed_server_leaves_no_shared_memory_behind() -> Result<()> {
    let mut server = start(&PostgresOptions::fast())?;
    let lock_file = fs::read_to_string(server.folder().join("data/postmaster.pid"))?;
    let line = lock_file.lines().nth(6).ok_or("no line 7")?;
    let id = line.split_whitespace().nth(1).ok_or("no segment")?.to_owned();
    let exists = || -> Result<bool> {
        let segments = fs::read_to_string("/proc/sysvipc/shm")?;
        Ok(segments.lines().any(|line| line.split_whitespace().nth(1) == Some(&id)))
    };
    server.kill()?;
    assert!(exists()?, "a crash leaves it");
    drop(server);
    assert!(!exists()?);
    Ok(())
}

#[test]
fn a_wrong_password_is_refused_where_one_is_asked_for() -> Result<()> {
    let password = r#"it's "50%" /\ @home:"#.to_owned();
    let server = start(&PostgresOptions::fast().auth(Auth::Scram { password }))?;
    assert_eq!(query(&server, "select 1")?, "1");
    let wrong = psql(&server, &server.url_as("postgres", Some("guess"), "postgres"), "select 1")?;
    let message = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(message.contains("password authentication failed"), "{message}");
    assert!(!psql(&server, &server.url_as("postgres", None, "postgres"), "select 1")?.status.success());
    Ok(())
}

#[test]
fn a_server_that_cannot_start_shows_its_log() -> Result<()> {
    let refused = start(&PostgresOptions::fast().setting("no_such_setting", "1"));
    let message = refused.err().ok_or("it started")?.to_string();
    assert!(message.contains("no_such_setting"), "{message}");
    Ok(())
}

#[test]
fn a_server_whose_port_was_taken_while_it_was_down_says_so() -> Result<()> {
    let mut server = start(&PostgresOptions::fast())?;
    server.stop(Shutdown::Immediate)?;
    let listener = std::net::TcpListener::bind(("127.0.0.1", server.port()))?;
    match server.restart() {
        Err(ServerError::EndedAtStart { log, .. }) => assert!(log.contains(&server.port().to_string()), "{log}"),
        other => return Err(format!("{other:?}").into()),
    }
    drop(listener);
    server.restart()?;
    assert_eq!(query(&server, "select 1")?, "1");
    Ok(())
}

#[test]
fn a_server_goes_with_its_owner_even_if_that_is_killed() -> Result<()> {
    for signal in ["KILL", "TERM", "INT"] {
        // What runs this test may ignore interrupts, as what a shell starts in the background does.
        let mut owner = Command::new("env")
            .args(["--default-signal=INT", env!("CARGO_BIN_EXE_xtask"), "postgres"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = owner.stdout.take().ok_or("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut folder = PathBuf::new();
        for line in lines.by_ref() {
            if let Some(path) = line?.strip_prefix("files in ") {
                folder = path.into();
                break;
            }
        }
        assert!(folder.is_dir(), "{}", folder.display());
        assert!(!processes_in(&folder)?.is_empty());

        let kill = Command::new("sh").args(["-c", &format!("kill -s {signal} {}", owner.id())]).status()?;
        assert!(kill.success());
        assert!(!owner.wait()?.success());

        wait_until(&format!("nothing is left of the server after {signal}"), || {
            Ok(!folder.exists() && processes_in(&folder)?.is_empty())
        })?;
    }
    Ok(())
}

//! What a throwaway PgBouncer promises.

use std::error::Error;
use std::process::{Command, Stdio};

use xtask::pgbouncer::{PgBouncerInstall, ThrowawayPgBouncer};
use xtask::postgres::{Auth, PostgresInstall, PostgresOptions, ThrowawayPostgres};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs statements, each in a transaction of its own, with `psql`.
fn query(server: &ThrowawayPostgres, url: &str, statements: &[&str]) -> Result<String> {
    let mut command = Command::new(server.install().program("psql"));
    command.args(["-X", "-A", "-t", "-q", "-w", url]).stdin(Stdio::null());
    for statement in statements {
        command.args(["-c", statement]);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[test]
fn clients_reach_the_server_through_it_in_transaction_mode() -> Result<()> {
    let server = ThrowawayPostgres::start(&PostgresInstall::find()?, &PostgresOptions::fast())?;
    let bouncer = ThrowawayPgBouncer::start(&PgBouncerInstall::find()?, &server)?;
    let port = query(&server, &bouncer.url(), &["show port"])?;
    assert_eq!(port, server.port().to_string());
    let pools = query(&server, &bouncer.url_for("pgbouncer"), &["show pools"])?;
    let of_postgres = pools.lines().find(|line| line.starts_with("postgres|")).ok_or("no pool")?;
    assert!(of_postgres.ends_with("|transaction"), "{of_postgres}");
    Ok(())
}

#[test]
fn a_server_that_crashed_and_came_back_is_reached_through_it_again() -> Result<()> {
    let mut server = ThrowawayPostgres::start(&PostgresInstall::find()?, &PostgresOptions::fast())?;
    let bouncer = ThrowawayPgBouncer::start(&PgBouncerInstall::find()?, &server)?;
    assert_eq!(query(&server, &bouncer.url(), &["select 1"])?, "1");
    server.kill()?;
    server.restart()?;
    // The first client after the crash may be given the connection that broke.
    let answers: Vec<_> = (0..2).map(|_| query(&server, &bouncer.url(), &["select 1"])).collect();
    assert!(answers.iter().any(|answer| answer.as_deref().is_ok_and(|text| text == "1")), "{answers:?}");
    Ok(())
}

#[test]
fn it_asks_for_the_password_of_the_server_behind_it() -> Result<()> {
    let password = r#"say "please""#.to_owned();
    let options = PostgresOptions::fast().auth(Auth::Scram { password });
    let server = ThrowawayPostgres::start(&PostgresInstall::find()?, &options)?;
    let bouncer = ThrowawayPgBouncer::start(&PgBouncerInstall::find()?, &server)?;
    assert_eq!(query(&server, &bouncer.url(), &["select 1"])?, "1");
    let wrong = format!("postgres://postgres:guess@127.0.0.1:{}/postgres", bouncer.port());
    assert!(query(&server, &wrong, &["select 1"]).is_err());
    Ok(())
}

#[test]
fn dropping_it_removes_its_folder_and_leaves_the_server() -> Result<()> {
    let server = ThrowawayPostgres::start(&PostgresInstall::find()?, &PostgresOptions::fast())?;
    let bouncer = ThrowawayPgBouncer::start(&PgBouncerInstall::find()?, &server)?;
    let (folder, url) = (bouncer.folder().to_owned(), bouncer.url());
    drop(bouncer);
    assert!(!folder.exists());
    assert!(query(&server, &url, &["select 1"]).is_err());
    assert_eq!(query(&server, &server.url(), &["select 1"])?, "1");
    Ok(())
}

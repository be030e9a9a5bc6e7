//! The program: on a file, stopped by a signal and started again.

#![cfg(unix)]

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;
use support::Client;

fn start(file: &Path) -> (Child, Client) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_web"))
        .arg("127.0.0.1:0")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
    (program, Client { address: address.parse().unwrap() })
}

/// Asks it to end, as whoever supervises it does.
fn terminate(mut program: Child) -> bool {
    assert!(Command::new("kill").args(["-TERM", &program.id().to_string()]).status().unwrap().success());
    program.wait().unwrap().success()
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_and_a_client_goes_on_where_it_was() {
    let folder = std::env::temp_dir().join(format!("web-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("web.db");

    let (program, client) = start(&file);
    client.command("/accounts/ann", "1", json!({"owner": "Ann"})).await;
    client.command("/accounts/ann/deposits", "2", json!({"cents": 500})).await;
    let mut updates = client.updates("/accounts/ann/events", Some("0")).await;
    let (first, ..) = updates.next().await.unwrap();
    assert!(terminate(program), "with a client that has not hung up");

    let (program, client) = start(&file);
    let again = client.command("/accounts/ann/deposits", "2", json!({"cents": 500})).await;
    assert_eq!((&again.body["cents"], &again.body["is_repeated"]), (&json!(500), &json!(true)));
    let shown = client.balance("ann", again.header("event-bookmark")).await;
    assert_eq!(shown.body, json!({"owner": "Ann", "cents": 500}));
    let (second, event, _) = client.updates("/accounts/ann/events", Some(&updates.last_id)).await.next().await.unwrap();
    assert_eq!((first.as_str(), second.as_str(), event.as_str()), ("1", "2", "Deposited"));
    assert!(terminate(program));
    std::fs::remove_dir_all(&folder).unwrap();
}

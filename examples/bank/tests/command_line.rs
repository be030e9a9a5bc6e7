//! The bank as its user meets it: what it prints, and what it says about bad input.

mod support;

use std::process::Stdio;

use support::{Folder, bank, fresh_postgres_database, import, run, run_to_failure};

#[test]
fn the_demonstration_tells_the_whole_story_on_every_store_and_can_be_repeated() {
    let folder = Folder::new();
    for store in [folder.sqlite(), fresh_postgres_database(), "memory:".to_owned()] {
        let output = run(&mut bank(&store));
        for part in [
            "withdraw 5 000.00 from Bob: refused, the balance is 0.00, too little to withdraw 5 000.00",
            "recognised (the first outcome is returned), Ann still has 550.00",
            "opened by Ann",
            "account ann, as of version 2: balance 1 000.00",
            "balance 1 000.00\n",
            "rebuilt from 6 events",
            "6 events are stored in",
        ] {
            assert!(output.contains(part), "{store}: no {part:?} in:\n{output}");
        }
        if store != "memory:" {
            let again = run(&mut bank(&store));
            assert!(again.contains("done before") && again.contains("6 events are stored in"), "{again}");
        }
    }
}

#[test]
fn a_listener_that_goes_away_ends_the_program_without_a_word() {
    let folder = Folder::new();
    run(&mut bank(&folder.sqlite()));
    for command in ["demo", "balances", "status", "--help"] {
        let mut bank = bank(&folder.sqlite());
        bank.arg(command).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = bank.spawn().expect("it starts");
        drop(program.stdout.take());
        let output = program.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{command}: {} {said}", output.status);
    }
}

#[test]
fn help_lists_every_command_and_needs_no_store() {
    let output = run(bank("sqlite:/nonexistent/x.db").arg("--help"));
    for command in [
        "demo",
        "import",
        "balances",
        "statement",
        "as-of",
        "rebuild",
        "roll-back",
        "status",
        "pause",
        "resume",
        "--store",
    ] {
        assert!(output.contains(command), "{output}");
    }
}

#[test]
fn the_status_is_a_table_and_a_paused_read_model_says_by_whom() {
    let folder = Folder::new();
    for store in [folder.sqlite(), fresh_postgres_database()] {
        run(&mut bank(&store));
        let status = run(bank(&store).arg("status"));
        let lines: Vec<_> = status.lines().collect();
        assert_eq!(
            lines[..2],
            [
                "consumer  kind  position  lag  rate/s  state      ".trim_end(),
                "balance   view         6    0       0  not running"
            ],
            "{status}"
        );
        assert_eq!(run(bank(&store).args(["pause", "--why", "the auditors are here"])), "paused\n");
        assert_eq!(run(bank(&store).arg("pause")), "it is paused already\n");
        let status = run(bank(&store).arg("status"));
        assert!(status.contains("0  paused by the bank's command line since "), "{status}");
        assert!(status.contains("pause balance (the auditors are here)"), "{status}");
        let (_, errors) = run_to_failure(bank(&store).arg("balances"));
        assert!(errors.contains("balance was paused by the bank's command line"), "{errors}");
        assert!(errors.contains("the auditors are here; resume or enable it first"), "{errors}");
        assert_eq!(run(bank(&store).arg("resume")), "resumed\n");
        assert_eq!(run(bank(&store).arg("resume")), "it is not paused\n");
        assert!(run(bank(&store).arg("balances")).contains("Ann"));
    }
}

#[test]
fn the_past_is_asked_by_version_or_by_the_day_that_the_bank_gave() {
    let folder = Folder::new();
    let store = folder.sqlite();
    let file = folder.write(
        "two.csv",
        "trans_id;account_id;date;type;operation;amount\n1;7;930105;PRIJEM;VKLAD;10.00\n2;7;930110;VYBER;;4.00\n",
    );
    run(&mut import(&store, &file));
    let as_of = |arguments: &[&str]| run(bank(&store).arg("as-of").arg("7").args(arguments));
    assert_eq!(as_of(&["--at", "1993-01-09"]), "account 7, as of version 2: balance 10.00\n");
    assert_eq!(as_of(&["--at", "1993-01-10"]), "account 7, as of version 3: balance 6.00\n");
    assert_eq!(as_of(&["--version", "2"]), "account 7, as of version 2: balance 10.00\n");
    assert_eq!(as_of(&["--at", "1992-12-31"]), "account 7, as of version 0: balance 0.00\n");
    let statement = run(bank(&store).args(["statement", "7"]));
    assert!(statement.contains("1993-01-10") && statement.contains("withdrawn 4.00"), "{statement}");
    let top = run(bank(&store).args(["balances", "--top", "1"]));
    assert!(top.contains("6.00"), "{top}");
    let rebuilt = run(bank(&store).arg("rebuild"));
    for part in ["rebuilt from 3 events", "both have the same 1 row(s)", "readers are given balance@2 now"] {
        assert!(rebuilt.contains(part), "no {part:?} in {rebuilt}");
    }
    let status = run(bank(&store).arg("status"));
    let words: Vec<&str> = status.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(words, ["balance", "view", "3", "0", "0", "not", "running"], "{status}");
    let back = run(bank(&store).arg("roll-back"));
    assert!(back.contains("readers are given balance again"), "{back}");
    let in_place = run(bank(&store).args(["rebuild", "--in-place"]));
    for part in ["rebuilt from 3 events", "compared with the one before", "both have the same 1 row(s)"] {
        assert!(in_place.contains(part), "no {part:?} in {in_place}");
    }
    let again = run(bank(&store).args(["balances", "--top", "1"]));
    assert!(again.contains("6.00"), "{again}");

    let complaints = [
        (vec!["as-of", "7", "--version", "9"], "version 9 does not exist yet"),
        (vec!["as-of", "8", "--at", "1993-01-01"], "there is no account \"8\""),
        (vec!["as-of", "7", "--at", "yesterday"], "YYYY-MM-DD"),
        (vec!["as-of", "7"], "--version"),
        (vec!["statement", "8"], "there is no account \"8\""),
    ];
    for (arguments, complaint) in complaints {
        let (_, errors) = run_to_failure(bank(&store).args(&arguments));
        assert!(errors.contains(complaint), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_store_that_cannot_be_opened_says_what_to_do() {
    let folder = Folder::new();
    let not_a_database = folder.write("notes.txt", &"this is no database, however long it is\n".repeat(100));
    let cases = [
        ("sqlite:/nonexistent/folder/bank.db".to_owned(), "folder"),
        (format!("sqlite:{}", not_a_database.display()), "not a SQLite database"),
        ("mysql://localhost/bank".to_owned(), "unknown store"),
        ("postgres://postgres@127.0.0.1:1/bank".to_owned(), "the store cannot be used as it is"),
    ];
    for (store, complaint) in cases {
        let (_, errors) = run_to_failure(bank(&store).arg("balances"));
        assert!(errors.contains(complaint), "{store}: {errors}");
    }
    let (_, errors) = run_to_failure(bank("memory:").arg("balances"));
    assert!(errors.contains("demonstration alone"), "{errors}");
}

#[test]
fn a_bad_line_is_named_and_what_came_before_it_is_kept() {
    let header = "trans_id;account_id;date;type;operation;amount\n";
    let good = "1;7;930105;PRIJEM;VKLAD;10.00\n";
    let cases = [
        ("2;7;930106;PRIJEM;VKLAD;ten\n", "line 3: the amount \"ten\" is no amount"),
        ("2;7;930106;PRIJEM;VKLAD;-1.00\n", "line 3: the amount -1.00 is negative"),
        ("2;7;930106;DAR;VKLAD;1.00\n", "line 3: the type \"DAR\" is unknown"),
        ("2;7;931306;PRIJEM;VKLAD;1.00\n", "line 3: the date \"931306\""),
        (";7;930106;PRIJEM;VKLAD;1.00\n", "line 3: the trans_id is empty"),
        ("2;7;930106;PRIJ", "line 3: it is cut off"),
    ];
    for (bad, complaint) in cases {
        let folder = Folder::new();
        let store = folder.sqlite();
        let file = folder.write("bad.csv", &format!("{header}{good}{bad}"));
        let (output, errors) = run_to_failure(&mut import(&store, &file));
        assert!(errors.contains(complaint), "{bad:?}: {errors}");
        assert!(output.contains("imported 1 transactions"), "{output}");
        let mended = folder.write("bad.csv", &format!("{header}{good}2;7;930106;PRIJEM;VKLAD;1.00\n"));
        let output = run(&mut import(&store, &mended));
        assert!(output.contains("imported 1 transactions, 1 were there already"), "{output}");
    }
}

#[test]
fn a_file_without_its_columns_is_refused_as_a_whole() {
    let folder = Folder::new();
    let file = folder.write("bad.csv", "trans_id;account_id;date;type;operation\n1;7;930105;PRIJEM;VKLAD\n");
    let (_, errors) = run_to_failure(&mut import(&folder.sqlite(), &file));
    assert!(errors.contains("no column \"amount\""), "{errors}");
    let (_, errors) = run_to_failure(&mut import(&folder.sqlite(), &folder.path("missing.csv")));
    assert!(errors.contains("missing.csv"), "{errors}");
}

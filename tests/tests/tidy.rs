//! Keeps the house tidy: who may depend on whom, how long a file may be, what library code must not do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Libraries that other people build on: no panics by design, every error typed.
const LIBRARIES: [&str; 4] = ["es-core", "es-sqlite", "es-postgres", "es-projections"];
/// What the libraries of messaging are called: the machine alone, and with a broker's name behind it.
const MESSAGING: &str = "es-messaging";
const MAX_FILE_LINES: usize = 500;

/// Which of our crates a crate may depend on, without dev-dependencies. Whoever is not listed may use everything.
fn allowed_edges() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    BTreeMap::from([
        ("es", BTreeSet::from(["es-core", MESSAGING, "es-postgres", "es-projections", "es-sqlite"])),
        ("es-core", BTreeSet::new()),
        ("es-testkit", BTreeSet::from(["es-core", MESSAGING])),
        (MESSAGING, BTreeSet::from(["es-core", "es-projections"])),
        ("es-sqlite", BTreeSet::from(["es-core"])),
        ("es-postgres", BTreeSet::from(["es-core"])),
        ("es-projections", BTreeSet::from(["es-core"])),
        ("xtask", BTreeSet::new()),
        ("es-bench", BTreeSet::from(["es-core", "es-postgres", "es-projections", "es-sqlite", "xtask"])),
    ])
}

fn root() -> PathBuf {
    xtask::workspace::root()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// Every package with its dependencies, without dev-dependencies: (name, features).
fn dependencies() -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let metadata = metadata();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"]);
            let normal = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
            let normal = normal.map(|d| (text(&d["name"]), list(&d["features"]).iter().map(text).collect()));
            (text(&package["name"]), normal.collect())
        })
        .collect()
}

#[test]
fn every_crate_depends_only_on_those_it_may() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    let mut edges = allowed_edges();
    let brokers = ours.iter().filter(|name| name.strip_prefix(MESSAGING).is_some_and(|rest| rest.starts_with('-')));
    edges.extend(brokers.map(|name| (*name, BTreeSet::from(["es-core", MESSAGING]))));
    // The client of a registry is the HTTP client of the webhooks.
    edges.insert("es-messaging-schemas", BTreeSet::from(["es-core", MESSAGING, "es-messaging-http"]));
    for (package, allowed) in edges {
        let used: BTreeSet<&str> =
            dependencies[package].keys().map(String::as_str).filter(|name| ours.contains(name)).collect();
        assert!(used.is_subset(&allowed), "{package} depends on {used:?}, and may only on {allowed:?}");
    }
}

#[test]
fn the_core_knows_no_database_and_no_runtime() {
    let dependencies = dependencies();
    let core = &dependencies["es-core"];
    assert!(!core.contains_key("sqlx"));
    assert_eq!(core["tokio"], ["sync"], "of tokio the core may use `sync` alone");
    assert!(!dependencies["es-projections"].contains_key("sqlx"), "es-projections names no database");
}

/// Tracked and untracked files that git does not ignore.
fn files(ending: &str) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let files: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|path| path.ends_with(ending))
        .map(|path| root().join(path))
        .filter(|path| path.exists())
        .collect();
    assert!(!files.is_empty(), "git lists no {ending} file");
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn no_source_file_is_longer_than_one_concept_needs() {
    let long: Vec<String> = files(".rs")
        .iter()
        .map(|path| (read(path).lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_FILE_LINES)
        .map(|(lines, path)| format!("{} ({lines} lines)", path.display()))
        .collect();
    assert!(long.is_empty(), "over {MAX_FILE_LINES} lines, so two concepts may share a room: {long:#?}");
}

#[test]
fn library_code_does_not_panic_by_design() {
    let banned = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!(", "dbg!("];
    let mut found = Vec::new();
    for path in files(".rs") {
        let relative = path.strip_prefix(root()).expect("a file of ours").to_owned();
        let is_source = relative.iter().nth(1).is_some_and(|folder| folder == "src");
        let name = relative.iter().next().and_then(|name| name.to_str()).unwrap_or_default();
        let in_library = is_source && (LIBRARIES.contains(&name) || name.starts_with(MESSAGING));
        if !in_library || relative.ends_with("tests.rs") {
            continue;
        }
        let source = read(&path);
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in (1..).zip(code.lines()) {
            let is_comment = line.trim_start().starts_with("//");
            if !is_comment && banned.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{number}: {}", relative.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "library code gives an error instead: {found:#?}");
}

#[test]
fn every_statement_has_a_file_of_its_own_with_a_header() {
    for path in files(".sql") {
        let text = read(&path);
        assert!(text.starts_with("-- "), "{} does not say what it is for in its first line", path.display());
        if path.parent().is_some_and(|folder| folder.ends_with("sql")) {
            let code: String = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            let statements = code.split(';').filter(|part| !part.trim().is_empty()).count();
            // A pair that is one act says so in its header, and so does a script that an administrator runs.
            let expected = match text {
                _ if text.contains("A script of several statements") => continue,
                _ if text.contains("Two statements") => 2,
                _ => 1,
            };
            assert_eq!(statements, expected, "{} holds {statements} statements", path.display());
        }
    }
}

#[test]
fn both_sql_stores_have_the_same_rooms() {
    let rooms = |store: &str| -> BTreeSet<String> {
        let folder = root().join(store).join("src");
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    };
    // What only one of them has, and why.
    let reasons = BTreeMap::from([
        ("readers.rs", "SQLite has one writing connection and a few reading ones, PostgreSQL a pool"),
        ("waiting.rs", "waiting in this process for the writer or a reader, which PostgreSQL's pool does by itself"),
        ("append_alone.rs", "an append by itself is one trip to SQLite's thread; in PostgreSQL it is always one call"),
        ("durability.rs", "SQLite shows nothing that is not flushed"),
        ("tails.rs", "several short reads share a round trip, which SQLite does not have"),
        ("opened_file.rs", "SQLite's database is a file that can be replaced"),
        ("page_time.rs", "a page on SQLite holds the only writer"),
        (
            "shared_commit.rs",
            "writes that wait for SQLite's only writer share a commit; PostgreSQL groups commits by itself",
        ),
        ("turns.rs", "who is next at SQLite's only writer"),
        ("sqlite_version.rs", "SQLite comes with the program, in whatever version its other crates want"),
        ("limits.rs", "the bounds of SQLite's shared commits"),
        ("connections.rs", "PostgreSQL's connections can be closed by the other side"),
        ("source.rs", "PostgreSQL is named by a URL, SQLite by a path"),
        ("tls.rs", "PostgreSQL is reached over a network"),
        ("roles.rs", "PostgreSQL has roles"),
        ("statements.rs", "PostgreSQL's statements name their schema, SQLite's are constants"),
    ]);
    let (sqlite, postgres) = (rooms("es-sqlite"), rooms("es-postgres"));
    let only_one: BTreeSet<&str> = sqlite.symmetric_difference(&postgres).map(String::as_str).collect();
    assert_eq!(
        only_one,
        reasons.keys().copied().collect(),
        "a file that the sibling store lacks, without a reason here"
    );
}

#[test]
fn the_changelog_begins_with_what_is_not_released() {
    let changelog = read(&root().join("CHANGELOG.md"));
    assert!(changelog.starts_with("# Changelog\n"));
    assert!(changelog.contains("\n## Unreleased\n"));
}

#[test]
fn every_link_between_our_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for path in files(".md") {
        for target in read(&path).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            let is_outside = target.is_empty() || target.contains("://");
            let folder = path.parent().expect("a file has a folder");
            if !is_outside && !folder.join(target).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

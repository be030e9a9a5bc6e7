//! The test programs of the workspace, as cargo has built them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use xtask::workspace;

/// One test program: a target of a package, built, not yet run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// The package it tests.
    pub(crate) package: String,
    /// The target's name, as `cargo test --test NAME` takes it; the library's or program's own for the tests inside it.
    pub(crate) target: String,
    /// The folder of the package, in which the program runs.
    pub(crate) folder: PathBuf,
    /// The program.
    pub(crate) program: PathBuf,
}

/// Why there are no test programs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("{} could not be run: {source}", program.display())]
    NotRun { program: PathBuf, source: std::io::Error },
    #[error("cargo ended with {0}")]
    Failed(std::process::ExitStatus),
    #[error("cargo built no test programs")]
    Nothing,
}

/// Builds test programs of the workspace and returns them in the order of their names: those of the targets (arguments of cargo), or
/// every one if there are none. The compiler's messages go to standard error.
pub(crate) fn build(features: &str, targets: &[String]) -> Result<Vec<TestProgram>, BuildError> {
    let cargo = PathBuf::from(cargo());
    let output = Command::new(&cargo)
        .args(["test", "--workspace", "--features", features, "--no-run", "--message-format=json-render-diagnostics"])
        .args(targets)
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| BuildError::NotRun { program: cargo, source })?;
    if !output.status.success() {
        return Err(BuildError::Failed(output.status));
    }
    let mut programs: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().filter_map(parse).collect();
    // Cargo tells of them as they get ready.
    programs.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    if programs.is_empty() { Err(BuildError::Nothing) } else { Ok(programs) }
}

/// Returns the names of the test programs in the folder `tests` of a package: files, and folders with a `main.rs`.
pub(crate) fn named_tests(package: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(workspace::root().join(package).join("tests")) else { return Vec::new() };
    let name = |path: PathBuf| {
        let is_test = path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
        is_test.then(|| Some(path.file_stem()?.to_str()?.to_owned())).flatten()
    };
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| name(entry.path())).collect();
    names.sort();
    names
}

/// The cargo that runs this program, which may be another than the first on `PATH`.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Reads one line of cargo's messages; most are about something else.
fn parse(line: &str) -> Option<TestProgram> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    Some(TestProgram {
        package: package_name(message["package_id"].as_str()?)?.to_owned(),
        target: message["target"]["name"].as_str()?.to_owned(),
        folder: Path::new(message["manifest_path"].as_str()?).parent()?.to_owned(),
        program: message["executable"].as_str()?.into(),
    })
}

/// The name in a package's id: `path+file:///folder/name#0.1.0`, or `path+file:///folder#name@0.1.0` where the folder is called
/// otherwise.
fn package_name(id: &str) -> Option<&str> {
    let (path, rest) = id.split_once('#')?;
    match rest.split_once('@') {
        Some((name, _)) => Some(name),
        None => path.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_of_a_package_are_files_and_folders_with_a_main_file() {
        let names = named_tests("es-projections");
        assert!(names.contains(&"metrics".to_owned()) && names.contains(&"runner".to_owned()), "{names:?}");
        assert!(!named_tests("es-sqlite").contains(&"common".to_owned()));
        assert!(named_tests("no-such-package").is_empty());
    }

    #[test]
    fn a_package_is_called_as_its_manifest_says() {
        assert_eq!(package_name("path+file:///src/es-core#0.1.0"), Some("es-core"));
        assert_eq!(package_name("path+file:///src/tests#es-e2e@0.1.0"), Some("es-e2e"));
    }

    #[test]
    fn only_what_cargo_built_as_a_test_is_a_test_program() {
        let line = |test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///src/tests#es-e2e@0.1.0","manifest_path":"/src/tests/Cargo.toml",
                "target":{{"kind":["test"],"name":"tidy"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let expected = TestProgram {
            package: "es-e2e".into(),
            target: "tidy".into(),
            folder: "/src/tests".into(),
            program: "/target/tidy-1".into(),
        };
        assert_eq!(parse(&line(true, r#""/target/tidy-1""#)), Some(expected));
        assert_eq!(parse(&line(false, r#""/target/tidy-1""#)), None);
        assert_eq!(parse(&line(true, "null")), None);
        assert_eq!(parse(r#"{"reason":"build-finished","success":true}"#), None);
    }
}

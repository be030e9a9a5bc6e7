//! The list of the suite holds every case, and each case once.

use std::{collections::BTreeSet, fs, path::Path};

use es_testkit::{MemoryHarness, conformance};

#[test]
fn every_public_case_is_in_the_list() {
    let listed: Vec<String> = conformance::cases::<MemoryHarness>().iter().map(|case| format!("{case:?}")).collect();
    let unique: BTreeSet<&String> = listed.iter().collect();
    assert_eq!(unique.len(), listed.len(), "a case is listed twice");

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let subject = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let Some(rest) = line.strip_prefix("pub async fn ") else { continue };
            let name = rest.split(['<', '(']).next().unwrap();
            written.insert(format!("{subject}::{name}"));
        }
    }
    assert!(written.len() >= 100, "only {} cases were found in the source", written.len());
    let missing: Vec<_> = written.iter().filter(|case| !unique.contains(case)).collect();
    assert!(missing.is_empty(), "add these to the list in conformance/mod.rs: {missing:#?}");
}

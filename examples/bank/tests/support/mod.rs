//! What the tests of the bank's command line share: the program, a folder of its own, stores, files.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use xtask::postgres::PostgresInstall;

/// A folder that is removed when the test ends.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bank-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn sqlite(&self) -> String {
        format!("sqlite:{}", self.path("bank.db").display())
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A database of its own on the server under test.
pub fn fresh_postgres_database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("ES_TEST_POSTGRES_URL").expect(
        "ES_TEST_POSTGRES_URL names a throwaway PostgreSQL: run `cargo xtask test`, or `cargo xtask postgres` for one",
    );
    let database = format!("bank_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let psql = PostgresInstall::find().unwrap().program("psql");
    let created = Command::new(psql).args([&server, "-qc", &format!("CREATE DATABASE {database}")]).status().unwrap();
    assert!(created.success());
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{database}")
}

pub fn bank(store: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bank"));
    command.args(["--store", store]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end and gives what was printed; it must succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Runs to the end and gives what was printed and complained about; it must fail.
pub fn run_to_failure(command: &mut Command) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(!status.success(), "it should have failed: {}", text(&stdout));
    (text(&stdout), text(&stderr))
}

pub fn import(store: &str, file: &Path) -> Command {
    let mut command = bank(store);
    command.arg("import").arg(file);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Ends a process as a power cut would: SIGKILL.
pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A made-up file of transactions, the same for the same seed, and its sums in cents: (accounts, credits, debits).
pub fn made_up_file(folder: &Folder, rows: u64, seed: u64) -> (PathBuf, (usize, i64, i64)) {
    let mut state = seed;
    let mut random = move |below: u64| {
        // splitmix64
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    };
    let mut content = String::from(
        "\"trans_id\";\"account_id\";\"date\";\"type\";\"operation\";\"amount\";\"balance\";\"k_symbol\";\"bank\";\"account\"\n",
    );
    let (mut accounts, mut credits, mut debits) = (std::collections::BTreeSet::new(), 0, 0);
    for row in 0..rows {
        let (account, day, cents) = (random(60) + 1, random(28) + 1, random(1_000_000) as i64);
        let kind = ["PRIJEM", "VYDAJ", "VYBER"][random(3) as usize];
        *if kind == "PRIJEM" { &mut credits } else { &mut debits } += cents;
        accounts.insert(account);
        writeln!(
            content,
            "{};{account};9301{day:02};\"{kind}\";\"VKLAD\";{}.{:02};0.00;\"\";;",
            700_000 + row,
            cents / 100,
            cents % 100
        )
        .unwrap();
    }
    (folder.write("made-up.csv", &content), (accounts.len(), credits, debits))
}

/// The real transactions, where they are.
pub fn real_file() -> Option<PathBuf> {
    std::env::var_os("ES_BERKA_CSV").map(PathBuf::from).filter(|path| path.exists())
}

/// One cell of the table of totals that `import` prints: the file's or the read model's.
pub fn total(output: &str, row: &str) -> (String, String) {
    let line = output.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("no {row} in:\n{output}"));
    assert!(line.ends_with("equal"), "{line}");
    let cells = line[14..].trim_end_matches("equal").trim_end();
    let (file, read_model) = cells.split_at(18.min(cells.len()));
    (file.trim().to_owned(), read_model.trim().to_owned())
}

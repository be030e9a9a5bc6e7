//! Servers and files of a test's own.

use std::path::{Path, PathBuf};

use uuid::Uuid;
use xtask::postgres::{PostgresInstall, PostgresOptions, ThrowawayPostgres};

/// A PostgreSQL of the test's own, to be killed: with its ordinary durability, and with a background writer so slow that
/// an append that is not flushed by its own commit is lost by a crash.
///
/// # Panics
/// Where no PostgreSQL is installed; the message says how to get one.
pub async fn durable_postgres() -> ThrowawayPostgres {
    blocking(|| {
        let install = PostgresInstall::find().expect("a PostgreSQL; `cargo xtask install` gets one");
        ThrowawayPostgres::start(&install, &slow_background_writer()).expect("the server starts")
    })
    .await
}

/// A durable server's options, with a background writer that flushes nothing in the time of a test.
pub fn slow_background_writer() -> PostgresOptions {
    PostgresOptions::durable().setting("wal_writer_delay", "10s")
}

/// Kills a server with SIGKILL, and starts it again.
///
/// # Panics
/// If it does not go or does not recover.
pub async fn crash(mut server: ThrowawayPostgres) -> ThrowawayPostgres {
    blocking(move || {
        server.kill().expect("the server can be killed");
        server.restart().expect("the server recovers");
        server
    })
    .await
}

/// The throwaway server that the check has started: its URL.
///
/// # Panics
/// Without one; the message says how to get one.
pub fn shared_postgres_url() -> String {
    std::env::var("ES_TEST_POSTGRES_URL").expect(
        "ES_TEST_POSTGRES_URL names a throwaway PostgreSQL: run `cargo xtask test`, or `cargo xtask postgres` for one",
    )
}

/// A schema name that nobody else uses.
pub fn unique_schema() -> String {
    format!("e2e_{}", Uuid::now_v7().simple())
}

/// Runs what blocks (starting, killing, waiting for a process) beside the runtime.
///
/// # Panics
/// If the work panics.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the blocking work does not panic")
}

/// A folder that is removed when the test ends.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new, empty folder.
    ///
    /// # Panics
    /// If it cannot be made.
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("es-e2e-{}", Uuid::now_v7().simple()));
        std::fs::create_dir_all(&path).expect("a temporary folder can be made");
        Self(path)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

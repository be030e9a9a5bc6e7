//! TLS to a server of the test's own: who is trusted, who is let in, and what is said if not.
#![cfg(feature = "tls")]

mod common;

use common::deposit;
use es_core::{EventStore, StoreError};
use es_postgres::{
    PgOptions, PgStore,
    sqlx::{
        self, Row,
        postgres::{PgConnectOptions, PgSslMode},
    },
};
use es_testkit::Authority;
use xtask::{
    ServerError,
    postgres::{PostgresInstall, PostgresOptions, ThrowawayPostgres},
};

/// Lets anybody in who uses TLS; ann only with a certificate of the authority.
const ACCESS: &str = "hostssl all ann 127.0.0.1/32 trust clientcert=verify-ca\nhostssl all all 127.0.0.1/32 trust\n";

/// Starts the first PostgreSQL that was built with TLS; the Python package is not.
fn start(options: &PostgresOptions) -> ThrowawayPostgres {
    for install in PostgresInstall::all() {
        match ThrowawayPostgres::start(&install, options) {
            Err(ServerError::EndedAtStart { log, .. }) if log.contains("SSL is not supported by this build") => {}
            server => return server.expect("it starts"),
        }
    }
    panic!("no PostgreSQL here was built with TLS; name the programs of one that was in ES_PG_BIN")
}

async fn setup_error(options: PgOptions) -> (String, String) {
    match options.connect().await {
        Err(StoreError::Setup { problem, remedy, .. }) => (problem, remedy),
        other => panic!("expected a Setup error, got {other:?}"),
    }
}

/// How many of the store's sessions the server has, and how many of them are encrypted.
async fn sessions(store: &PgStore) -> (i64, i64) {
    let mut unit = store.begin().await.unwrap();
    let sql = "SELECT count(*), count(*) FILTER (WHERE s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
               WHERE a.application_name = 'es-postgres'";
    let row = sqlx::query(sql).fetch_one(unit.connection()).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn a_server_with_tls_is_verified_and_each_mismatch_says_what_to_do() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.server("localhost");
    let options = PostgresOptions::fast().with_tls(authority.pem(), &certificate, &key).host_based_access(ACCESS);
    let server = start(&options);
    let folder = server.folder();
    let url = |user: &str, host: &str, parameters: &str| {
        format!("postgres://{user}@{host}:{}/postgres?{parameters}", server.port())
    };
    let trusting = format!("sslmode=verify-full&sslrootcert={}", folder.join("trusted.pem").display());
    std::fs::write(folder.join("trusted.pem"), authority.pem()).unwrap();

    // All connections, the listening one too, by the URL alone.
    let store = PgOptions::new(url("postgres", "localhost", &trusting)).connect().await.unwrap();
    let mut wakeups = store.wakeups();
    store.append(&deposit("ann")).await.unwrap();
    let listening = PgOptions::new(url("postgres", "localhost", &trusting)).connect().await.unwrap();
    listening.append(&deposit("ann")).await.unwrap();
    wakeups.next().await;
    let (all, encrypted) = sessions(&store).await;
    assert!(all >= 4 && encrypted == all, "{encrypted} of {all}");
    store.close().await;
    listening.close().await;

    // By methods, with the texts themselves.
    let (client, client_key) = authority.client("ann");
    let (stranger, stranger_key) = other.client("ann");
    let plain = |user: &str, host: &str| PgOptions::new(url(user, host, "")).ssl_mode(PgSslMode::VerifyFull);
    execute(&url("postgres", "localhost", "sslmode=require"), "CREATE ROLE ann SUPERUSER LOGIN").await;
    let with = |certificate: &str, key: &str| {
        plain("ann", "localhost").ssl_root_cert(authority.pem()).ssl_client_cert(certificate, key)
    };
    with(&client, &client_key).connect().await.unwrap().close().await;
    // What encrypts without looking is not silently less than that, and what would do without TLS uses it.
    for mode in ["require", "prefer", "allow"] {
        let store = PgOptions::new(url("postgres", "127.0.0.1", &format!("sslmode={mode}"))).connect().await.unwrap();
        let (all, encrypted) = sessions(&store).await;
        assert!(encrypted == all, "{mode}: {encrypted} of {all}");
        store.close().await;
    }
    // A name that is not in the certificate does not matter to verify-ca.
    let by_address = plain("postgres", "127.0.0.1").ssl_root_cert(authority.pem()).ssl_mode(PgSslMode::VerifyCa);
    by_address.connect().await.unwrap().close().await;

    let missing = format!("sslmode=verify-full&sslrootcert={}", folder.join("missing.pem").display());
    for (what, options, problem_has, remedy_has) in [
        ("no authority", plain("postgres", "localhost"), "not trusted", "sslrootcert"),
        ("another authority", plain("postgres", "localhost").ssl_root_cert(other.pem()), "not trusted", "sslrootcert"),
        (
            "another authority, where only encryption was asked for",
            plain("postgres", "localhost").ssl_mode(PgSslMode::Require).ssl_root_cert(other.pem()),
            "not trusted",
            "sslrootcert",
        ),
        (
            "another name",
            plain("postgres", "127.0.0.1").ssl_root_cert(authority.pem()),
            "another name",
            "name in the certificate",
        ),
        (
            "no client certificate",
            plain("ann", "localhost").ssl_root_cert(authority.pem()),
            "certificate",
            "sslcert and sslkey",
        ),
        ("a stranger's client certificate", with(&stranger, &stranger_key), "refuses the TLS", "sslcert and sslkey"),
        ("another key", with(&client, &stranger_key), "TLS", "certificate"),
        ("no key", with(&client, "-----BEGIN nothing"), "sslkey holds no private key", "PEM"),
        ("no such file", PgOptions::new(url("postgres", "localhost", &missing)), "missing.pem", "sslrootcert"),
        ("no TLS", PgOptions::new(url("postgres", "localhost", "sslmode=disable")), "no encryption", "sslmode"),
    ] {
        let (problem, remedy) = setup_error(options).await;
        assert!(problem.contains(problem_has) && remedy.contains(remedy_has), "{what}: {problem}; {remedy}");
        assert!(!problem.contains("cannot be reached"), "{what}: {problem}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_by_every_mode_that_asks_for_it() {
    let plain = common::url().parse::<PgConnectOptions>().unwrap();
    for mode in [PgSslMode::Require, PgSslMode::VerifyCa, PgSslMode::VerifyFull] {
        let (problem, remedy) = setup_error(PgOptions::from_connect_options(plain.clone()).ssl_mode(mode)).await;
        assert!(problem.contains("does not offer TLS") && remedy.contains("ssl"), "{mode:?}: {problem}; {remedy}");
    }
}

async fn execute(url: &str, sql: &'static str) {
    use sqlx::Connection;
    let mut connection = es_postgres::PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

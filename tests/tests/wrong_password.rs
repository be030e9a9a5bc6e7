//! A server that asks for a password, and a client that has the wrong one.

use es_core::StoreError;
use es_e2e::server::blocking;
use es_postgres::PgStore;
use xtask::postgres::{Auth, PostgresInstall, PostgresOptions, ThrowawayPostgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_with_what_to_do_and_the_right_one_opens_the_store() {
    let server = blocking(|| {
        let install = PostgresInstall::find().expect("a PostgreSQL; `cargo xtask install` gets one");
        let options = PostgresOptions::fast().auth(Auth::Scram { password: "right".to_owned() });
        ThrowawayPostgres::start(&install, &options).expect("the server starts")
    })
    .await;
    match PgStore::connect(&server.url_as("postgres", Some("wrong"), "postgres")).await {
        Err(StoreError::Setup { problem, remedy, .. }) => {
            println!("{problem}; {remedy}");
            assert!(format!("{problem} {remedy}").contains("password"), "{problem}; {remedy}");
        }
        other => panic!("a wrong password must be a setup error, not {other:?}"),
    }
    PgStore::connect(&server.url_as("postgres", Some("right"), "postgres")).await.expect("the right password");
}

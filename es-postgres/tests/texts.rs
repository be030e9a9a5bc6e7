//! Stored texts that are not UTF-8, which a database in the encoding SQL_ASCII keeps.

mod common;

use common::{Schema, connection, deposit, execute, stream, url};
use es_core::{
    ConsumerName, ConsumerStore, DocumentQuery, EventFilter, EventStore, PageSize, Position, StoreError, Version,
};
use es_postgres::{
    PgConnection, PgOptions,
    sqlx::{Connection, postgres::PgConnectOptions},
};

#[tokio::test]
async fn a_text_that_is_not_utf8_is_corrupt_and_says_where() {
    let schema = Schema::new();
    let database = &schema.name;
    let mut admin = connection().await;
    let create = format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'");
    execute(&mut admin, create).await;
    let options = url().parse::<PgConnectOptions>().unwrap().database(database);
    let store = PgOptions::from_connect_options(options.clone()).connect().await.unwrap();
    store.append(&deposit("ann")).await.unwrap();
    store.append(&deposit("ann")).await.unwrap();
    let balance = ConsumerName::new("balance").unwrap();
    store.prepare_view(&balance).await.unwrap();

    // Past the triggers.
    let mut damaging = PgConnection::connect_with(&options).await.unwrap();
    for column in ["type = E'T\\xff'", "payload = E'\"\\xff\"'", "metadata = E'{\"actor\":\"\\xff\"}'"] {
        let damage =
            format!("SET session_replication_role = replica; UPDATE es.events SET {column} WHERE position = 2");
        execute(&mut damaging, damage).await;
        let all = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await;
        let own = store.read_stream(&stream("ann"), Version::ZERO, PageSize::default()).await;
        for error in [all.unwrap_err(), own.unwrap_err()] {
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
            assert!(
                error.to_string().contains("not UTF-8") && error.to_string().contains("after position 1"),
                "{error}"
            );
        }
        let repair = "UPDATE es.events SET type = 'T', payload = '1', metadata = '{}' WHERE position = 2";
        execute(&mut damaging, repair).await;
    }
    execute(&mut damaging, "INSERT INTO es.\"view_balance@1\" VALUES ('ann', E'\"\\xff\"')").await;
    for outcome in [
        store.documents(&balance, &["ann".to_owned()]).await,
        store.list_documents(&balance, &DocumentQuery::ByKey { after: None, limit: 1 }).await,
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { position: Position::ZERO, .. }), "{error:?}");
        assert!(error.to_string().starts_with("a stored row is damaged"), "{error}");
    }
    store.close().await;
    damaging.close().await.unwrap();
    execute(&mut admin, format!("DROP DATABASE {database} WITH (FORCE)")).await;
}

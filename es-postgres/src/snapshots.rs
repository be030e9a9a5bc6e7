//! Snapshots of aggregates.

use async_trait::async_trait;
use es_core::{Payload, Snapshot, SnapshotStore, StoreError, StreamId};
use sqlx::postgres::PgRow;

use crate::{
    error::store_error,
    rows::{get, get_text, get_version, to_bigint},
    store::PgStore,
};

#[async_trait]
impl SnapshotStore for PgStore {
    async fn load_snapshot(&self, stream: &StreamId, aggregate: &str) -> Result<Option<Snapshot>, StoreError> {
        let load = &self.shared.statements.load_snapshot;
        let query = || self.shared.query(load).bind(stream.as_str().to_owned()).bind(aggregate.to_owned());
        self.rows(query).await?.first().map(|row| snapshot(stream, aggregate, row)).transpose()
    }

    async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        snapshot.check()?;
        let mut session = self.shared.session().await?;
        self.shared
            .query(&self.shared.statements.save_snapshot)
            .bind(snapshot.stream.as_str())
            .bind(&snapshot.aggregate)
            .bind(to_bigint(snapshot.version.get()))
            .bind(snapshot.last_event)
            .bind(&snapshot.fingerprint)
            .bind(snapshot.state.as_str())
            .execute(&mut *session)
            .await
            .map_err(store_error)?;
        session.finish().await
    }
}

fn snapshot(stream: &StreamId, aggregate: &str, row: &PgRow) -> Result<Snapshot, StoreError> {
    let (version, last_event) = (get_version(row, 0)?, get(row, 1)?);
    let (fingerprint, state) = (get_text(row, 2)?.to_owned(), Payload::trusted(get_text(row, 3)?));
    Ok(Snapshot::new(stream.clone(), aggregate, version, last_event, fingerprint, state))
}

//! Records: small JSON values under ordered keys.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use es_core::{
    Payload, StoreError, limits,
    store::{
        Change, Committed, DecideRecords, Record, RecordBatch, RecordBounds, RecordKey, RecordRange, RecordRead,
        RecordStore, Revision, ScanOrder, check_record_keys, check_scan_limit, check_scope, check_scope_size,
    },
    timestamp::from_unix_micros,
};
use serde::Serialize;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    error::{corrupt, store_error, to_stored, unreadable},
    handler_scope::refuse_in_handler,
    projections,
    store::SqliteStore,
};

const GET: &str = include_str!("../sql/records.sql");
const SCAN: &str = include_str!("../sql/scan_records.sql");
const SCAN_DOWN: &str = include_str!("../sql/scan_records_down.sql");
const OF_SCOPE: &str = include_str!("../sql/records_of_scope.sql");
const REVISIONS: &str = include_str!("../sql/record_revisions.sql");
const PUT: &str = include_str!("../sql/put_records.sql");
const TOUCH: &str = include_str!("../sql/touch_records.sql");
const DELETE: &str = include_str!("../sql/delete_records.sql");

/// Returns the time of this machine's clock, with the precision of stored times.
fn now() -> Result<(OffsetDateTime, i64), StoreError> {
    let micros = projections::now();
    let now = from_unix_micros(micros);
    now.map(|now| (now, micros)).ok_or_else(|| corrupt(0, "the clock of this machine is out of range"))
}

fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(unreadable)
}

fn to_key(row: &SqliteRow) -> Result<RecordKey, StoreError> {
    RecordKey::parse(row.try_get("key").map_err(store_error)?).map_err(|error| corrupt(0, error))
}

fn to_revision(row: &SqliteRow) -> Result<Revision, StoreError> {
    let revision = Uuid::from_slice(row.try_get("revision").map_err(store_error)?);
    revision.map(Revision::from_uuid).map_err(|error| corrupt(0, format_args!("the revision of a record: {error}")))
}

fn to_records(rows: &[SqliteRow]) -> Result<BTreeMap<RecordKey, Record>, StoreError> {
    let to_record = |row: &SqliteRow| {
        let value: &str = row.try_get("value").map_err(store_error)?;
        Ok((to_key(row)?, Record::new(Payload::trusted(value), to_revision(row)?)))
    };
    rows.iter().map(to_record).collect()
}

#[async_trait]
impl RecordStore for SqliteStore {
    async fn get(&self, keys: &[RecordKey]) -> Result<RecordRead, StoreError> {
        check_record_keys(keys)?;
        let keys: Vec<&str> = keys.iter().map(RecordKey::as_str).collect();
        let rows = self.rows(sqlx::query(GET).bind(to_json(&keys)?)).await?;
        Ok(RecordRead::new(to_records(&rows)?, now()?.0, None))
    }

    async fn scan(&self, range: &RecordRange, order: ScanOrder, limit: usize) -> Result<RecordRead, StoreError> {
        check_scan_limit(limit)?;
        let RecordBounds { from, to, .. } = range.bounds(order);
        let scan = match order {
            ScanOrder::Ascending => SCAN,
            ScanOrder::Descending => SCAN_DOWN,
        };
        // Reads one more record, where the next scan continues.
        let query = sqlx::query(scan).bind(from).bind(to).bind(to_stored("a limit", limit as u64 + 1)?);
        let rows = self.rows(query).await?;
        let next = rows.get(limit).map(to_key).transpose()?;
        Ok(RecordRead::new(to_records(&rows[..rows.len().min(limit)])?, now()?.0, next))
    }

    async fn commit(&self, batch: &RecordBatch) -> Result<Committed, StoreError> {
        batch.check()?;
        let batch = batch.clone();
        self.write_shared("records".to_owned(), move |connection| {
            Box::pin(async move { apply(connection, &batch).await })
        })
        .await
    }

    async fn update(&self, scope: &[RecordRange], decide: &mut DecideRecords<'_>) -> Result<Committed, StoreError> {
        let scope = check_scope(scope)?;
        refuse_in_handler(&self.shared.file)?;
        // This does not run in a separate task, because the decision is only borrowed. If the future is dropped, the
        // transaction is rolled back.
        let mut transaction = self.shared.writer.lock("an update of records").await?.begin().await?;
        let updated = decide_and_apply(transaction.connection(), &scope, decide).await;
        match transaction.settle(updated) {
            Ok(committed) => transaction.commit().await.map(|()| committed),
            Err(error) => {
                // If the rollback fails, the connection is closed, which also rolls back.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }
}

/// Reads the ranges, decides, and writes, in a transaction that holds the write lock.
async fn decide_and_apply(
    connection: &mut SqliteConnection,
    scope: &[RecordBounds],
    decide: &mut DecideRecords<'_>,
) -> Result<Committed, StoreError> {
    let scope: Vec<(&str, Option<&str>)> = scope.iter().map(|it| (it.from.as_str(), it.to.as_deref())).collect();
    // One more than the limit is enough to detect that it is exceeded.
    let most = to_stored("a limit", limits::MAX_RECORDS_PER_UPDATE as u64 + 1)?;
    let query = sqlx::query(OF_SCOPE).bind(to_json(&scope)?).bind(most);
    let rows = query.fetch_all(&mut *connection).await.map_err(store_error)?;
    check_scope_size(rows.len())?;
    let batch = decide(&RecordRead::new(to_records(&rows)?, now()?.0, None))?;
    batch.check()?;
    apply(connection, &batch).await
}

/// Checks a batch and writes it, in a transaction that holds the write lock.
async fn apply(connection: &mut SqliteConnection, batch: &RecordBatch) -> Result<Committed, StoreError> {
    let (mut put, mut touched, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    for (key, change) in batch.changes() {
        match change {
            Change::Put(value) => put.push((key.as_str(), value.as_str())),
            Change::Touch => touched.push(key.as_str()),
            Change::Delete => deleted.push(key.as_str()),
        }
    }
    let conditional = batch.conditions().keys().map(RecordKey::as_str);
    let checked: Vec<&str> = conditional.chain(touched.iter().copied()).collect();
    if !checked.is_empty() {
        let query = sqlx::query(REVISIONS).bind(to_json(&checked)?);
        let rows = query.fetch_all(&mut *connection).await.map_err(store_error)?;
        let current = rows.iter().map(|row| Ok((to_key(row)?, to_revision(row)?)));
        let current = current.collect::<Result<HashMap<_, _>, StoreError>>()?;
        batch.check_against(|key| current.get(key).copied())?;
    }
    let (revision, (now, micros)) = (Revision::generate(), now()?);
    let revision_bytes = revision.as_uuid().into_bytes().to_vec();
    let writes = [(PUT, put.is_empty(), to_json(&put)?), (TOUCH, touched.is_empty(), to_json(&touched)?)];
    for (write, is_empty, json) in writes {
        if !is_empty {
            let query = sqlx::query(write).bind(json).bind(revision_bytes.clone()).bind(micros);
            query.execute(&mut *connection).await.map_err(store_error)?;
        }
    }
    if !deleted.is_empty() {
        sqlx::query(DELETE).bind(to_json(&deleted)?).execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(Committed::new(revision, now))
}

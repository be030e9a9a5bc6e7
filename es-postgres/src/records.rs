//! Records: small JSON values under ordered keys.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use es_core::{
    Payload, StoreError, limits,
    store::{
        Change, Committed, Condition, DecideRecords, Record, RecordBatch, RecordBounds, RecordKey, RecordRange,
        RecordRead, RecordStore, Revision, ScanOrder, check_record_keys, check_scan_limit, check_scope,
        check_scope_size,
    },
};
use sqlx::{PgConnection, postgres::PgRow};
use time::OffsetDateTime;

use crate::{
    error::{corrupt, is_deadlock, store_error},
    rows::{get, get_text, to_bigint},
    store::{PgStore, Shared},
};

/// How long the functions wait for each lock.
fn lock_timeout_ms(shared: &Shared) -> i32 {
    // 0 would wait without limit.
    i32::try_from(shared.settings.lock_timeout.as_millis()).unwrap_or(i32::MAX).max(1)
}

fn to_key(text: &str) -> Result<RecordKey, StoreError> {
    RecordKey::parse(text).map_err(|error| corrupt(error.to_string()))
}

/// The record of a row whose columns `key`, `value` and `revision` begin at one of them; `None` for the row without a
/// key.
fn to_record(row: &PgRow, first: usize) -> Result<Option<(RecordKey, Record)>, StoreError> {
    let Some(key) = get::<Option<&str>>(row, first)? else { return Ok(None) };
    let value = Payload::trusted(get_text(row, first + 1)?);
    Ok(Some((to_key(key)?, Record::new(value, Revision::from_uuid(get(row, first + 2)?)))))
}

fn no_time() -> StoreError {
    corrupt("a read of records without the time".to_owned())
}

#[async_trait]
impl RecordStore for PgStore {
    async fn get(&self, keys: &[RecordKey]) -> Result<RecordRead, StoreError> {
        check_record_keys(keys)?;
        let query = || {
            let keys: Vec<String> = keys.iter().map(RecordKey::to_string).collect();
            self.shared.query(&self.shared.statements.records).bind(keys)
        };
        let rows = self.rows(query).await?;
        let records = rows.iter().filter_map(|row| to_record(row, 1).transpose()).collect::<Result<_, _>>()?;
        Ok(RecordRead::new(records, get(rows.first().ok_or_else(no_time)?, 0)?, None))
    }

    async fn scan(&self, range: &RecordRange, order: ScanOrder, limit: usize) -> Result<RecordRead, StoreError> {
        check_scan_limit(limit)?;
        let statement = match order {
            ScanOrder::Ascending => &self.shared.statements.scan_records,
            ScanOrder::Descending => &self.shared.statements.scan_records_down,
        };
        let query = || {
            let RecordBounds { from, to, .. } = range.bounds(order);
            // One more, from which the next scan continues.
            self.shared.query(statement).bind(from).bind(to).bind(to_bigint(limit as u64 + 1))
        };
        let rows = self.rows(query).await?;
        let next = rows.get(limit).map(|row| to_key(get(row, 1)?)).transpose()?;
        let records = rows.iter().take(limit).filter_map(|row| to_record(row, 1).transpose());
        let records = records.collect::<Result<_, _>>()?;
        Ok(RecordRead::new(records, get(rows.first().ok_or_else(no_time)?, 0)?, next))
    }

    async fn commit(&self, batch: &RecordBatch) -> Result<Committed, StoreError> {
        batch.check()?;
        let revision = Revision::generate();
        let write = || async {
            let mut session = self.shared.session().await?;
            let outcome = commit_in(&self.shared, &mut session, batch, revision).await?;
            session.finish().await?;
            Ok(outcome)
        };
        self.shared.writing(write).await?
    }

    async fn update(&self, scope: &[RecordRange], decide: &mut DecideRecords<'_>) -> Result<Committed, StoreError> {
        let bounds = check_scope(scope)?;
        let mut retries_left = limits::RECORD_UPDATE_RETRIES;
        loop {
            let mut transaction = self.shared.transaction().await?;
            match decide_in(&self.shared, &mut transaction, scope, &bounds, decide).await {
                Ok(committed) => return transaction.commit().await.map_err(store_error).map(|()| committed),
                Err(error) => {
                    // The locks are to be free when this returns. If it fails, the connection is gone and they are.
                    let _ = transaction.rollback().await;
                    if retries_left == 0 || !is_deadlock(&error) {
                        return Err(error);
                    }
                    retries_left -= 1;
                }
            }
        }
    }
}

/// Locks the ranges, decides and writes, in a transaction.
async fn decide_in(
    shared: &Shared,
    connection: &mut PgConnection,
    scope: &[RecordRange],
    bounds: &[RecordBounds],
    decide: &mut DecideRecords<'_>,
) -> Result<Committed, StoreError> {
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    for range in scope {
        match range.single_key() {
            Some(key) => keys.push(key.to_string()),
            None => prefixes.push(range.prefix().map_or_else(String::new, RecordKey::to_string)),
        }
    }
    let (from, to): (Vec<String>, Vec<Option<String>>) =
        bounds.iter().map(|bounds| (bounds.from.clone(), bounds.to.clone())).unzip();
    let query = shared.query(&shared.statements.lock_records).bind(keys).bind(prefixes).bind(from).bind(to);
    // One over the limit is enough to know.
    let query = query.bind(to_bigint(limits::MAX_RECORDS_PER_UPDATE as u64 + 1)).bind(lock_timeout_ms(shared));
    let rows = query.fetch_all(&mut *connection).await.map_err(store_error)?;
    let (last, rows) = rows.split_last().ok_or_else(no_time)?;
    check_scope_size(rows.len())?;
    let records = rows.iter().filter_map(|row| to_record(row, 0).transpose());
    let records = records.collect::<Result<BTreeMap<_, _>, _>>()?;
    let batch = decide(&RecordRead::new(records, get(last, 3)?, None))?;
    batch.check()?;
    commit_in(shared, connection, &batch, Revision::generate()).await?
}

/// Commits a batch by one statement. Within a transaction it must be rolled back after an error.
///
/// # Errors
/// The outer one is the database's. The inner one is [`StoreError::RecordChanged`]: the statement was done, and has
/// changed nothing.
async fn commit_in(
    shared: &Shared,
    connection: &mut PgConnection,
    batch: &RecordBatch,
    revision: Revision,
) -> Result<Result<Committed, StoreError>, StoreError> {
    let all: BTreeSet<&RecordKey> = batch.conditions().keys().chain(batch.changes().keys()).collect();
    let (mut keys, mut conditions) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
    let (mut changes, mut values) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
    // In the order of the keys, in which the function locks them.
    for key in all {
        keys.push(key.to_string());
        conditions.push(batch.conditions().get(key).map(|condition| match condition {
            Condition::At(revision) => revision.to_string(),
            Condition::Absent => "absent".to_owned(),
            Condition::Present => "present".to_owned(),
        }));
        let (change, value) = match batch.changes().get(key) {
            Some(Change::Put(value)) => (Some("put"), Some(value.as_str().to_owned())),
            Some(Change::Touch) => (Some("touch"), None),
            Some(Change::Delete) => (Some("delete"), None),
            None => (None, None),
        };
        changes.push(change);
        values.push(value);
    }
    let query = shared.query(&shared.statements.commit_records).bind(keys).bind(conditions).bind(changes).bind(values);
    let query = query.bind(revision.as_uuid()).bind(lock_timeout_ms(shared));
    let row = query.fetch_one(connection).await.map_err(store_error)?;
    let now: OffsetDateTime = get(&row, 1)?;
    Ok(match get::<Option<&str>>(&row, 0)? {
        None => Ok(Committed::new(revision, now)),
        Some(failed) => Err(StoreError::RecordChanged { key: to_key(failed)? }),
    })
}

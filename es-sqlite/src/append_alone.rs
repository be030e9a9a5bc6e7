//! An append that nobody shares the transaction with: decided, stored and committed by one call.

use std::sync::LazyLock;

use es_core::{
    Appended, AppendedStream, ExpectedVersion, Position, StoreError, StreamAppend, Version,
    timestamp::{to_stored_precision, unix_micros},
};
use sqlx::{Row, SqliteConnection};
use time::OffsetDateTime;

use crate::{
    append::{Batch, Prepared},
    error::store_error,
    rows::id_in,
    sqlite_version::fitted,
};

static APPEND_ALONE: LazyLock<&str> = LazyLock::new(|| {
    fitted(concat!(
        include_str!("../sql/begin_write.sql"),
        include_str!("../sql/append_alone.sql"),
        include_str!("../sql/append_alone_outcome.sql"),
        include_str!("../sql/commit.sql")
    ))
});

/// Most events for which the trip that is saved is worth more than what the statement costs in addition: it keeps the
/// events aside before it stores them, since it reads the table that it writes to.
const MAX_EVENTS: usize = 64;

/// Whether an append is of the plain kind that [`append_alone`] can store.
pub(crate) fn is_plain(prepared: &Prepared) -> bool {
    let append = prepared.append();
    append.streams().len() == 1 && append.idempotency_key().is_none() && append.event_count() <= MAX_EVENTS
}

/// Stores a [plain](is_plain) append in a transaction of its own, which it ends. `None` if something is special about it (a
/// conflict, ids that are stored already, a clock that was put back): then nothing was stored, and
/// [`append_batch`](crate::append::append_batch) can say more.
pub(crate) async fn append_alone(
    connection: &mut SqliteConnection,
    prepared: &Prepared,
) -> Result<Option<Batch>, StoreError> {
    let [part] = prepared.append().streams() else { return Ok(None) };
    let recorded_at = to_stored_precision(OffsetDateTime::now_utc());
    let (lowest, highest) = accepted_versions(part);
    let rows = sqlx::query(*APPEND_ALONE)
        .bind(prepared.to_json())
        .bind(unix_micros(recorded_at))
        .bind(part.stream().as_str())
        .bind(lowest)
        .bind(highest)
        .bind(part.expected_last_event().map(|id| id.simple().to_string()))
        // To its end: only then has it committed.
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    let Some(row) = rows.first() else { return Ok(None) };
    let position: i64 = row.try_get("position").map_err(store_error)?;
    let version: i64 = row.try_get("version").map_err(store_error)?;
    let before = part.events().len() as u64 - 1;
    let stored = AppendedStream {
        stream: part.stream().clone(),
        first_version: Version::new(version.unsigned_abs() - before),
        last_version: Version::new(version.unsigned_abs()),
        first_position: Position::new(position.unsigned_abs() - before),
    };
    let appended = Appended::new(vec![stored], recorded_at, false).ending_with(prepared.append().last_event_id());
    let head = Some(Position::new(position.unsigned_abs()));
    Ok(Some(Batch { outcomes: vec![Ok(appended)], head, before_id: id_in(row, "before_id")? }))
}

/// The versions that [`ExpectedVersion::accepts`], from the lowest to the highest.
fn accepted_versions(part: &StreamAppend) -> (i64, i64) {
    match part.expected() {
        ExpectedVersion::Any => (0, i64::MAX),
        ExpectedVersion::NoStream => (0, 0),
        ExpectedVersion::Exists => (1, i64::MAX),
        ExpectedVersion::Exact(version) => match i64::try_from(version.get()) {
            Ok(version) => (version, version),
            // No stream can be there.
            Err(_) => (1, 0),
        },
    }
}

#[cfg(test)]
mod tests {
    use es_core::StreamId;

    use super::*;

    #[test]
    fn the_range_of_versions_is_what_the_rule_accepts() {
        for expected in [
            ExpectedVersion::Any,
            ExpectedVersion::NoStream,
            ExpectedVersion::Exists,
            ExpectedVersion::Exact(Version::ZERO),
            ExpectedVersion::Exact(Version::new(3)),
            ExpectedVersion::Exact(Version::new(u64::MAX)),
        ] {
            let part = StreamAppend::new(StreamId::new("account", "ann").unwrap(), expected, Vec::new());
            let (lowest, highest) = accepted_versions(&part);
            for version in [0, 1, 2, 3, 4, i64::MAX] {
                let is_accepted = expected.accepts(Version::new(version.unsigned_abs()));
                assert_eq!((lowest..=highest).contains(&version), is_accepted, "{expected} at {version}");
            }
        }
    }
}

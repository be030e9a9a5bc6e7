//! An append that does not share its transaction: one call decides, stores, and commits it.

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

/// Maximum number of events for which the saved round trip is worth more than the additional cost of the statement. The
/// statement materializes the events before it stores them, because it reads the table that it writes to.
const MAX_EVENTS: usize = 64;

/// Returns whether [`append_alone`] can store the append.
pub(crate) fn is_plain(prepared: &Prepared) -> bool {
    let append = prepared.append();
    append.streams().len() == 1 && append.idempotency_key().is_none() && append.event_count() <= MAX_EVENTS
}

/// Stores a [plain](is_plain) append in its own transaction, which it ends. Returns `None` in special cases (a
/// conflict, IDs that are already stored, a clock that was set back). In these cases nothing was stored, and
/// [`append_batch`](crate::append::append_batch) can determine the outcome.
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
        // Read all rows, because the statement commits only at its end.
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

/// Returns the lowest and the highest version that [`ExpectedVersion::accepts`].
fn accepted_versions(part: &StreamAppend) -> (i64, i64) {
    match part.expected() {
        ExpectedVersion::Any => (0, i64::MAX),
        ExpectedVersion::NoStream => (0, 0),
        ExpectedVersion::Exists => (1, i64::MAX),
        ExpectedVersion::Exact(version) => match i64::try_from(version.get()) {
            Ok(version) => (version, version),
            // No stream can have this version.
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

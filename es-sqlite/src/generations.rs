//! Generations of read models: claims, swaps, drops, and snapshots.

use async_trait::async_trait;
use es_core::{
    BuildClaim, Builder, Claimed, ConsumerName, ConsumerStore, Direction, Generation, GenerationInfo, GenerationState,
    GenerationStore, PartitionCheckpoint, Position, ReadModelDefinition, ReadModelRow, ReadModelSnapshot, StoreError,
    Swapped, TableNames, position_of_all,
    timestamp::{from_unix_micros, unix_micros},
};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use crate::{
    documents,
    error::{store_error, unreadable as not_encoded},
    parking, partitions,
    projections::now,
    store::{SqliteStore, runtime},
    writer::{begin, commit},
};

const GENERATIONS: &str = include_str!("../sql/generations.sql");
const ADD: &str = include_str!("../sql/generation_add.sql");
const CLAIM: &str = include_str!("../sql/generation_claim.sql");
const RELEASE: &str = include_str!("../sql/generation_release.sql");
const SET_STATE: &str = include_str!("../sql/generation_state.sql");
const REMOVE: &str = include_str!("../sql/generation_remove.sql");
pub(crate) const DROP_STABLE: &str = include_str!("../sql/stable_drop.sql");
const SHOW: &str = include_str!("../sql/stable_show.sql");
pub(crate) const DROP: &str = include_str!("../sql/own_drop.sql");
const COLUMNS: &str = include_str!("../sql/own_columns.sql");
const ROWS: &str = include_str!("../sql/own_rows.sql");
const DOCUMENTS: &str = include_str!("../sql/view_all.sql");
const TYPE_OF: &str = include_str!("../sql/stable_type.sql");
const BEGIN_READ: &str = include_str!("../sql/begin_read.sql");

/// Number of rows that are sent together.
const ROWS_PER_PAGE: usize = 500;

const NO_GENERATION: StoreError =
    StoreError::Refused { reason: "there is no such generation; it was dropped, or never built" };

pub(crate) fn number_of(generation: &ConsumerName) -> i64 {
    generation.generation().unwrap_or(Generation::FIRST).get().into()
}

fn to_info(consumer: &ConsumerName, row: &SqliteRow) -> Result<GenerationInfo, StoreError> {
    let unreadable = || StoreError::Backend { source: "a generation that this version does not know".into() };
    let number = |column| row.try_get::<i64, _>(column).map_err(store_error);
    let time = |micros| from_unix_micros(micros).ok_or_else(unreadable);
    let generation = u32::try_from(number("generation")?).ok().and_then(Generation::new).ok_or_else(unreadable)?;
    let state = GenerationState::parse(row.try_get("state").map_err(store_error)?).ok_or_else(unreadable)?;
    let version = u32::try_from(number("code_version")?).map_err(|_| unreadable())?;
    let tables = serde_json::from_str(row.try_get("tables").map_err(store_error)?).map_err(|_| unreadable())?;
    let definition = ReadModelDefinition { version, tables };
    let position: Option<i64> = row.try_get("position").map_err(store_error)?;
    let by: Option<String> = row.try_get("builder").map_err(store_error)?;
    let builder = match by {
        Some(by) => {
            let (since, until) = (time(number("building_since")?)?, time(number("building_until")?)?);
            Some(Builder::new(by, since, until).renewed_at(time(number("building_renewed")?)?))
        }
        None => None,
    };
    let position = position.map(|position| Position::new(position.unsigned_abs()));
    let created_at = time(number("created_at")?)?;
    Ok(GenerationInfo::new(consumer.in_generation(generation), state, definition, position, created_at, builder))
}

pub(crate) async fn all(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
) -> Result<Vec<GenerationInfo>, StoreError> {
    let rows = sqlx::query(GENERATIONS).bind(consumer.base_text()).fetch_all(connection).await.map_err(store_error)?;
    rows.iter().map(|row| to_info(consumer, row)).collect()
}

async fn add(
    connection: &mut SqliteConnection,
    generation: &ConsumerName,
    state: GenerationState,
    definition: &ReadModelDefinition,
) -> Result<(), StoreError> {
    let query = sqlx::query(ADD).bind(generation.base_text()).bind(number_of(generation)).bind(state.as_str());
    let tables = serde_json::to_string(&definition.tables).map_err(not_encoded)?;
    let query = query.bind(i64::from(definition.version)).bind(now()).bind(tables);
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

fn live_of(known: &[GenerationInfo]) -> Option<&GenerationInfo> {
    known.iter().find(|info| info.state == GenerationState::Live)
}

/// Returns the generations. If none was live, the first one becomes live.
async fn all_with_live(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
    definition: &ReadModelDefinition,
) -> Result<Vec<GenerationInfo>, StoreError> {
    let known = all(connection, consumer).await?;
    if live_of(&known).is_some() {
        return Ok(known);
    }
    add(connection, &consumer.base(), GenerationState::Live, definition).await?;
    all(connection, consumer).await
}

async fn set_state(
    connection: &mut SqliteConnection,
    generation: &ConsumerName,
    state: GenerationState,
) -> Result<(), StoreError> {
    let query = sqlx::query(SET_STATE).bind(generation.base_text()).bind(number_of(generation)).bind(state.as_str());
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Returns a statement about a table that readers find as `stable`. Both names come from this crate, or were checked by
/// [`TableNames`].
pub(crate) fn on(sql: &str, stable: &str, own: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql.replace("stable_name", stable).replace("own_name", own))
}

/// Directs readers of a table to this generation's table.
pub(crate) async fn show(connection: &mut SqliteConnection, stable: &str, own: &str) -> Result<(), StoreError> {
    if stable.contains('.') {
        return Err(StoreError::Refused {
            reason: "a SQLite file has no schemas; leave the schema out of the table's name",
        });
    }
    let query = sqlx::query_scalar(TYPE_OF).bind(stable);
    let found: Option<String> = query.fetch_optional(&mut *connection).await.map_err(store_error)?;
    if found.is_some_and(|found| found != "view") {
        return Err(StoreError::Setup {
            problem: format!("{stable:?} is a table of its own, and cannot stand for the tables of generations"),
            remedy: format!("rename it, or let the projection ask for a table of another name than {stable:?}"),
            source: None,
        });
    }
    for sql in [DROP_STABLE, SHOW] {
        sqlx::query(on(sql, stable, own)).execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(())
}

/// Directs readers to the tables of the first generation, unless these names exist already.
pub(crate) async fn show_first(
    connection: &mut SqliteConnection,
    generation: &ConsumerName,
    tables: &[String],
) -> Result<(), StoreError> {
    if generation.generation() != Some(Generation::FIRST) {
        return Ok(());
    }
    for stable in tables {
        let query = sqlx::query_scalar(TYPE_OF).bind(stable);
        let found: Option<String> = query.fetch_optional(&mut *connection).await.map_err(store_error)?;
        if found.as_deref() != Some("view") {
            show(connection, stable, &TableNames::of(generation, stable)).await?;
        }
    }
    Ok(())
}

#[async_trait]
impl GenerationStore for SqliteStore {
    async fn generations(&self, consumer: &ConsumerName) -> Result<Vec<GenerationInfo>, StoreError> {
        let mut reader = self.shared.readers.get().await?;
        let known = all(reader.connection()?, consumer).await;
        reader.settle(known)
    }

    async fn live_generation(
        &self,
        consumer: &ConsumerName,
        definition: &ReadModelDefinition,
    ) -> Result<GenerationInfo, StoreError> {
        if let Some(live) = live_of(&self.generations(consumer).await?) {
            return Ok(live.clone());
        }
        let (consumer, definition) = (consumer.base(), definition.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let known = all_with_live(connection, &consumer, &definition).await?;
                commit(connection).await?;
                live_of(&known).cloned().ok_or(NO_GENERATION)
            })
        })
        .await
    }

    async fn claim_build(&self, claim: &BuildClaim) -> Result<Claimed, StoreError> {
        let claim = claim.clone();
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let claimed = claim_in(connection, &claim).await?;
                commit(connection).await?;
                Ok(claimed)
            })
        })
        .await
    }

    async fn release_build(&self, generation: &ConsumerName, by: &str) -> Result<(), StoreError> {
        let (generation, by) = (generation.clone(), by.to_owned());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let query = sqlx::query(RELEASE).bind(generation.base_text()).bind(number_of(&generation)).bind(by);
                query.execute(&mut *connection).await.map_err(store_error)?;
                commit(connection).await
            })
        })
        .await
    }

    async fn make_live(&self, generation: &ConsumerName, direction: Direction) -> Result<Swapped, StoreError> {
        let known = self.generations(generation).await?;
        let wanted = known.into_iter().find(|info| info.name == *generation).ok_or(NO_GENERATION)?;
        if wanted.definition.tables.is_empty() {
            self.prepare_view(generation).await?;
        }
        let generation = generation.clone();
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let swapped = swap_in(connection, &generation, direction).await?;
                match swapped {
                    Swapped::Done => commit(connection).await?,
                    // A refused swap changes nothing, but `swap_in` has already frozen the live checkpoints.
                    _ => writer.rollback().await?,
                }
                Ok(swapped)
            })
        })
        .await
    }

    async fn drop_generation(&self, generation: &ConsumerName) -> Result<(), StoreError> {
        let generation = generation.clone();
        self.shared.forget_view(&generation);
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let known = all(connection, &generation).await?;
                let found = known.iter().find(|info| info.name == generation);
                if found.is_some_and(|found| found.state == GenerationState::Live) {
                    return Err(StoreError::Refused {
                        reason: "the live generation cannot be dropped; make another one live first",
                    });
                }
                if let Some(found) = found {
                    let remove = sqlx::query(REMOVE).bind(generation.base_text()).bind(number_of(&generation));
                    remove.execute(&mut *connection).await.map_err(store_error)?;
                    partitions::remove(connection, &generation).await?;
                    parking::forget_after(connection, &generation, Position::ZERO).await?;
                    let own = found.definition.tables.iter().map(|table| TableNames::of(&generation, table));
                    for own in own.chain([documents::table(&generation)]) {
                        sqlx::query(on(DROP, "", &own)).execute(&mut *connection).await.map_err(store_error)?;
                    }
                }
                commit(connection).await
            })
        })
        .await
    }

    async fn open_snapshot(&self, generation: &ConsumerName) -> Result<ReadModelSnapshot, StoreError> {
        let mut connection = self.shared.readers.open().await?;
        sqlx::query(BEGIN_READ).execute(&mut connection).await.map_err(store_error)?;
        // The first read statement opens the snapshot.
        let known = all(&mut connection, generation).await?;
        let found = known.into_iter().find(|info| info.name == *generation).ok_or(NO_GENERATION)?;
        let mut tables = found.definition.tables;
        tables.sort_unstable();
        let position = position_of_all(&partitions::all(&mut connection, generation).await?)?;
        let (snapshot, rows) = ReadModelSnapshot::new(position);
        let generation = generation.clone();
        runtime()?.spawn(async move {
            if let Err(error) = send_rows(&mut connection, &generation, &tables, &rows).await {
                let _ = rows.send(Err(store_error(error))).await;
            }
        });
        Ok(snapshot)
    }
}

async fn claim_in(connection: &mut SqliteConnection, claim: &BuildClaim) -> Result<Claimed, StoreError> {
    let known = all_with_live(connection, &claim.consumer, &claim.definition).await?;
    let now = OffsetDateTime::now_utc();
    let generation = match known.iter().find(|info| info.state == GenerationState::Building) {
        Some(building) => {
            let is_held = |builder: &Builder| builder.by != claim.by && builder.is_held_at(now);
            if building.builder.as_ref().is_some_and(is_held) {
                return Ok(Claimed::Taken(building.clone()));
            }
            if building.definition != claim.definition {
                return Ok(Claimed::VersionMismatch(building.clone()));
            }
            building.name.clone()
        }
        None => {
            let newest = known.last().map_or(Generation::FIRST, GenerationInfo::generation);
            let next = claim.consumer.in_generation(newest.next());
            add(connection, &next, GenerationState::Building, &claim.definition).await?;
            next
        }
    };
    let lease = i64::try_from(claim.lease.as_micros()).unwrap_or(i64::MAX);
    let now = unix_micros(now);
    let query = sqlx::query(CLAIM).bind(claim.consumer.as_str()).bind(number_of(&generation)).bind(&claim.by);
    let query = query.bind(now).bind(now.saturating_add(lease));
    query.execute(&mut *connection).await.map_err(store_error)?;
    let known = all(connection, &claim.consumer).await?;
    let claimed = known.into_iter().find(|info| info.name == generation);
    claimed.map(Claimed::Yours).ok_or(NO_GENERATION)
}

async fn swap_in(
    connection: &mut SqliteConnection,
    generation: &ConsumerName,
    direction: Direction,
) -> Result<Swapped, StoreError> {
    let known = all(connection, generation).await?;
    let tables = match known.iter().find(|info| info.name == *generation) {
        Some(wanted) => &wanted.definition.tables,
        None => return Err(NO_GENERATION),
    };
    if let Some(live) = live_of(&known) {
        if live.name == *generation {
            return Ok(Swapped::Done);
        }
        let old = partitions::freeze(connection, &live.name, true).await?;
        let new = partitions::freeze(connection, generation, false).await?;
        let furthest = old.iter().map(PartitionCheckpoint::furthest).max().unwrap_or_default();
        if new.iter().any(|new| new.position < furthest) && direction == Direction::Forward {
            return Ok(Swapped::Behind(furthest));
        }
        partitions::check_fit(connection, &new).await?;
        if let (2.., 1, Ok(count)) = (old.len(), new.len(), u16::try_from(old.len())) {
            partitions::change(connection, generation, &new, count).await?;
        }
        set_state(connection, &live.name, GenerationState::Retired).await?;
    }
    set_state(connection, generation, GenerationState::Live).await?;
    if tables.is_empty() {
        show(connection, &documents::table(&generation.live()), &documents::table(generation)).await?;
    }
    for table in tables {
        show(connection, table, &TableNames::of(generation, table)).await?;
    }
    Ok(Swapped::Done)
}

/// Sends all rows, table by table, until the receiver is dropped.
async fn send_rows(
    connection: &mut SqliteConnection,
    generation: &ConsumerName,
    tables: &[String],
    rows: &mpsc::Sender<Result<Vec<ReadModelRow>, StoreError>>,
) -> Result<(), sqlx::Error> {
    if tables.is_empty() {
        if documents::exists(connection, generation).await? {
            send_table(connection, documents::on(generation, DOCUMENTS), "", rows).await?;
        }
        return Ok(());
    }
    for stable in tables {
        let own = TableNames::of(generation, stable);
        let columns = sqlx::query(COLUMNS).bind(&own).fetch_one(&mut *connection).await?;
        let content: Option<String> = columns.try_get("content")?;
        // A table that does not exist has no columns.
        let Some(content) = content else { continue };
        let key = columns.try_get::<Option<String>, _>("key")?.unwrap_or_else(|| content.clone());
        let sql = ROWS.replace("own_name", &own).replace("key_of_t", &key).replace("content_of_t", &content);
        send_table(connection, AssertSqlSafe(sql), stable, rows).await?;
    }
    Ok(())
}

async fn send_table(
    connection: &mut SqliteConnection,
    sql: AssertSqlSafe<String>,
    table: &str,
    rows: &mpsc::Sender<Result<Vec<ReadModelRow>, StoreError>>,
) -> Result<(), sqlx::Error> {
    let mut found = sqlx::query(sql).fetch(connection);
    let mut page = Vec::with_capacity(ROWS_PER_PAGE);
    while let Some(row) = found.try_next().await? {
        page.push(ReadModelRow { table: table.to_owned(), key: row.try_get("key")?, content: row.try_get("content")? });
        if page.len() == ROWS_PER_PAGE && rows.send(Ok(std::mem::take(&mut page))).await.is_err() {
            return Ok(());
        }
    }
    let _ = rows.send(Ok(page)).await;
    Ok(())
}

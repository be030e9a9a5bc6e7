//! Generations of read models: claimed, put in each other's place, dropped, and read as they are.

use async_trait::async_trait;
use es_core::{
    BuildClaim, Builder, Claimed, ConsumerName, Direction, Generation, GenerationInfo, GenerationState,
    GenerationStore, PartitionCheckpoint, Position, ReadModelDefinition, ReadModelRow, ReadModelSnapshot, StoreError,
    Swapped, position_of_all,
};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqlSafeStr, SqlStr, postgres::PgRow};
use tokio::sync::mpsc;

use crate::{
    error::{is_missing_table, store_error},
    parking, partitions,
    rows::{from_bigint, get, get_text, to_bigint},
    statements::{TableStatement, ViewStatement},
    store::{PgStore, Shared},
};

/// How long a swap waits for those who read the old tables; everybody who comes meanwhile waits behind it.
pub(crate) const SWAP_LOCK_TIMEOUT: &str = "1s";
/// The same once something is locked. A reader of several tables may hold what is to be locked next and wait for what is locked
/// already. The server would end such a deadlock after `deadlock_timeout`, 1 s unless it was changed, at the reader's cost: this
/// side gives up before, and tries again.
pub(crate) const NEXT_LOCK_TIMEOUT: &str = "100ms";
/// A snapshot of a read model: everything is read as it was at the first statement.
const BEGIN_PICTURE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Rows that are handed on together.
const ROWS_PER_PAGE: usize = 500;

const NO_GENERATION: StoreError =
    StoreError::Refused { reason: "there is no such generation; it was dropped, or never built" };

/// A generation, and whether somebody builds it now.
pub(crate) struct Known {
    pub(crate) info: GenerationInfo,
    is_held: bool,
}

fn known(consumer: &ConsumerName, row: &PgRow) -> Result<Known, StoreError> {
    let unreadable = || StoreError::Backend { source: "a generation that this version does not know".into() };
    let number = u32::try_from(get::<i64>(row, 0)?).ok().and_then(Generation::new).ok_or_else(unreadable)?;
    let state = GenerationState::parse(get_text(row, 1)?).ok_or_else(unreadable)?;
    let version = u32::try_from(get::<i64>(row, 2)?).map_err(|_| unreadable())?;
    let definition = ReadModelDefinition { version, tables: get(row, 9)? };
    let builder = match (get::<Option<String>>(row, 4)?, get(row, 5)?, get(row, 6)?) {
        (Some(by), Some(since), Some(until)) => Some(Builder::new(by, since, until).renewed_at(get(row, 8)?)),
        _ => None,
    };
    let position = get::<Option<i64>>(row, 7)?.map(|position| Position::new(from_bigint(position)));
    let name = consumer.in_generation(number);
    let info = GenerationInfo::new(name, state, definition, position, get(row, 3)?, builder);
    Ok(Known { info, is_held: get(row, 10)? })
}

pub(crate) fn number_of(generation: &ConsumerName) -> i64 {
    generation.generation().unwrap_or(Generation::FIRST).get().into()
}

/// The generations of a consumer, by number.
async fn all(
    shared: &Shared,
    connection: &mut PgConnection,
    consumer: &ConsumerName,
) -> Result<Vec<Known>, StoreError> {
    let query = shared.query(&shared.statements.generations).bind(consumer.base_text().to_owned());
    let rows = query.fetch_all(connection).await.map_err(store_error)?;
    rows.iter().map(|row| known(consumer, row)).collect()
}

/// The same, while nobody else changes them.
pub(crate) async fn all_locked(
    shared: &Shared,
    connection: &mut PgConnection,
    consumer: &ConsumerName,
) -> Result<Vec<Known>, StoreError> {
    let lock = shared.query(&shared.statements.lock_generations).bind(consumer.base_text().to_owned());
    lock.execute(&mut *connection).await.map_err(store_error)?;
    all(shared, connection, consumer).await
}

fn find(known: Vec<Known>, wanted: impl Fn(&GenerationInfo) -> bool) -> Option<GenerationInfo> {
    known.into_iter().map(|known| known.info).find(|info| wanted(info))
}

async fn add(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
    state: GenerationState,
    definition: &ReadModelDefinition,
) -> Result<(), StoreError> {
    let query = shared.query(&shared.statements.add_generation).bind(generation.base_text().to_owned());
    let query = query
        .bind(number_of(generation))
        .bind(state.as_str())
        .bind(i64::from(definition.version))
        .bind(definition.tables.clone());
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// The live generation, which is the first one if the consumer has none.
async fn ensure_live(
    shared: &Shared,
    connection: &mut PgConnection,
    consumer: &ConsumerName,
    definition: &ReadModelDefinition,
) -> Result<GenerationInfo, StoreError> {
    let is_live = |info: &GenerationInfo| info.state == GenerationState::Live;
    if let Some(live) = find(all(shared, connection, consumer).await?, is_live) {
        return Ok(live);
    }
    add(shared, connection, &consumer.base(), GenerationState::Live, definition).await?;
    find(all(shared, connection, consumer).await?, is_live).ok_or(NO_GENERATION)
}

pub(crate) async fn execute(connection: &mut PgConnection, sql: SqlStr) -> Result<(), sqlx::Error> {
    sqlx::query(sql).persistent(false).execute(connection).await?;
    Ok(())
}

impl PgStore {
    async fn known(&self, consumer: &ConsumerName) -> Result<Vec<Known>, StoreError> {
        let read = || async {
            let mut session = self.shared.session().await?;
            let known = all(&self.shared, &mut session, consumer).await?;
            session.finish().await?;
            Ok(known)
        };
        self.shared.reading(read).await
    }
}

#[async_trait]
impl GenerationStore for PgStore {
    async fn generations(&self, consumer: &ConsumerName) -> Result<Vec<GenerationInfo>, StoreError> {
        let known = self.known(consumer).await?;
        Ok(known.into_iter().map(|known| known.info).collect())
    }

    async fn live_generation(
        &self,
        consumer: &ConsumerName,
        definition: &ReadModelDefinition,
    ) -> Result<GenerationInfo, StoreError> {
        let known = self.known(consumer).await?;
        if let Some(live) = find(known, |info| info.state == GenerationState::Live) {
            return Ok(live);
        }
        let mut transaction = self.shared.transaction().await?;
        let live = ensure_live(&self.shared, &mut transaction, consumer, definition).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(live)
    }

    async fn claim_build(&self, claim: &BuildClaim) -> Result<Claimed, StoreError> {
        let mut transaction = self.shared.transaction().await?;
        ensure_live(&self.shared, &mut transaction, &claim.consumer, &claim.definition).await?;
        let known = all_locked(&self.shared, &mut transaction, &claim.consumer).await?;
        let newest = known.last().map_or(Generation::FIRST, |newest| newest.info.generation());
        let building = known.into_iter().find(|known| known.info.state == GenerationState::Building);
        let generation = match building {
            Some(Known { info, is_held }) => {
                let is_own = info.builder.as_ref().is_some_and(|builder| builder.by == claim.by);
                if is_held && !is_own {
                    return Ok(Claimed::Taken(info));
                }
                if info.definition != claim.definition {
                    return Ok(Claimed::VersionMismatch(info));
                }
                info.name
            }
            None => {
                let next = claim.consumer.in_generation(newest.next());
                add(&self.shared, &mut transaction, &next, GenerationState::Building, &claim.definition).await?;
                next
            }
        };
        let lease = to_bigint(u64::try_from(claim.lease.as_millis()).unwrap_or(u64::MAX));
        let query = self.shared.query(&self.shared.statements.claim_build).bind(claim.consumer.as_str().to_owned());
        let query = query.bind(number_of(&generation)).bind(claim.by.clone()).bind(lease);
        query.execute(&mut *transaction).await.map_err(store_error)?;
        let known = all(&self.shared, &mut transaction, &claim.consumer).await?;
        let claimed = find(known, |info| info.name == generation).ok_or(NO_GENERATION)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(Claimed::Yours(claimed))
    }

    async fn release_build(&self, generation: &ConsumerName, by: &str) -> Result<(), StoreError> {
        let mut session = self.shared.session().await?;
        let query = self.shared.query(&self.shared.statements.release_build).bind(generation.base_text().to_owned());
        let query = query.bind(number_of(generation)).bind(by.to_owned());
        query.execute(&mut *session).await.map_err(store_error)?;
        session.finish().await
    }

    async fn make_live(&self, generation: &ConsumerName, direction: Direction) -> Result<Swapped, StoreError> {
        let known = GenerationStore::generations(self, generation).await?;
        let wanted = known.into_iter().find(|info| info.name == *generation).ok_or(NO_GENERATION)?;
        let tables = wanted.definition.tables;
        if tables.is_empty() {
            es_core::ConsumerStore::prepare_view(self, generation).await?;
        }
        let shared = &self.shared;
        let mut transaction = shared.transaction().await?;
        set_lock_timeout(shared, &mut transaction, SWAP_LOCK_TIMEOUT).await?;
        let known = all_locked(shared, &mut transaction, generation).await?;
        let live = known.iter().find(|known| known.info.state == GenerationState::Live);
        let live = live.map(|live| live.info.name.clone());
        if live.as_ref() == Some(generation) {
            return Ok(Swapped::Done);
        }
        if !known.iter().any(|known| known.info.name == *generation) {
            return Err(NO_GENERATION);
        }
        if let Some(live) = live {
            // From here on its runner waits, and then hears that it is retired.
            let old = partitions::freeze(shared, &mut transaction, &live, true).await?;
            let new = partitions::freeze(shared, &mut transaction, generation, false).await?;
            let furthest = old.iter().map(PartitionCheckpoint::furthest).max().unwrap_or_default();
            if new.iter().any(|new| new.position < furthest) && direction == Direction::Forward {
                return Ok(Swapped::Behind(furthest));
            }
            partitions::check_fit(shared, &mut transaction, &new).await?;
            if let (2.., 1, Ok(count)) = (old.len(), new.len(), u16::try_from(old.len())) {
                partitions::change(shared, &mut transaction, generation, &new, count).await?;
            }
            set_state(shared, &mut transaction, &live, GenerationState::Retired).await?;
        }
        set_state(shared, &mut transaction, generation, GenerationState::Live).await?;
        // Last, since readers wait from here on.
        if tables.is_empty() {
            let show = shared.statements.of_view(ViewStatement::SHOW, generation);
            execute(&mut transaction, show).await.map_err(store_error)?;
        }
        for table in &tables {
            show(shared, &mut transaction, generation, table).await?;
            set_lock_timeout(shared, &mut transaction, NEXT_LOCK_TIMEOUT).await?;
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(Swapped::Done)
    }

    async fn drop_generation(&self, generation: &ConsumerName) -> Result<(), StoreError> {
        let shared = &self.shared;
        let mut transaction = shared.transaction().await?;
        set_lock_timeout(shared, &mut transaction, SWAP_LOCK_TIMEOUT).await?;
        let known = all_locked(shared, &mut transaction, generation).await?;
        let Some(found) = find(known, |info| info.name == *generation) else { return Ok(()) };
        if found.state == GenerationState::Live {
            return Err(StoreError::Refused {
                reason: "the live generation cannot be dropped; make another one live first",
            });
        }
        let remove = shared.query(&shared.statements.remove_generation).bind(generation.base_text().to_owned());
        let remove = remove.bind(number_of(generation));
        remove.execute(&mut *transaction).await.map_err(store_error)?;
        partitions::remove(shared, &mut transaction, generation).await?;
        parking::forget_after(shared, &mut transaction, generation, Position::ZERO).await?;
        execute(&mut transaction, shared.statements.of_view(ViewStatement::DROP, generation))
            .await
            .map_err(store_error)?;
        for table in &found.definition.tables {
            let drop = shared.statements.of_table(TableStatement::DROP, generation, table, "");
            execute(&mut transaction, drop).await.map_err(store_error)?;
            set_lock_timeout(shared, &mut transaction, NEXT_LOCK_TIMEOUT).await?;
        }
        transaction.commit().await.map_err(store_error)
    }

    async fn open_snapshot(&self, generation: &ConsumerName) -> Result<ReadModelSnapshot, StoreError> {
        self.shared.writers.refuse_ended_runtime()?;
        let store = self.clone();
        let connection = self.shared.pool.acquire().await;
        let mut connection = connection.map_err(|error| self.shared.acquire_error(&self.shared.pool, error))?;
        let generation = generation.clone();
        let (opened, position) = tokio::sync::oneshot::channel();
        // In a task, which continues with the snapshot for as long as its receiver wants rows.
        tokio::spawn(async move {
            let shared = &store.shared;
            let mut transaction = match connection.begin_with(BEGIN_PICTURE).await {
                Ok(transaction) => transaction,
                Err(error) => return drop(opened.send(Err(store_error(error)))),
            };
            let found = match all(shared, &mut transaction, &generation).await {
                Ok(known) => find(known, |info| info.name == generation).ok_or(NO_GENERATION),
                Err(error) => Err(error),
            };
            let found = match found {
                Ok(found) => partitions::all(shared, &mut transaction, &generation)
                    .await
                    .and_then(|all| Ok((position_of_all(&all)?, found))),
                Err(error) => Err(error),
            };
            let (snapshot, rows, tables) = match found {
                Ok((position, GenerationInfo { definition: ReadModelDefinition { mut tables, .. }, .. })) => {
                    tables.sort_unstable();
                    let (snapshot, rows) = ReadModelSnapshot::new(position);
                    (snapshot, rows, tables)
                }
                Err(error) => return drop(opened.send(Err(error))),
            };
            if opened.send(Ok(snapshot)).is_ok()
                && let Err(error) = send_rows(shared, &mut transaction, &generation, &tables, &rows).await
            {
                let _ = rows.send(Err(error)).await;
            }
            // It has changed nothing.
            let _ = transaction.rollback().await;
        });
        position.await.unwrap_or_else(|error| Err(StoreError::Unavailable { source: error.into() }))
    }
}

/// How long each of the next statements waits for locks, to the end of the transaction.
pub(crate) async fn set_lock_timeout(
    shared: &Shared,
    connection: &mut PgConnection,
    timeout: &'static str,
) -> Result<(), StoreError> {
    let query = shared.query(&shared.statements.set_lock_timeout).bind(timeout);
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

async fn set_state(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
    state: GenerationState,
) -> Result<(), StoreError> {
    let query = shared.query(&shared.statements.set_generation_state).bind(generation.base_text().to_owned());
    let query = query.bind(number_of(generation)).bind(state.as_str());
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Lets readers of a table read this generation's. Where its columns are others than before, what readers use is made anew, for
/// the same readers.
pub(crate) async fn show(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
    stable: &str,
) -> Result<(), StoreError> {
    let statement = |statement| shared.statements.of_table(statement, generation, stable, "");
    // Within a transaction this is a savepoint.
    let mut savepoint = connection.begin().await.map_err(store_error)?;
    let error = match execute(&mut savepoint, statement(TableStatement::SHOW)).await {
        Ok(()) => return savepoint.commit().await.map_err(store_error),
        Err(error) => error,
    };
    savepoint.rollback().await.map_err(store_error)?;
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    match code.as_str() {
        // Its columns cannot be changed in place.
        "42P16" => {}
        "42809" => {
            return Err(StoreError::Setup {
                problem: format!("{stable:?} is a table of its own, and cannot stand for the tables of generations"),
                remedy: format!("rename it, or let the projection ask for a table of another name than {stable:?}"),
                source: Some(error.into()),
            });
        }
        _ => return Err(store_error(error)),
    }
    let grants = sqlx::query(statement(TableStatement::GRANTS)).persistent(false);
    let grants = grants.fetch_all(&mut *connection).await.map_err(store_error)?;
    execute(connection, statement(TableStatement::DROP_STABLE)).await.map_err(store_error)?;
    execute(connection, statement(TableStatement::SHOW)).await.map_err(store_error)?;
    for grant in &grants {
        // Made by the server, which has quoted every name.
        execute(connection, AssertSqlSafe(get_text(grant, 0)?.to_owned()).into_sql_str()).await.map_err(store_error)?;
    }
    Ok(())
}

/// Lets readers find the tables of the first generation, unless they find something already.
pub(crate) async fn show_first(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
    tables: &[String],
) -> Result<(), StoreError> {
    if generation.generation() != Some(Generation::FIRST) {
        return Ok(());
    }
    for stable in tables {
        let sql = shared.statements.of_table(TableStatement::HAS_STABLE, generation, stable, "");
        let row = sqlx::query(sql).persistent(false).fetch_one(&mut *connection).await.map_err(store_error)?;
        if !get::<bool>(&row, 0)? {
            show(shared, connection, generation, stable).await?;
        }
    }
    Ok(())
}

/// Sends all rows, table by table, until nobody wants more.
async fn send_rows(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
    tables: &[String],
    rows: &mpsc::Sender<Result<Vec<ReadModelRow>, StoreError>>,
) -> Result<(), StoreError> {
    if tables.is_empty() {
        let sql = shared.statements.of_view(ViewStatement::ALL, generation);
        return match send_table(connection, sql, "", rows).await {
            // Nobody prepared the view.
            Err(error) if is_missing_table(&error) => Ok(()),
            result => result.map_err(store_error),
        };
    }
    for stable in tables {
        let key = shared.statements.of_table(TableStatement::KEY_COLUMNS, generation, stable, "");
        let row = sqlx::query(key).persistent(false).fetch_one(&mut *connection).await.map_err(store_error)?;
        let key = get::<Option<String>>(&row, 0)?;
        let key = key.as_deref().unwrap_or("pg_catalog.row_to_json(t)::text");
        let sql = shared.statements.of_table(TableStatement::ALL, generation, stable, key);
        send_table(connection, sql, stable, rows).await.map_err(store_error)?;
    }
    Ok(())
}

async fn send_table(
    connection: &mut PgConnection,
    sql: SqlStr,
    table: &str,
    rows: &mpsc::Sender<Result<Vec<ReadModelRow>, StoreError>>,
) -> Result<(), sqlx::Error> {
    let text =
        |row: &PgRow, column| get_text(row, column).map(str::to_owned).map_err(|e| sqlx::Error::Decode(e.into()));
    let mut found = sqlx::query(sql).persistent(false).fetch(connection);
    let mut page = Vec::with_capacity(ROWS_PER_PAGE);
    while let Some(row) = found.try_next().await? {
        page.push(ReadModelRow { table: table.to_owned(), key: text(&row, 0)?, content: text(&row, 1)? });
        if page.len() == ROWS_PER_PAGE && rows.send(Ok(std::mem::take(&mut page))).await.is_err() {
            return Ok(());
        }
    }
    let _ = rows.send(Ok(page)).await;
    Ok(())
}

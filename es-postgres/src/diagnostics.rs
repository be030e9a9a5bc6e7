//! For whom in the database the calls of this store wait.

use async_trait::async_trait;
use es_core::{DatabaseBlocker, DatabaseWait, Diagnostics, StoreError, limits};

use crate::{
    error::store_error,
    rows::{get, to_bigint},
    store::PgStore,
};

#[async_trait]
impl Diagnostics for PgStore {
    /// Those of the same role, host and `application_name`: give each program a name of its own in the URL. To see what
    /// another role does, this one has to be a member of `pg_read_all_stats`.
    async fn waiting_on(&self) -> Result<Vec<DatabaseWait>, StoreError> {
        let shared = &self.shared;
        shared.writers.refuse_ended_runtime()?;
        // Those that wait may hold all connections of the pool.
        let pool = if shared.pool.num_idle() > 0 { &shared.pool } else { &shared.tail_pool };
        let mut transaction = pool.begin().await.map_err(|error| shared.acquire_error(pool, error))?;
        let query = shared.query(&shared.statements.waiting_on);
        let query = query.bind(limits::MAX_SHOWN_QUERY_CHARS as i32).bind(to_bigint(limits::MAX_DATABASE_WAITS as u64));
        let rows = query.fetch_all(&mut *transaction).await.map_err(store_error)?;
        transaction.rollback().await.map_err(store_error)?;
        let mut waits: Vec<DatabaseWait> = Vec::new();
        for row in &rows {
            let (pid, query): (i32, String) = (get(row, 0)?, get(row, 1)?);
            let blocker = DatabaseBlocker::new(get(row, 2)?, get(row, 3)?, get(row, 4)?, get(row, 5)?, get(row, 6)?);
            match waits.last_mut().filter(|wait| wait.pid == pid) {
                Some(wait) => wait.blocked_by.push(blocker),
                None => waits.push(DatabaseWait::new(pid, query, vec![blocker])),
            }
        }
        Ok(waits)
    }
}

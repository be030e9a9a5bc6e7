//! Leases: which process runs a consumer.

use std::time::Duration;

use async_trait::async_trait;
use es_core::{
    ConsumerName, Fence, Lease, LeaseHolder, LeaseStore, Leased, Member, Membership, StoreError, check_member,
    timestamp::from_unix_micros,
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::{store_error, to_stored},
    projections::now,
    rows::to_json,
    store::SqliteStore,
    writer::{begin, commit},
};

const CLAIM: &str = include_str!("../sql/lease_claim.sql");
const SEIZE: &str = include_str!("../sql/lease_seize.sql");
const HOLDER: &str = include_str!("../sql/lease_holder.sql");
const RELEASE: &str = include_str!("../sql/lease_release.sql");
const LEASES: &str = include_str!("../sql/leases.sql");
const EXTEND: &str = include_str!("../sql/lease_extend.sql");
const RELEASE_ALL: &str = include_str!("../sql/lease_release_all.sql");
const FENCE: &str = include_str!("../sql/lease_fence.sql");
const FORGET: &str = include_str!("../sql/members_forget.sql");
const JOIN: &str = include_str!("../sql/members_join.sql");
const MEMBERS: &str = include_str!("../sql/members.sql");

/// Returns the current time, and the end of a period that begins now.
fn span(time: Duration) -> (i64, i64) {
    let now = now();
    (now, now.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
}

fn consumer(row: &SqliteRow) -> Result<ConsumerName, StoreError> {
    Ok(ConsumerName::parse(row.try_get("consumer").map_err(store_error)?)?)
}

fn holder(row: &SqliteRow) -> Result<LeaseHolder, StoreError> {
    let time = |column| {
        let micros = row.try_get(column).map_err(store_error)?;
        from_unix_micros(micros)
            .ok_or_else(|| StoreError::Backend { source: "the time of a lease is out of range".into() })
    };
    Ok(LeaseHolder::new(row.try_get("owner").map_err(store_error)?, time("since")?, time("until")?))
}

/// Returns whether a lease is still the newest of its consumer.
pub(crate) async fn is_newest(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
    lease: Lease,
) -> Result<bool, StoreError> {
    let query = sqlx::query(FENCE).bind(consumer.as_str()).bind(to_stored("a fence", lease.fence.get())?);
    Ok(query.fetch_optional(connection).await.map_err(store_error)?.is_some())
}

fn lease(row: &SqliteRow, time: Duration) -> Result<Lease, StoreError> {
    let fence: i64 = row.try_get("fence").map_err(store_error)?;
    Ok(Lease::new(Fence::new(fence.unsigned_abs()), time))
}

async fn claim(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
    owner: &str,
    time: Duration,
) -> Result<Leased, StoreError> {
    let (now, until) = span(time);
    let query = sqlx::query(CLAIM).bind(consumer.as_str()).bind(owner).bind(now).bind(until);
    if let Some(row) = query.fetch_optional(&mut *connection).await.map_err(store_error)? {
        return Ok(Leased::Yours(lease(&row, time)?));
    }
    let query = sqlx::query(HOLDER).bind(consumer.as_str());
    Ok(Leased::Taken(holder(&query.fetch_one(connection).await.map_err(store_error)?)?))
}

async fn join(
    connection: &mut SqliteConnection,
    member: &str,
    consumers: &str,
    time: Duration,
) -> Result<Membership, StoreError> {
    let (now, until) = span(time);
    sqlx::query(FORGET).bind(member).bind(now).execute(&mut *connection).await.map_err(store_error)?;
    let query = sqlx::query(JOIN).bind(member).bind(consumers).bind(now).bind(until);
    query.execute(&mut *connection).await.map_err(store_error)?;
    let query = sqlx::query(EXTEND).bind(member).bind(now).bind(until);
    let held = query.fetch_all(&mut *connection).await.map_err(store_error)?;
    let members = sqlx::query(MEMBERS).bind(now).fetch_all(connection).await.map_err(store_error)?;
    let to_member = |row: &SqliteRow| {
        let member = row.try_get("member").map_err(store_error)?;
        Ok(Member { consumer: consumer(row)?, member })
    };
    let members: Result<_, StoreError> = members.iter().map(to_member).collect();
    let mut held: Vec<_> = held.iter().map(consumer).collect::<Result<_, _>>()?;
    held.sort_unstable();
    Ok(Membership::new(members?, held))
}

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn claim_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Leased, StoreError> {
        check_member(owner)?;
        let (consumer, owner) = (consumer.clone(), owner.to_owned());
        self.write_shared(format!("the lease of {consumer}"), move |connection| {
            Box::pin(async move { claim(connection, &consumer, &owner, time).await })
        })
        .await
    }

    async fn seize_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Lease, StoreError> {
        check_member(owner)?;
        let (consumer, owner) = (consumer.clone(), owner.to_owned());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let (now, until) = span(time);
                let query = sqlx::query(SEIZE).bind(consumer.as_str()).bind(&owner).bind(now).bind(until);
                let seized = lease(&query.fetch_one(&mut *connection).await.map_err(store_error)?, time)?;
                commit(connection).await?;
                Ok(seized)
            })
        })
        .await
    }

    async fn release_lease(&self, consumer: &ConsumerName, lease: Lease) -> Result<(), StoreError> {
        let (consumer, fence) = (consumer.clone(), to_stored("a fence", lease.fence.get())?);
        self.write_shared(format!("the lease of {consumer}"), move |connection| {
            Box::pin(async move {
                let query = sqlx::query(RELEASE).bind(consumer.as_str()).bind(fence);
                query.execute(connection).await.map_err(store_error)?;
                Ok(())
            })
        })
        .await
    }

    async fn heartbeat(
        &self,
        member: &str,
        consumers: &[ConsumerName],
        time: Duration,
    ) -> Result<Membership, StoreError> {
        check_member(member)?;
        let consumers: Vec<&str> = consumers.iter().map(ConsumerName::as_str).collect();
        let (member, consumers) = (member.to_owned(), to_json(&consumers)?);
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let membership = join(connection, &member, &consumers, time).await?;
                commit(connection).await?;
                Ok(membership)
            })
        })
        .await
    }

    async fn deregister(&self, member: &str) -> Result<(), StoreError> {
        let member = member.to_owned();
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let forget = sqlx::query(FORGET).bind(&member).bind(now());
                forget.execute(&mut *connection).await.map_err(store_error)?;
                let release = sqlx::query(RELEASE_ALL).bind(&member);
                release.execute(&mut *connection).await.map_err(store_error)?;
                commit(connection).await
            })
        })
        .await
    }

    async fn leases(&self) -> Result<Vec<(ConsumerName, LeaseHolder)>, StoreError> {
        let mut reader = self.shared.readers.get().await?;
        let rows = sqlx::query(LEASES).bind(now()).fetch_all(reader.connection()?).await;
        let rows = reader.settle(rows.map_err(store_error))?;
        rows.iter().map(|row| Ok((consumer(row)?, holder(row)?))).collect()
    }
}

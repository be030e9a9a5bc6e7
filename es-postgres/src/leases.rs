//! Leases: which process works for a consumer.

use std::time::Duration;

use async_trait::async_trait;
use es_core::{
    ConsumerName, Fence, Lease, LeaseHolder, LeaseStore, Leased, Member, Membership, StoreError, check_member,
};
use sqlx::postgres::PgRow;

use crate::{
    error::store_error,
    rows::{from_bigint, get, get_text, to_bigint},
    store::PgStore,
};

fn millis(time: Duration) -> i64 {
    to_bigint(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn consumer(row: &PgRow) -> Result<ConsumerName, StoreError> {
    Ok(ConsumerName::parse(get_text(row, 0)?)?)
}

#[async_trait]
impl LeaseStore for PgStore {
    async fn claim_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Leased, StoreError> {
        check_member(owner)?;
        let mut session = self.shared.session().await?;
        let mut leased = None;
        // Twice, if it was given back between the two statements.
        for _ in 0..2 {
            let query = self.shared.query(&self.shared.statements.claim_lease).bind(consumer.as_str());
            let query = query.bind(owner).bind(millis(time));
            if let Some(row) = query.fetch_optional(&mut *session).await.map_err(store_error)? {
                let fence = Fence::new(from_bigint(get(&row, 0)?));
                leased = Some(Leased::Yours(Lease::new(fence, time)));
                break;
            }
            let query = self.shared.query(&self.shared.statements.lease_holder).bind(consumer.as_str());
            if let Some(row) = query.fetch_optional(&mut *session).await.map_err(store_error)? {
                leased = Some(Leased::Taken(LeaseHolder::new(get(&row, 0)?, get(&row, 1)?, get(&row, 2)?)));
                break;
            }
        }
        session.finish().await?;
        let waiting_for = || format!("the lease of {consumer}");
        leased.ok_or_else(|| StoreError::Busy { waiting_for: waiting_for(), source: None })
    }

    async fn seize_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Lease, StoreError> {
        check_member(owner)?;
        let mut session = self.shared.session().await?;
        let query = self.shared.query(&self.shared.statements.seize_lease).bind(consumer.as_str());
        let row = query.bind(owner).bind(millis(time)).fetch_one(&mut *session).await.map_err(store_error)?;
        session.finish().await?;
        Ok(Lease::new(Fence::new(from_bigint(get(&row, 0)?)), time))
    }

    async fn release_lease(&self, consumer: &ConsumerName, lease: Lease) -> Result<(), StoreError> {
        let mut session = self.shared.session().await?;
        let query = self.shared.query(&self.shared.statements.release_lease).bind(consumer.as_str());
        query.bind(to_bigint(lease.fence.get())).execute(&mut *session).await.map_err(store_error)?;
        session.finish().await
    }

    async fn heartbeat(
        &self,
        member: &str,
        consumers: &[ConsumerName],
        time: Duration,
    ) -> Result<Membership, StoreError> {
        check_member(member)?;
        let mut names: Vec<&str> = consumers.iter().map(ConsumerName::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let mut session = self.shared.session().await?;
        let query = self.shared.query(&self.shared.statements.heartbeat).bind(member).bind(&names).bind(millis(time));
        let held = query.fetch_all(&mut *session).await.map_err(store_error)?;
        let members = self.shared.query(&self.shared.statements.members);
        let members = members.fetch_all(&mut *session).await.map_err(store_error)?;
        session.finish().await?;
        let to_member = |row| Ok(Member { consumer: consumer(row)?, member: get(row, 1)? });
        let members: Result<_, StoreError> = members.iter().map(to_member).collect();
        let held: Result<_, StoreError> = held.iter().map(consumer).collect();
        Ok(Membership::new(members?, held?))
    }

    async fn deregister(&self, member: &str) -> Result<(), StoreError> {
        let mut session = self.shared.session().await?;
        let query = self.shared.query(&self.shared.statements.deregister).bind(member);
        query.execute(&mut *session).await.map_err(store_error)?;
        session.finish().await
    }

    async fn leases(&self) -> Result<Vec<(ConsumerName, LeaseHolder)>, StoreError> {
        let rows = self.rows(|| self.shared.query(&self.shared.statements.leases)).await?;
        let to_holder = |row| Ok((consumer(row)?, LeaseHolder::new(get(row, 1)?, get(row, 2)?, get(row, 3)?)));
        rows.iter().map(to_holder).collect()
    }
}

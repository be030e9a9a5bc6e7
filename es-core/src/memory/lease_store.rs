//! Leases in memory.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{MemoryStore, lock};
use crate::{
    advance::Advance,
    consumer_name::ConsumerName,
    error::StoreError,
    lease_store::{Fence, Lease, LeaseHolder, LeaseStore, Leased, Member, Roster, check_member},
    timestamp::to_stored_precision,
};

/// Who works for which consumer, and who would.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_consumer: BTreeMap<ConsumerName, Entry>,
    members: BTreeMap<Member, OffsetDateTime>,
}

#[derive(Debug, Default)]
struct Entry {
    fence: u64,
    holder: Option<LeaseHolder>,
}

impl Leases {
    /// Refuses a move under a lease that somebody else has had since.
    pub(super) fn check(&self, advance: &Advance) -> Result<(), StoreError> {
        match advance.lease {
            Some(lease) => self.check_fence(&advance.consumer, lease.fence),
            None => Ok(()),
        }
    }

    /// Refuses what is written under a lease that somebody else has had since.
    pub(super) fn check_fence(&self, consumer: &ConsumerName, fence: Fence) -> Result<(), StoreError> {
        let current = self.by_consumer.get(consumer).map_or(0, |entry| entry.fence);
        match fence.get() == current {
            true => Ok(()),
            false => Err(StoreError::LeaseLost { consumer: consumer.clone() }),
        }
    }
}

impl Leases {
    /// Takes the leases of a consumer, in all its generations, from whoever has them.
    pub(super) fn revoke(&mut self, consumer: &ConsumerName) {
        for (_, entry) in self.by_consumer.iter_mut().filter(|(name, _)| name.base() == *consumer) {
            (entry.fence, entry.holder) = (entry.fence + 1, None);
        }
    }
}

fn now() -> OffsetDateTime {
    to_stored_precision(OffsetDateTime::now_utc())
}

#[async_trait]
impl LeaseStore for MemoryStore {
    async fn claim_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Leased, StoreError> {
        check_member(owner)?;
        let now = now();
        let mut consumers = lock(&self.shared.consumers);
        let entry = consumers.leases.by_consumer.entry(consumer.clone()).or_default();
        match &mut entry.holder {
            Some(holder) if holder.owner == owner => holder.until = now + time,
            Some(holder) if holder.until > now => return Ok(Leased::Taken(holder.clone())),
            holder => {
                *holder = Some(LeaseHolder::new(owner.to_owned(), now, now + time));
                entry.fence += 1;
            }
        }
        Ok(Leased::Yours(Lease::new(Fence::new(entry.fence), time)))
    }

    async fn release_lease(&self, consumer: &ConsumerName, lease: Lease) -> Result<(), StoreError> {
        if let Some(entry) = lock(&self.shared.consumers).leases.by_consumer.get_mut(consumer)
            && entry.fence == lease.fence.get()
        {
            *entry = Entry { fence: entry.fence + 1, holder: None };
        }
        Ok(())
    }

    async fn beat(&self, member: &str, consumers: &[ConsumerName], time: Duration) -> Result<Roster, StoreError> {
        check_member(member)?;
        let now = now();
        let leases = &mut lock(&self.shared.consumers).leases;
        leases.members.retain(|known, until| *until > now && known.member != member);
        for consumer in consumers {
            leases.members.insert(Member { consumer: consumer.clone(), member: member.to_owned() }, now + time);
        }
        let mut held = Vec::new();
        for (consumer, entry) in &mut leases.by_consumer {
            if let Some(holder) = entry.holder.as_mut().filter(|holder| holder.owner == member) {
                holder.until = now + time;
                held.push(consumer.clone());
            }
        }
        let members = leases.members.iter().filter(|(_, until)| **until > now).map(|(member, _)| member.clone());
        Ok(Roster::new(members.collect(), held))
    }

    async fn leave(&self, member: &str) -> Result<(), StoreError> {
        let leases = &mut lock(&self.shared.consumers).leases;
        leases.members.retain(|known, _| known.member != member);
        for entry in leases.by_consumer.values_mut() {
            if entry.holder.as_ref().is_some_and(|holder| holder.owner == member) {
                *entry = Entry { fence: entry.fence + 1, holder: None };
            }
        }
        Ok(())
    }

    async fn leases(&self) -> Result<Vec<(ConsumerName, LeaseHolder)>, StoreError> {
        let now = now();
        let consumers = lock(&self.shared.consumers);
        let held = consumers.leases.by_consumer.iter().filter_map(|(consumer, entry)| {
            let holder = entry.holder.as_ref().filter(|holder| holder.until > now)?;
            Some((consumer.clone(), holder.clone()))
        });
        Ok(held.collect())
    }
}

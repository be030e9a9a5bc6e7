//! Leases in memory.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{MemoryStore, lock};
use crate::{
    advance::Advance,
    consumer_name::ConsumerName,
    error::StoreError,
    lease_store::{Fence, Lease, LeaseHolder, LeaseStore, Leased, Member, Membership, check_member, is_in_force},
    timestamp::to_stored_precision,
};

/// Which process runs which consumer, and which processes could.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_consumer: BTreeMap<ConsumerName, Entry>,
    members: BTreeMap<Member, Term>,
}

#[derive(Debug, Default)]
struct Entry {
    fence: u64,
    holder: Option<Holder>,
}

#[derive(Debug)]
struct Holder {
    owner: String,
    since: OffsetDateTime,
    term: Term,
}

impl Holder {
    fn extend(&mut self, term: Term) {
        (self.since, self.term) = (self.since.min(term.granted), term);
    }

    fn report(&self) -> LeaseHolder {
        LeaseHolder::new(self.owner.clone(), self.since, self.term.until)
    }
}

/// The period of a grant.
#[derive(Debug, Clone, Copy)]
struct Term {
    granted: OffsetDateTime,
    until: OffsetDateTime,
}

impl Term {
    fn new(granted: OffsetDateTime, time: Duration) -> Self {
        Self { granted, until: granted + time }
    }

    fn is_in_force(&self, now: OffsetDateTime) -> bool {
        is_in_force(self.granted, self.until, now)
    }
}

impl Leases {
    /// Refuses a move under a lease that another process has held since.
    pub(super) fn check(&self, advance: &Advance) -> Result<(), StoreError> {
        match advance.lease {
            Some(lease) => self.check_fence(&advance.consumer, lease.fence),
            None => Ok(()),
        }
    }

    /// Refuses a write under a lease that another process has held since.
    pub(super) fn check_fence(&self, consumer: &ConsumerName, fence: Fence) -> Result<(), StoreError> {
        let current = self.by_consumer.get(consumer).map_or(0, |entry| entry.fence);
        match fence.get() == current {
            true => Ok(()),
            false => Err(StoreError::LeaseLost { consumer: consumer.clone() }),
        }
    }
}

impl Leases {
    /// Revokes the leases of all generations of a consumer. Returns the number of leases that had an owner.
    pub(super) fn revoke(&mut self, consumer: &ConsumerName) -> u64 {
        let held =
            self.by_consumer.iter_mut().filter(|(name, entry)| name.base() == *consumer && entry.holder.is_some());
        let revoke = |(_, entry): (_, &mut Entry)| *entry = Entry { fence: entry.fence + 1, holder: None };
        held.map(revoke).count() as u64
    }

    fn claim(&mut self, consumer: &ConsumerName, owner: &str, now: OffsetDateTime, time: Duration) -> Leased {
        let holder = self.by_consumer.get(consumer).and_then(|entry| entry.holder.as_ref());
        match holder.filter(|holder| holder.owner != owner && holder.term.is_in_force(now)) {
            Some(other) => Leased::Taken(other.report()),
            None => Leased::Yours(self.seize(consumer, owner, now, time)),
        }
    }

    fn seize(&mut self, consumer: &ConsumerName, owner: &str, now: OffsetDateTime, time: Duration) -> Lease {
        let entry = self.by_consumer.entry(consumer.clone()).or_default();
        let term = Term::new(now, time);
        match &mut entry.holder {
            Some(holder) if holder.owner == owner => holder.extend(term),
            holder => {
                *holder = Some(Holder { owner: owner.to_owned(), since: now, term });
                entry.fence += 1;
            }
        }
        Lease::new(Fence::new(entry.fence), time)
    }

    fn heartbeat(
        &mut self,
        member: &str,
        consumers: &[ConsumerName],
        now: OffsetDateTime,
        time: Duration,
    ) -> Membership {
        let term = Term::new(now, time);
        self.members.retain(|known, term| term.is_in_force(now) && known.member != member);
        for consumer in consumers {
            self.members.insert(Member { consumer: consumer.clone(), member: member.to_owned() }, term);
        }
        let mut held = Vec::new();
        for (consumer, entry) in &mut self.by_consumer {
            if let Some(holder) = entry.holder.as_mut().filter(|holder| holder.owner == member) {
                holder.extend(term);
                held.push(consumer.clone());
            }
        }
        let members = self.members.iter().filter(|(_, term)| term.is_in_force(now)).map(|(member, _)| member.clone());
        Membership::new(members.collect(), held)
    }

    fn held(&self, now: OffsetDateTime) -> Vec<(ConsumerName, LeaseHolder)> {
        let held = self.by_consumer.iter().filter_map(|(consumer, entry)| {
            let holder = entry.holder.as_ref().filter(|holder| holder.term.is_in_force(now))?;
            Some((consumer.clone(), holder.report()))
        });
        held.collect()
    }
}

fn now() -> OffsetDateTime {
    to_stored_precision(OffsetDateTime::now_utc())
}

#[async_trait]
impl LeaseStore for MemoryStore {
    async fn claim_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Leased, StoreError> {
        check_member(owner)?;
        Ok(lock(&self.shared.consumers).leases.claim(consumer, owner, now(), time))
    }

    async fn seize_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Lease, StoreError> {
        check_member(owner)?;
        Ok(lock(&self.shared.consumers).leases.seize(consumer, owner, now(), time))
    }

    async fn release_lease(&self, consumer: &ConsumerName, lease: Lease) -> Result<(), StoreError> {
        if let Some(entry) = lock(&self.shared.consumers).leases.by_consumer.get_mut(consumer)
            && entry.fence == lease.fence.get()
        {
            *entry = Entry { fence: entry.fence + 1, holder: None };
        }
        Ok(())
    }

    async fn heartbeat(
        &self,
        member: &str,
        consumers: &[ConsumerName],
        time: Duration,
    ) -> Result<Membership, StoreError> {
        check_member(member)?;
        Ok(lock(&self.shared.consumers).leases.heartbeat(member, consumers, now(), time))
    }

    async fn deregister(&self, member: &str) -> Result<(), StoreError> {
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
        Ok(lock(&self.shared.consumers).leases.held(now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    #[test]
    fn a_lease_that_a_clock_granted_which_was_ahead_is_not_in_force() {
        let (mut leases, consumer) = (Leases::default(), ConsumerName::new("mail").unwrap());
        let (now, ahead) = (now(), now() + Duration::from_secs(3_600));
        let fence = |leased| match leased {
            Leased::Yours(lease) => lease.fence,
            Leased::Taken(holder) => panic!("{holder:?}"),
        };
        let first = fence(leases.claim(&consumer, "dead", ahead, TIME));
        leases.heartbeat("dead", std::slice::from_ref(&consumer), ahead, TIME);
        assert_eq!(leases.held(now), []);
        assert!(fence(leases.claim(&consumer, "ann", now, TIME)) > first);
        let membership = leases.heartbeat("ann", std::slice::from_ref(&consumer), now, TIME);
        assert_eq!(membership.members.iter().map(|member| member.member.as_str()).collect::<Vec<_>>(), ["ann"]);
        assert_eq!(leases.held(now + TIME / 2).len(), 1);
        assert!(matches!(leases.claim(&consumer, "bob", now + TIME / 2, TIME), Leased::Taken(_)));
        fence(leases.claim(&consumer, "bob", now + TIME, TIME));
        // An owner that sends heartbeats holds the lease from now on, not from the future.
        leases.claim(&consumer, "bob", ahead, TIME);
        leases.heartbeat("bob", &[], now + TIME, TIME);
        assert_eq!(leases.held(now + TIME)[0].1.until, now + TIME * 2);
    }
}

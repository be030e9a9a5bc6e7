//! Leases: which process works for a consumer, and who else could.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{
    consumer_name::ConsumerName,
    consumer_store::ConsumerStore,
    error::{InvalidName, StoreError},
    limits,
    name::check_text,
};

/// The number of a lease. Whoever is given a consumer's lease after somebody else gets a higher one, so that a store can tell
/// the writes of a process that slept through the end of its lease, and refuse them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// A fence, as stores keep it.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A lease that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Its number.
    pub fence: Fence,
    /// For how long it holds after each claim and each heartbeat. A store that keeps a transaction open for a page ends
    /// it well before that, if it hears nothing from its owner.
    pub time: Duration,
}

impl Lease {
    /// A lease, as stores give it.
    pub fn new(fence: Fence, time: Duration) -> Self {
        Self { fence, time }
    }
}

/// Whether a lease that was granted at one time until another is in force now, all by the store's clock.
///
/// One from the future was granted by a clock that was ahead and has been set back since. It is not in force: nobody could tell
/// how much of it is over, and no lease may outlive its own length.
pub fn is_in_force(granted: OffsetDateTime, until: OffsetDateTime, now: OffsetDateTime) -> bool {
    granted <= now && now < until
}

/// Who has a lease.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct LeaseHolder {
    /// Whose lease it is, as they call themselves.
    pub owner: String,
    /// Since when, by the store's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Until when, by the store's clock, unless there is another heartbeat.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

impl LeaseHolder {
    /// A holder, as stores report it.
    pub fn new(owner: String, since: OffsetDateTime, until: OffsetDateTime) -> Self {
        Self { owner, since, until }
    }
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    /// The claimer has the lease: it was free, or had run out, or was the claimer's before.
    Yours(Lease),
    /// Somebody else has it.
    Taken(LeaseHolder),
}

/// One process that would run a consumer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The consumer.
    pub consumer: ConsumerName,
    /// Who, as they call themselves.
    pub member: String,
}

/// The answer to a heartbeat: who would run what, and which leases the sender has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Membership {
    /// Who would run what at the moment, by consumer, then by member: the same for every process.
    pub members: Vec<Member>,
    /// The consumers whose leases the sender has, by name; they hold for their full time from now on.
    pub held: Vec<ConsumerName>,
}

impl Membership {
    /// Creates a membership, as stores return it.
    pub fn new(members: Vec<Member>, held: Vec<ConsumerName>) -> Self {
        Self { members, held }
    }
}

/// Checks the name by which a process calls itself.
///
/// # Errors
/// [`InvalidName`] if it is empty, over [`limits::MAX_METADATA_TEXT_BYTES`] or holds a control character.
pub fn check_member(member: &str) -> Result<(), InvalidName> {
    check_text("member", member, limits::MAX_METADATA_TEXT_BYTES)
}

/// What a store does so that several processes share the work. Object-safe, as [`ConsumerStore`].
///
/// All times are by the store's clock; processes need not agree on one.
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait LeaseStore: ConsumerStore {
    /// Claims the lease of a consumer for some time. The same owner's claim again extends it, with the same fence.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`] for an owner that [`check_member`] refuses.
    async fn claim_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Leased, StoreError>;

    /// Takes a consumer's lease from its current owner for a limited time. The store rejects what the former owner still writes
    /// under the lease, and rejects its claims until the lease is released or expires. Meanwhile, appends leave an inline
    /// projection to its runner.
    /// A page that has begun takes effect. The same owner's call again extends the lease, with the same fence.
    ///
    /// It is for work that must come to an end while others write, such as a swap of generations.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`] for an owner that [`check_member`] refuses.
    async fn seize_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Lease, StoreError>;

    /// Gives a lease back: others need not wait for it to run out, and nothing more is written under it. Of no effect if
    /// somebody else has had it since.
    async fn release_lease(&self, consumer: &ConsumerName, lease: Lease) -> Result<(), StoreError>;

    /// Sends a heartbeat, good for some time: it names the consumers that the member would run, and extends all leases
    /// that the member has. A lease that had run out is extended too if nobody has taken it.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`] for a member that [`check_member`] refuses.
    async fn heartbeat(
        &self,
        member: &str,
        consumers: &[ConsumerName],
        time: Duration,
    ) -> Result<Membership, StoreError>;

    /// Removes a member: releases all its leases, and takes it out of the membership.
    async fn deregister(&self, member: &str) -> Result<(), StoreError>;

    /// Who has which lease at the moment, by consumer.
    async fn leases(&self) -> Result<Vec<(ConsumerName, LeaseHolder)>, StoreError>;
}

#[async_trait]
impl<S: LeaseStore + ?Sized> LeaseStore for Arc<S> {
    async fn claim_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Leased, StoreError> {
        (**self).claim_lease(consumer, owner, time).await
    }

    async fn seize_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Lease, StoreError> {
        (**self).seize_lease(consumer, owner, time).await
    }

    async fn release_lease(&self, consumer: &ConsumerName, lease: Lease) -> Result<(), StoreError> {
        (**self).release_lease(consumer, lease).await
    }

    async fn heartbeat(
        &self,
        member: &str,
        consumers: &[ConsumerName],
        time: Duration,
    ) -> Result<Membership, StoreError> {
        (**self).heartbeat(member, consumers, time).await
    }

    async fn deregister(&self, member: &str) -> Result<(), StoreError> {
        (**self).deregister(member).await
    }

    async fn leases(&self) -> Result<Vec<(ConsumerName, LeaseHolder)>, StoreError> {
        (**self).leases().await
    }
}

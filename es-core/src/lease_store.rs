//! Leases: which process runs a consumer, and which other processes could.

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

/// The number of a lease. When the lease of a consumer gets a new owner, the number increases. A store can therefore
/// recognize and refuse the writes of a process that did not notice that its lease had expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// Creates a fence. Stores report fences in this way.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A lease that a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The number of the lease.
    pub fence: Fence,
    /// How long the lease is valid after each claim and each heartbeat. A store that keeps a transaction open for a
    /// page ends it well before that time if the owner sends no heartbeat.
    pub time: Duration,
}

impl Lease {
    /// Creates a lease. Stores report leases in this way.
    pub fn new(fence: Fence, time: Duration) -> Self {
        Self { fence, time }
    }
}

/// Returns whether a lease that was granted at one time until another is valid now, all by the store's clock.
///
/// A lease from the future was granted when the clock was ahead, before it was set back. It is not valid: its remaining
/// time cannot be determined, and no lease may last longer than its own duration.
pub fn is_in_force(granted: OffsetDateTime, until: OffsetDateTime, now: OffsetDateTime) -> bool {
    granted <= now && now < until
}

/// The holder of a lease.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct LeaseHolder {
    /// The name by which the owner of the lease identifies itself.
    pub owner: String,
    /// When the lease began, by the store's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// When the lease ends, by the store's clock, unless the owner sends another heartbeat.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

impl LeaseHolder {
    /// Creates a holder. Stores report holders in this way.
    pub fn new(owner: String, since: OffsetDateTime, until: OffsetDateTime) -> Self {
        Self { owner, since, until }
    }
}

/// The result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    /// The caller has the lease: it was free, had expired, or already belonged to the caller.
    Yours(Lease),
    /// Another process has the lease.
    Taken(LeaseHolder),
}

/// One process that can run a consumer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The consumer.
    pub consumer: ConsumerName,
    /// The name by which the process identifies itself.
    pub member: String,
}

/// The response to a heartbeat: which processes can run which consumers, and which leases the sender has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Membership {
    /// Which processes can currently run which consumers, ordered by consumer and member. The list is the same for
    /// every process.
    pub members: Vec<Member>,
    /// The consumers whose leases the sender has, ordered by name. Each lease is valid for its full time from now on.
    pub held: Vec<ConsumerName>,
}

impl Membership {
    /// Creates a membership. Stores return memberships in this way.
    pub fn new(members: Vec<Member>, held: Vec<ConsumerName>) -> Self {
        Self { members, held }
    }
}

/// Checks the name by which a process identifies itself.
///
/// # Errors
/// Returns [`InvalidName`] if it is empty, longer than [`limits::MAX_METADATA_TEXT_BYTES`], or contains a control
/// character.
pub fn check_member(member: &str) -> Result<(), InvalidName> {
    check_text("member", member, limits::MAX_METADATA_TEXT_BYTES)
}

/// The part of a store that lets several processes share the work. The trait is object-safe, like [`ConsumerStore`].
///
/// All times are by the store's clock. The clocks of the processes do not need to agree.
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait LeaseStore: ConsumerStore {
    /// Claims the lease of a consumer for a limited time. If the same owner claims it again, the lease is extended and
    /// keeps its fence.
    ///
    /// # Errors
    /// Returns [`StoreError::InvalidName`] for an owner that [`check_member`] refuses.
    async fn claim_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Leased, StoreError>;

    /// Takes a consumer's lease from its current owner for a limited time. The store rejects all later writes of the
    /// former owner under the lease, and rejects its claims until the lease is released or expires. During that time,
    /// appends leave an inline projection to its runner. A page that has begun takes effect. If the same owner calls it
    /// again, the lease is extended and keeps its fence.
    ///
    /// Use it for work that must finish while other processes write, such as a swap of generations.
    ///
    /// # Errors
    /// Returns [`StoreError::InvalidName`] for an owner that [`check_member`] refuses.
    async fn seize_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Lease, StoreError>;

    /// Releases a lease, so that other processes do not need to wait until it expires. Nothing more is written under
    /// it. It has no effect if another process has held the lease since.
    async fn release_lease(&self, consumer: &ConsumerName, lease: Lease) -> Result<(), StoreError>;

    /// Sends a heartbeat that is valid for a limited time. It names the consumers that the member can run, and extends
    /// all leases that the member has. An expired lease is extended too if no other process has claimed it.
    ///
    /// # Errors
    /// Returns [`StoreError::InvalidName`] for a member that [`check_member`] refuses.
    async fn heartbeat(
        &self,
        member: &str,
        consumers: &[ConsumerName],
        time: Duration,
    ) -> Result<Membership, StoreError>;

    /// Removes a member from the membership and releases all of its leases.
    async fn deregister(&self, member: &str) -> Result<(), StoreError>;

    /// Returns the current holders of all leases, ordered by consumer.
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

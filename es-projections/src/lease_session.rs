//! One loop's work on a consumer: the lease under which it works, or the process that works instead.

use std::sync::Arc;

use es_core::{ConsumerName, Lease, LeaseHolder, Leased, Member, Position, StoreError};
use tokio::sync::watch;

use crate::{
    assignment::assigned,
    member_session::{MemberSession, Withdrawal},
};

/// The reason why this loop does not work for the consumer.
#[derive(Debug, Clone)]
pub(crate) enum NotOurs {
    /// Another process holds the lease.
    Leased(LeaseHolder),
    /// The consumer is currently assigned to another process.
    Assigned(String),
}

/// A loop's session for one consumer, or one partition of it.
pub(crate) struct LeaseSession {
    member_session: Arc<MemberSession>,
    consumer: ConsumerName,
    index: usize,
    /// Whether it leaves the consumer to the process that it is assigned to.
    is_shared: bool,
    members: watch::Receiver<Vec<Member>>,
    /// The other process that the consumer is assigned to, if there is one.
    other: Option<String>,
    held: Option<ConsumerName>,
    /// Whether the store returned an error that the holder of the lease should not see.
    is_doubtful: bool,
    withdrawal: Option<Withdrawal>,
    told: Told,
}

/// What was last logged about a consumer that follows the log, so that only changes are logged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Works,
    CaughtUp,
    Elsewhere,
}

impl LeaseSession {
    pub(crate) fn new(
        member_session: &Arc<MemberSession>,
        consumer: &ConsumerName,
        index: usize,
        is_shared: bool,
    ) -> Self {
        let mut members = member_session.members();
        members.mark_changed();
        let (member_session, consumer) = (Arc::clone(member_session), consumer.base());
        Self {
            member_session,
            consumer,
            index,
            is_shared,
            members,
            other: None,
            held: None,
            is_doubtful: false,
            withdrawal: None,
            told: Told::Nothing,
        }
    }

    /// Returns the other process that the consumer is currently assigned to.
    fn other(&mut self) -> Option<String> {
        if self.is_shared && self.members.has_changed().unwrap_or(false) {
            let members = self.members.borrow_and_update();
            let other = assigned(&members, &self.consumer, self.index);
            self.other = other.filter(|&other| other != self.member_session.member()).map(str::to_owned);
        }
        self.other.clone()
    }

    /// Returns another process that is known to be able to run the consumer.
    pub(crate) fn able_other(&self) -> Option<String> {
        let members = self.members.borrow();
        let mut others = members.iter().filter(|other| other.consumer == self.consumer);
        others.find(|other| other.member != self.member_session.member()).map(|other| other.member.clone())
    }

    /// Releases the lease if the consumer is assigned to another process, and returns that process. Does not call the
    /// store otherwise.
    pub(crate) async fn leave_to_other(&mut self) -> Option<NotOurs> {
        let other = self.other()?;
        self.end().await;
        Some(NotOurs::Assigned(other))
    }

    /// Claims the lease, or keeps it. Returns whether it was just claimed, since another process may have held it
    /// before.
    pub(crate) async fn take(&mut self, name: &ConsumerName) -> Result<Result<(Lease, bool), NotOurs>, StoreError> {
        self.withdrawal = None;
        if let Some(not_ours) = self.leave_to_other().await {
            return Ok(Err(not_ours));
        }
        if self.held.as_ref().is_some_and(|held| held != name) {
            self.end().await;
        }
        if self.held.is_some()
            && !std::mem::take(&mut self.is_doubtful)
            && let Some(lease) = self.member_session.lease(name)
        {
            return Ok(Ok((lease, false)));
        }
        let is_user = self.held.is_some();
        match self.member_session.claim(name, !is_user).await? {
            Leased::Yours(lease) => {
                self.held = Some(name.clone());
                if !is_user && self.tells(Told::Works) {
                    tracing::info!(checkpoint = %name, fence = lease.fence.get(), "working for the consumer from now on");
                }
                Ok(Ok((lease, true)))
            }
            Leased::Taken(holder) => {
                self.held = None;
                Ok(Err(NotOurs::Leased(holder)))
            }
        }
    }

    /// Returns whether there is something new to log.
    fn tells(&mut self, news: Told) -> bool {
        self.is_shared && std::mem::replace(&mut self.told, news) != news
    }

    /// Logs that the consumer has caught up, once per claim of the lease.
    pub(crate) fn tell_caught_up(&mut self, position: Position) {
        if self.tells(Told::CaughtUp) {
            tracing::info!(position = position.get(), "caught up");
        }
    }

    /// Logs once that another process runs the consumer.
    pub(crate) fn tell_not_ours(&mut self, who: &NotOurs) {
        if self.tells(Told::Elsewhere) {
            let (NotOurs::Leased(LeaseHolder { owner: by, .. }) | NotOurs::Assigned(by)) = who;
            tracing::info!(by, "another process works for the consumer");
        }
    }

    /// Logs that this process no longer follows the consumer.
    pub(crate) fn tell_end(&mut self) {
        if self.told != Told::Nothing && self.tells(Told::Nothing) {
            tracing::info!("no longer followed");
        }
    }

    /// Makes the next step ask the store about the lease.
    pub(crate) fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Leaves the consumer to another process that can run it, until this loop next claims the lease.
    pub(crate) async fn withdraw(&mut self) {
        self.withdrawal = Some(self.member_session.withdraw(&self.consumer));
        self.end().await;
    }

    /// Releases the lease.
    pub(crate) async fn end(&mut self) {
        if let Some(name) = self.held.take() {
            self.member_session.let_go(&name).await;
        }
    }
}

impl Drop for LeaseSession {
    /// Releases the lease of a dropped loop in a background task, so that no process has to wait until it expires.
    fn drop(&mut self) {
        let Some(name) = self.held.take() else { return };
        let member_session = Arc::clone(&self.member_session);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { member_session.let_go(&name).await })),
            Err(_) => member_session.forget(&name),
        }
    }
}

//! One loop's session at a consumer: the lease under which it works, or which process works instead.

use std::sync::Arc;

use es_core::{ConsumerName, Lease, LeaseHolder, Leased, Member, Position, StoreError};
use tokio::sync::watch;

use crate::{
    assignment::assigned,
    member_session::{MemberSession, Withdrawal},
};

/// Why this loop does not work for the consumer.
#[derive(Debug, Clone)]
pub(crate) enum NotOurs {
    /// Another process has the lease.
    Leased(LeaseHolder),
    /// Another process would run it, as the work is spread at the moment.
    Assigned(String),
}

/// A loop's session at one consumer, or one partition of it.
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
    /// Whether the store said something that it would not say to who has the lease.
    is_doubtful: bool,
    withdrawal: Option<Withdrawal>,
    told: Told,
}

/// What the log was told last of a consumer that is followed, so that it is told of changes alone.
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

    /// Returns the other process that the consumer is assigned to at the moment.
    fn other(&mut self) -> Option<String> {
        if self.is_shared && self.members.has_changed().unwrap_or(false) {
            let members = self.members.borrow_and_update();
            let other = assigned(&members, &self.consumer, self.index);
            self.other = other.filter(|&other| other != self.member_session.member()).map(str::to_owned);
        }
        self.other.clone()
    }

    /// Another process that would run the consumer, as far as is known.
    pub(crate) fn able_other(&self) -> Option<String> {
        let members = self.members.borrow();
        let mut others = members.iter().filter(|other| other.consumer == self.consumer);
        others.find(|other| other.member != self.member_session.member()).map(|other| other.member.clone())
    }

    /// Gives the lease back if the consumer is assigned to another process, and returns which. Asks the store for
    /// nothing else.
    pub(crate) async fn leave_to_other(&mut self) -> Option<NotOurs> {
        let other = self.other()?;
        self.end().await;
        Some(NotOurs::Assigned(other))
    }

    /// Takes the lease, or keeps it. Returns whether it was just taken: another process may have had it before.
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

    /// Whether the log is to be told of something new.
    fn tells(&mut self, news: Told) -> bool {
        self.is_shared && std::mem::replace(&mut self.told, news) != news
    }

    /// Tells the log, once for each time that the consumer was taken over, that it has caught up.
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

    /// Asks the store about the lease again before the next step.
    pub(crate) fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Leaves the consumer to a process that can run it, until the next time that it takes the lease.
    pub(crate) async fn withdraw(&mut self) {
        self.withdrawal = Some(self.member_session.withdraw(&self.consumer));
        self.end().await;
    }

    /// Gives the lease back.
    pub(crate) async fn end(&mut self) {
        if let Some(name) = self.held.take() {
            self.member_session.let_go(&name).await;
        }
    }
}

impl Drop for LeaseSession {
    /// A loop that is dropped half way gives its lease back behind its back, so that nobody waits for it to run out.
    fn drop(&mut self) {
        let Some(name) = self.held.take() else { return };
        let member_session = Arc::clone(&self.member_session);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { member_session.let_go(&name).await })),
            Err(_) => member_session.forget(&name),
        }
    }
}

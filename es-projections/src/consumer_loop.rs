//! The loop of one consumer: step, wait, and decide what to do when a step fails.

mod failures;

use std::sync::Arc;

use es_core::{ConsumerName, Generation, Partition, Position, RunnerStore, Wakeups};
use tokio::{sync::Mutex, time::sleep};
use tracing::Instrument;

use failures::Attempts;

use crate::{
    consumer::Consumer,
    consumer_state::{ConsumerStateCell, Phase},
    error::RunnerError,
    feed::Feed,
    goal::Goal,
    lease_session::LeaseSession,
    limits,
    member_session::MemberSession,
    options::ConsumerOptions,
    page_step::{Step, StepFailure, Steps},
    partitions::Others,
    status::ConsumerKind,
    stop::Stop,
    suspension_check::SuspensionCheck,
    tail::Tail,
};

/// How a loop ended without a failure.
pub(crate) enum Ended {
    /// It reached its goal or was asked to stop.
    Done,
    /// The number of the consumer's partitions has changed.
    OtherPartitionEpoch(u16),
}

/// One consumer of a runner. Concurrent loops over it (such as `catch_up` during `run`) take turns, page by page.
pub(crate) struct ConsumerLoop {
    name: ConsumerName,
    kind: ConsumerKind,
    options: ConsumerOptions,
    store: Arc<dyn RunnerStore>,
    /// Creates other generations, even while a step is running; `None` without a read model.
    blueprint: Option<Box<dyn Consumer>>,
    steps: Mutex<Steps>,
    consumer_state: Arc<ConsumerStateCell>,
    /// `None` if no other process could do the work, as for a generation that is being built.
    member_session: Option<Arc<MemberSession>>,
    suspension_check: Arc<SuspensionCheck>,
    others: Others,
}

impl ConsumerLoop {
    pub(crate) fn new(
        store: Arc<dyn RunnerStore>,
        consumer: Box<dyn Consumer>,
        options: ConsumerOptions,
        tail: Arc<Tail>,
        member_session: Option<Arc<MemberSession>>,
        suspension_check: Arc<SuspensionCheck>,
    ) -> Self {
        let others = Others::new(&*consumer, Arc::clone(&tail));
        let consumer_state = Arc::new(ConsumerStateCell::new());
        let name = consumer.name().base();
        let kind = consumer.kind();
        let blueprint = consumer.in_generation(Generation::FIRST).ok().flatten();
        let steps = Steps::new(Arc::clone(&store), consumer, options, Arc::clone(&consumer_state), tail);
        Self {
            name,
            kind,
            options,
            store,
            blueprint,
            steps: Mutex::new(steps),
            consumer_state,
            member_session,
            suspension_check,
            others,
        }
    }

    /// Like `new`, but stays with one generation, whether it is live or not.
    pub(crate) fn pinned(
        store: Arc<dyn RunnerStore>,
        consumer: Box<dyn Consumer>,
        options: ConsumerOptions,
        tail: Arc<Tail>,
    ) -> Self {
        let name = consumer.name().clone();
        let mut pinned = Self::new(store, consumer, options, tail, None, Arc::new(SuspensionCheck::open(name.clone())));
        pinned.steps.get_mut().pin();
        Self { name, blueprint: None, ..pinned }
    }

    /// Returns the options of the consumer.
    pub(crate) fn options(&self) -> &ConsumerOptions {
        &self.options
    }

    /// Returns the consumer from which other generations are created.
    pub(crate) fn blueprint(&self) -> Option<&dyn Consumer> {
        self.blueprint.as_deref()
    }

    /// Locks the steps of the consumer. No step runs while the guard is held.
    pub(crate) async fn steps(&self) -> tokio::sync::MutexGuard<'_, Steps> {
        self.steps.lock().await
    }

    pub(crate) fn name(&self) -> &ConsumerName {
        &self.name
    }

    pub(crate) fn kind(&self) -> ConsumerKind {
        self.kind
    }

    pub(crate) fn consumer_state(&self) -> &Arc<ConsumerStateCell> {
        &self.consumer_state
    }

    /// Retries the parked keys whose retry is requested, unless another process runs the consumer and retries them.
    /// Used when no loop runs in this process.
    pub(crate) async fn retry_requested(&self) -> Result<(), RunnerError> {
        while let Ended::OtherPartitionEpoch(count) = self.retry_own().await? {
            self.lay_out(count).await?;
        }
        for other in self.others.loops() {
            other.retry_own().await?;
        }
        Ok(())
    }

    async fn retry_own(&self) -> Result<Ended, RunnerError> {
        let index = usize::from(self.steps.lock().await.partition().index());
        let mut session = self.member_session.as_ref().map(|own| LeaseSession::new(own, &self.name, index, false));
        let tried = async {
            let mut steps = self.steps.lock().await;
            if let Some(session) = &mut session {
                let name = steps.locate().await?;
                let (lease, is_new) = session.take(&name).await?.map_err(StepFailure::NotOurs)?;
                steps.work_under(lease, is_new);
            }
            steps.retry_all_requested().await
        };
        let tried = tried.await;
        if let Some(session) = &mut session {
            session.end().await;
        }
        match tried {
            Ok(()) | Err(StepFailure::MovedByOther | StepFailure::Narrowed | StepFailure::NotOurs(_)) => {
                Ok(Ended::Done)
            }
            Err(StepFailure::OtherPartitionEpoch(count)) => Ok(Ended::OtherPartitionEpoch(count)),
            Err(StepFailure::VersionMismatch { live, live_version, own_version }) => {
                Err(RunnerError::VersionMismatch { live, live_version, own_version })
            }
            Err(StepFailure::UnknownType(unknown)) => Err(unknown.into_error(self.name.clone())),
            Err(StepFailure::WentBack(error)) => Err(self.of_other_log(error)),
            Err(StepFailure::Suspended(suspension)) => {
                Err(RunnerError::Suspended { consumer: self.name.clone(), suspension: Box::new(suspension) })
            }
            Err(StepFailure::Failed { event, error }) => {
                let (consumer, source) = (self.name.clone(), Arc::new(error));
                Err(RunnerError::Consumer { consumer, event, attempts: 1, source })
            }
            Err(StepFailure::Fatal(error)) => Err(error),
        }
    }

    /// Returns the check that precedes each step.
    pub(crate) fn suspension_check(&self) -> &SuspensionCheck {
        &self.suspension_check
    }

    /// Makes the next step look up the checkpoint. If a step is running, that step notices the change itself.
    pub(crate) fn look_up_again(&self) {
        if let Ok(mut steps) = self.steps.try_lock() {
            steps.forget_place();
        }
    }

    /// Creates a loop for another partition.
    pub(crate) fn other(&self, consumer: Box<dyn Consumer>, partition: Partition, feed: &Arc<Feed>) -> Self {
        let (store, tail, suspension_check) =
            (Arc::clone(&self.store), Arc::clone(feed.tail()), Arc::clone(&self.suspension_check));
        let mut other = Self::new(store, consumer, self.options, tail, self.member_session.clone(), suspension_check);
        other.steps.get_mut().work_for(partition, Arc::clone(feed));
        Self { name: self.name.base().in_partition(partition), blueprint: None, ..other }
    }

    /// Returns the loops of the other partitions.
    pub(crate) fn others(&self) -> &Others {
        &self.others
    }

    /// Continues with its own partition until the goal is reached or the failure policy gives up. Calls `on_advance`
    /// with each new position.
    pub(crate) async fn drive_one(
        &self,
        goal: Goal,
        stop: Stop,
        on_advance: &mut (dyn FnMut(Position) + Send),
    ) -> Result<Ended, RunnerError> {
        let span = tracing::info_span!("consumer", name = %self.name, kind = %self.kind);
        self.drive_in_span(goal, stop, on_advance).instrument(span).await
    }

    async fn drive_in_span(
        &self,
        goal: Goal,
        stop: Stop,
        on_advance: &mut (dyn FnMut(Position) + Send),
    ) -> Result<Ended, RunnerError> {
        let index = usize::from(self.steps.lock().await.partition().index());
        let mut session =
            self.member_session.as_ref().map(|own| LeaseSession::new(own, &self.name, index, goal == Goal::Follow));
        let result = self.go_on(goal, stop, on_advance, &mut session).await;
        if let Some(session) = &mut session {
            session.end().await;
            session.tell_end();
        }
        result
    }

    async fn go_on(
        &self,
        goal: Goal,
        stop: Stop,
        on_advance: &mut (dyn FnMut(Position) + Send),
        session: &mut Option<LeaseSession>,
    ) -> Result<Ended, RunnerError> {
        let (_running, is_only_loop) = self.consumer_state.enter();
        if is_only_loop {
            self.steps.lock().await.forget_place();
        }
        // Created before the first read, so that no wakeup is missed.
        let mut wakeups = self.store.wakeups();
        let mut attempts = Attempts::default();
        while !stop.is_requested() {
            let passed = self.suspension_check.pass(goal == Goal::Follow, &self.consumer_state, &stop).await;
            if stop.is_requested() {
                break;
            }
            let result = match passed {
                Err(failure) => Err(failure),
                Ok(()) if goal == Goal::Clear => self.steps.lock().await.clear().await,
                Ok(()) => self.step(goal, &stop, session, &attempts).await,
            };
            match result {
                Ok(step) => {
                    attempts = Attempts::default();
                    on_advance(step.reached());
                    match (goal.end(), step) {
                        (Some(end), Step::Advanced(reached)) if reached >= end => {
                            self.consumer_state.note_caught_up();
                            return Ok(Ended::Done);
                        }
                        (None, Step::Cleared) if goal == Goal::Clear => return Ok(Ended::Done),
                        (Some(_), Step::CaughtUp(_)) => {
                            self.consumer_state.note_caught_up();
                            return Ok(Ended::Done);
                        }
                        // According to the wakeups this is the head, so there is no need to look for more.
                        (None, Step::Advanced(reached)) if reached == wakeups.latest() => {
                            self.steps.lock().await.follow();
                            self.note_caught_up(session, reached);
                            wait_for_news(&mut wakeups, reached, &stop).await;
                        }
                        (None, Step::CaughtUp(scanned)) => {
                            self.note_caught_up(session, scanned);
                            wait_for_news(&mut wakeups, scanned, &stop).await;
                        }
                        (_, Step::Cleared | Step::Advanced(_)) => {}
                    }
                }
                Err(StepFailure::NotOurs(who)) => {
                    if let Some(session) = session {
                        session.tell_not_ours(&who);
                    }
                    self.consumer_state.set_phase(Phase::NotOurs(who));
                    if let Some(end) = goal.end() {
                        // Another process reaches the goal.
                        let reached = self.stored().await?;
                        on_advance(reached);
                        if reached >= end {
                            return Ok(Ended::Done);
                        }
                    } else if self.consumer_state.is_awaited() {
                        self.note_if_others_caught_up().await;
                    }
                    tokio::select! {
                        () = sleep(limits::LEASE_CHECK_INTERVAL) => {}
                        () = stop.requested() => {}
                    }
                }
                Err(StepFailure::OtherPartitionEpoch(count)) => return Ok(Ended::OtherPartitionEpoch(count)),
                Err(failure) => {
                    match (&failure, &mut *session) {
                        (StepFailure::VersionMismatch { .. }, Some(session)) => session.withdraw().await,
                        (StepFailure::UnknownType(_), Some(session)) if attempts.unknown.is_none() => {
                            session.withdraw().await
                        }
                        (StepFailure::MovedByOther, Some(session)) => session.doubt(),
                        _ => {}
                    }
                    let wait = self.judge(failure, goal, &mut attempts)?;
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = stop.requested() => {}
                    }
                }
            }
        }
        // Events that were scanned without finding a wanted one need not be scanned again.
        if self.steps.lock().await.save_scanned().await.is_err() {
            tracing::debug!("the last checkpoint could not be saved; nothing is lost, some events are looked at again");
        }
        Ok(Ended::Done)
    }

    /// Parks the failed event, or continues by one page, if this loop holds the lease.
    async fn step(
        &self,
        goal: Goal,
        stop: &Stop,
        session: &mut Option<LeaseSession>,
        attempts: &Attempts,
    ) -> Result<Step, StepFailure> {
        let mut steps = self.steps.lock().await;
        let mut stop = stop.clone();
        if let (Some(unknown), Some(session)) = (&attempts.unknown, &*session) {
            steps.leave_to_newer_code(unknown, session).await?;
        }
        if let (Some(session), Some(member_session)) = (session, &self.member_session) {
            if !steps.is_look_due()
                && let Some(not_ours) = session.leave_to_other().await
            {
                return Err(steps.leave(not_ours));
            }
            let name = steps.locate().await?;
            let (lease, is_new) = session.take(&name).await?.map_err(|not_ours| steps.leave(not_ours))?;
            steps.work_under(lease, is_new);
            stop = stop.or_without_lease(member_session, &name);
        }
        let result = match &attempts.to_park {
            Some(failing) => steps.park(failing, &stop).await,
            None => steps.next(goal != Goal::Follow, &stop).await,
        };
        if let Err(StepFailure::WentBack(_)) = &result {
            steps.forget_log().await;
        }
        result
    }

    fn note_caught_up(&self, session: &mut Option<LeaseSession>, position: Position) {
        self.consumer_state.set_phase(Phase::CaughtUp);
        if let Some(session) = session {
            session.tell_caught_up(position);
        }
    }

    /// Records that the process that runs the consumer has reached the end of the log, for local consumers that start
    /// after it.
    async fn note_if_others_caught_up(&self) {
        if let (Ok(head), Ok(reached)) = (self.store.head().await, self.stored().await)
            && reached >= head
        {
            self.consumer_state.note_caught_up();
        }
    }

    /// Returns how far the process that runs the consumer has come.
    async fn stored(&self) -> Result<Position, RunnerError> {
        Ok(self.steps.lock().await.stored().await?)
    }
}

/// Waits until there may be events after `scanned`: for a wakeup, or at most for the poll interval.
async fn wait_for_news(wakeups: &mut Wakeups, scanned: Position, stop: &Stop) {
    tokio::select! {
        () = wakeups.news(scanned) => {}
        () = sleep(limits::POLL_INTERVAL) => {}
        () = stop.requested() => {}
    }
}

//! The loop of one consumer: step, wait, and decide what to do when a step fails.

use std::{sync::Arc, time::Duration};

use es_core::{
    ConsumerName, Generation, Partition, Position, ProjectionError, RunnerStore, StoreError, Wakeups, is_transient,
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use tracing::Instrument;

use crate::{
    backoff::Backoff,
    board::{Board, Phase},
    consumer::Consumer,
    error::{Chain, RunnerError},
    feed::Feed,
    gate::Gate,
    goal::Goal,
    limits,
    member_session::MemberSession,
    options::ConsumerOptions,
    page_step::{Step, StepFailure, Steps, UnknownEvent},
    parking::{Failing, is_of_the_event},
    partitions::Others,
    status::ConsumerKind,
    stop::Stop,
    tail::Tail,
    turn::Turn,
};

/// How a loop ended that did not fail.
pub(crate) enum Ended {
    /// It has reached its goal, or was asked to stop.
    Done,
    /// The consumer has another number of partitions by now.
    OtherPartitionEpoch(u16),
}

/// One consumer of a runner. Several loops over it (a `catch_up` while it runs) take turns, page by page.
pub(crate) struct ConsumerLoop {
    name: ConsumerName,
    kind: ConsumerKind,
    options: ConsumerOptions,
    store: Arc<dyn RunnerStore>,
    /// What other generations are made of, while a step is under way too; `None` without a read model.
    blueprint: Option<Box<dyn Consumer>>,
    steps: Mutex<Steps>,
    board: Arc<Board>,
    /// `None` where nobody else could do the work: a generation that is being built.
    member_session: Option<Arc<MemberSession>>,
    gate: Arc<Gate>,
    others: Others,
}

/// How often something failed in a row.
#[derive(Default)]
struct Attempts {
    failures: u32,
    store_failures: u32,
    moves: u32,
    /// The event of a type that the code does not know, if the consumer is left to others because of it.
    unknown: Option<UnknownEvent>,
    returns: u32,
    /// What to put aside with the next step.
    to_park: Option<Failing>,
}

impl ConsumerLoop {
    pub(crate) fn new(
        store: Arc<dyn RunnerStore>,
        consumer: Box<dyn Consumer>,
        options: ConsumerOptions,
        tail: Arc<Tail>,
        member_session: Option<Arc<MemberSession>>,
        gate: Arc<Gate>,
    ) -> Self {
        let others = Others::new(&*consumer, Arc::clone(&tail));
        let board = Arc::new(Board::new());
        let name = consumer.name().base();
        let kind = consumer.kind();
        let blueprint = consumer.in_generation(Generation::FIRST).ok().flatten();
        let steps = Steps::new(Arc::clone(&store), consumer, options, Arc::clone(&board), tail);
        Self { name, kind, options, store, blueprint, steps: Mutex::new(steps), board, member_session, gate, others }
    }

    /// The same for one generation, live or not.
    pub(crate) fn pinned(
        store: Arc<dyn RunnerStore>,
        consumer: Box<dyn Consumer>,
        options: ConsumerOptions,
        tail: Arc<Tail>,
    ) -> Self {
        let name = consumer.name().clone();
        let mut pinned = Self::new(store, consumer, options, tail, None, Arc::new(Gate::open(name.clone())));
        pinned.steps.get_mut().pin();
        Self { name, blueprint: None, ..pinned }
    }

    /// How it is run.
    pub(crate) fn options(&self) -> &ConsumerOptions {
        &self.options
    }

    /// What other generations of it are made of.
    pub(crate) fn blueprint(&self) -> Option<&dyn Consumer> {
        self.blueprint.as_deref()
    }

    /// What its steps are taken by; nobody takes one meanwhile.
    pub(crate) async fn steps(&self) -> tokio::sync::MutexGuard<'_, Steps> {
        self.steps.lock().await
    }

    pub(crate) fn name(&self) -> &ConsumerName {
        &self.name
    }

    pub(crate) fn kind(&self) -> ConsumerKind {
        self.kind
    }

    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Retries parked keys whose retry is requested, unless another process runs the consumer and does so. For when no
    /// loop runs here.
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
        let mut turn = self.member_session.as_ref().map(|own| Turn::new(own, &self.name, index, false));
        let tried = async {
            let mut steps = self.steps.lock().await;
            if let Some(turn) = &mut turn {
                let name = steps.locate().await?;
                let (lease, is_new) = turn.take(&name).await?.map_err(StepFailure::NotOurs)?;
                steps.work_under(lease, is_new);
            }
            steps.retry_all_requested().await
        };
        let tried = tried.await;
        if let Some(turn) = &mut turn {
            turn.end().await;
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

    /// What it asks before each step.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Looks its checkpoint up with the next step, if none is under way; the step that is finds out by itself.
    pub(crate) fn look_up_again(&self) {
        if let Ok(mut steps) = self.steps.try_lock() {
            steps.forget_place();
        }
    }

    /// The same for another partition.
    pub(crate) fn other(&self, consumer: Box<dyn Consumer>, partition: Partition, feed: &Arc<Feed>) -> Self {
        let (store, tail, gate) = (Arc::clone(&self.store), Arc::clone(feed.tail()), Arc::clone(&self.gate));
        let mut other = Self::new(store, consumer, self.options, tail, self.member_session.clone(), gate);
        other.steps.get_mut().work_for(partition, Arc::clone(feed));
        Self { name: self.name.base().in_partition(partition), blueprint: None, ..other }
    }

    /// The loops of the other partitions.
    pub(crate) fn others(&self) -> &Others {
        &self.others
    }

    /// Goes on with its own partition until the goal is reached or the failure policy gives up. `on_advance` is told each new
    /// position.
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
        let mut turn = self.member_session.as_ref().map(|own| Turn::new(own, &self.name, index, goal == Goal::Follow));
        let result = self.go_on(goal, stop, on_advance, &mut turn).await;
        if let Some(turn) = &mut turn {
            turn.end().await;
            turn.tell_end();
        }
        result
    }

    async fn go_on(
        &self,
        goal: Goal,
        stop: Stop,
        on_advance: &mut (dyn FnMut(Position) + Send),
        turn: &mut Option<Turn>,
    ) -> Result<Ended, RunnerError> {
        let (_running, is_only_loop) = self.board.enter();
        if is_only_loop {
            self.steps.lock().await.forget_place();
        }
        // From before the first read, so that no hint is missed.
        let mut wakeups = self.store.wakeups();
        let mut attempts = Attempts::default();
        while !stop.is_requested() {
            let passed = self.gate.pass(goal == Goal::Follow, &self.board, &stop).await;
            if stop.is_requested() {
                break;
            }
            let result = match passed {
                Err(failure) => Err(failure),
                Ok(()) if goal == Goal::Clear => self.steps.lock().await.clear().await,
                Ok(()) => self.step(goal, &stop, turn, &attempts).await,
            };
            match result {
                Ok(step) => {
                    attempts = Attempts::default();
                    on_advance(step.reached());
                    match (goal.end(), step) {
                        (Some(end), Step::Advanced(reached)) if reached >= end => {
                            self.board.note_caught_up();
                            return Ok(Ended::Done);
                        }
                        (None, Step::Cleared) if goal == Goal::Clear => return Ok(Ended::Done),
                        (Some(_), Step::CaughtUp(_)) => {
                            self.board.note_caught_up();
                            return Ok(Ended::Done);
                        }
                        // A hint says that this is the head: no need to look whether there is more.
                        (None, Step::Advanced(reached)) if reached == wakeups.latest() => {
                            self.steps.lock().await.follow();
                            self.note_caught_up(turn, reached);
                            wait_for_news(&mut wakeups, reached, &stop).await;
                        }
                        (None, Step::CaughtUp(scanned)) => {
                            self.note_caught_up(turn, scanned);
                            wait_for_news(&mut wakeups, scanned, &stop).await;
                        }
                        (_, Step::Cleared | Step::Advanced(_)) => {}
                    }
                }
                Err(StepFailure::NotOurs(who)) => {
                    if let Some(turn) = turn {
                        turn.tell_not_ours(&who);
                    }
                    self.board.set_phase(Phase::NotOurs(who));
                    if let Some(end) = goal.end() {
                        // Somebody else gets there.
                        let reached = self.stored().await?;
                        on_advance(reached);
                        if reached >= end {
                            return Ok(Ended::Done);
                        }
                    } else if self.board.is_awaited() {
                        self.note_if_others_caught_up().await;
                    }
                    tokio::select! {
                        () = sleep(limits::TURN_INTERVAL) => {}
                        () = stop.requested() => {}
                    }
                }
                Err(StepFailure::OtherPartitionEpoch(count)) => return Ok(Ended::OtherPartitionEpoch(count)),
                Err(failure) => {
                    match (&failure, &mut *turn) {
                        (StepFailure::VersionMismatch { .. }, Some(turn)) => turn.withdraw().await,
                        (StepFailure::UnknownType(_), Some(turn)) if attempts.unknown.is_none() => {
                            turn.withdraw().await
                        }
                        (StepFailure::MovedByOther, Some(turn)) => turn.doubt(),
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
        // What it looked at without finding anything need not be looked at again.
        if self.steps.lock().await.save_scanned().await.is_err() {
            tracing::debug!("the last checkpoint could not be saved; nothing is lost, some events are looked at again");
        }
        Ok(Ended::Done)
    }

    /// Parks what failed, or goes on by one page, if it is this loop's turn.
    async fn step(
        &self,
        goal: Goal,
        stop: &Stop,
        turn: &mut Option<Turn>,
        attempts: &Attempts,
    ) -> Result<Step, StepFailure> {
        let mut steps = self.steps.lock().await;
        let mut stop = stop.clone();
        if let (Some(unknown), Some(turn)) = (&attempts.unknown, &*turn) {
            steps.leave_to_newer_code(unknown, turn).await?;
        }
        if let (Some(turn), Some(member_session)) = (turn, &self.member_session) {
            if !steps.is_look_due()
                && let Some(not_ours) = turn.leave_to_other().await
            {
                return Err(StepFailure::NotOurs(not_ours));
            }
            let name = steps.locate().await?;
            let (lease, is_new) = turn.take(&name).await?.map_err(StepFailure::NotOurs)?;
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

    fn note_caught_up(&self, turn: &mut Option<Turn>, position: Position) {
        self.board.set_phase(Phase::CaughtUp);
        if let Some(turn) = turn {
            turn.tell_caught_up(position);
        }
    }

    /// Notes that whoever works for it is at the end of the log, for those here that start after it.
    async fn note_if_others_caught_up(&self) {
        if let (Ok(head), Ok(reached)) = (self.store.head().await, self.stored().await)
            && reached >= head
        {
            self.board.note_caught_up();
        }
    }

    /// How far whoever works for it has come.
    async fn stored(&self) -> Result<Position, RunnerError> {
        Ok(self.steps.lock().await.stored().await?)
    }

    /// What to do about a failure: how long to wait before the next try, or give up.
    fn judge(&self, failure: StepFailure, goal: Goal, attempts: &mut Attempts) -> Result<Duration, RunnerError> {
        match failure {
            StepFailure::Narrowed | StepFailure::NotOurs(_) | StepFailure::OtherPartitionEpoch(_) => Ok(Duration::ZERO),
            StepFailure::Suspended(suspension) => {
                Err(RunnerError::Suspended { consumer: self.name.clone(), suspension: Box::new(suspension) })
            }
            StepFailure::MovedByOther => {
                let times = self.board.note_moved_by_other();
                tracing::info!(times, "another runner moved the checkpoint; going on from there");
                // Whoever lost steps back for a moment, or the two would race for every page.
                attempts.moves = attempts.moves.saturating_add(1);
                Ok(Backoff::new(limits::FIRST_YIELD, limits::MAX_YIELD).wait(attempts.moves))
            }
            StepFailure::WentBack(error) => {
                let reached = self.board.note_log_went_back().reached.get();
                let is_reactor = self.kind == ConsumerKind::Reactor;
                attempts.returns = attempts.returns.saturating_add(1);
                if attempts.returns > limits::MAX_RETURNS {
                    return Err(self.stopped(self.of_other_log(error)));
                }
                tracing::error!(
                    reached, is_reactor, error = %Chain(&error),
                    "the log went back to an earlier state: everything read from the former one is dropped, and the consumer continues from \
                     its stored checkpoint; a reactor may have reacted to events that are gone, up to position `reached`"
                );
                self.board.note_failure(None, Arc::new(error.into()));
                Ok(Backoff::new(limits::FIRST_YIELD, limits::MAX_YIELD).wait(attempts.returns))
            }
            StepFailure::VersionMismatch { live, live_version, own_version } if goal == Goal::Follow => {
                tracing::warn!(%live, live_version, own_version, "another version of the code wrote the live read model; waiting for a rebuild");
                self.board.set_phase(Phase::VersionMismatch { live, live_version, own_version });
                Ok(limits::OTHER_CODE_INTERVAL)
            }
            StepFailure::VersionMismatch { live, live_version, own_version } => {
                Err(self.stopped(RunnerError::VersionMismatch { live, live_version, own_version }))
            }
            StepFailure::UnknownType(unknown) if goal == Goal::Follow => {
                if attempts.unknown.replace(unknown.clone()).as_ref() != Some(&unknown) {
                    let UnknownEvent { event, category, event_type } = &unknown;
                    let position = event.get();
                    tracing::warn!(
                        category,
                        event_type,
                        position,
                        "the code does not know the type of the next event; left to newer code"
                    );
                }
                self.board.set_phase(Phase::WaitingForCode(unknown));
                Ok(limits::OTHER_CODE_INTERVAL)
            }
            StepFailure::UnknownType(unknown) => Err(self.stopped(unknown.into_error(self.name.clone()))),
            StepFailure::Failed { event, error } if goal == Goal::Follow && is_transient(&error) => {
                attempts.store_failures = attempts.store_failures.saturating_add(1);
                let (attempt, wait) =
                    (attempts.store_failures, self.options.on_failure.backoff().wait(attempts.store_failures));
                tracing::warn!(attempt, ?wait, error = %Chain(&error), "waiting for the store");
                let failure = self.board.note_failure(event, Arc::new(error));
                self.board.set_phase(Phase::WaitingForStore { attempt, next_try: Instant::now() + wait, failure });
                Ok(wait)
            }
            StepFailure::Failed { event, error } => {
                attempts.failures = attempts.failures.saturating_add(1);
                self.retry_or_stop(event, error, attempts)
            }
            StepFailure::Fatal(error) => Err(self.stopped(error)),
        }
    }

    fn retry_or_stop(
        &self,
        event: Option<Position>,
        error: ProjectionError,
        attempts: &mut Attempts,
    ) -> Result<Duration, RunnerError> {
        let attempt = attempts.failures;
        let error = Arc::new(error);
        let failure = self.board.note_failure(event, Arc::clone(&error));
        if attempt > self.options.on_failure.retries() {
            if let (Some(event), Some(limit)) = (event, self.options.on_failure.parked_keys())
                && is_of_the_event(&error)
            {
                attempts.to_park = Some(Failing { event, error, attempts: attempt, limit });
                return Ok(Duration::ZERO);
            }
            let (consumer, attempts, source) = (self.name.clone(), attempt, error);
            return Err(self.stopped(RunnerError::Consumer { consumer, event, attempts, source }));
        }
        let wait = self.options.on_failure.backoff().wait(attempt);
        let position = event.map(Position::get);
        tracing::warn!(attempt, position, ?wait, error = %Chain(&*error), "consumer failed and will try again");
        self.board.set_phase(Phase::Retrying { attempt, next_try: Instant::now() + wait, failure });
        Ok(wait)
    }

    fn of_other_log(&self, error: StoreError) -> RunnerError {
        RunnerError::LogWentBack { consumer: self.name.clone(), source: Arc::new(error) }
    }

    fn stopped(&self, error: RunnerError) -> RunnerError {
        tracing::error!(error = %Chain(&error), "consumer stopped");
        self.board.set_phase(Phase::Stopped(error.clone()));
        error
    }
}

/// Waits until there may be events after `scanned`: a hint, or the poll interval for want of one.
async fn wait_for_news(wakeups: &mut Wakeups, scanned: Position, stop: &Stop) {
    tokio::select! {
        () = wakeups.news(scanned) => {}
        () = sleep(limits::POLL_INTERVAL) => {}
        () = stop.requested() => {}
    }
}

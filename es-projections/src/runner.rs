//! Runs consumers: views, projections, and reactors.

use std::{collections::HashMap, pin::pin, sync::Arc};

use es_core::{ConsumerName, GenerationState, OperationKind, RunnerStore};
use futures_util::future::join_all;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    builder::RunnerBuilder,
    comparison::Comparison,
    consumer_loop::ConsumerLoop,
    error::RunnerError,
    goal::Goal,
    in_place,
    member_session::{Alive, MemberSession},
    rebuild::RebuildProgress,
    side_by_side::{Build, RebuildOptions, Rebuilt, Verification, discard, drop_generation, in_state, roll_back},
    start_order::arrival,
    stop::{Stop, Stopper},
    supervisor,
    suspension_check::Suspensions,
    watchdog::Watchdog,
};

/// Keeps views, projections, and reactors up to date with the log.
///
/// A clone is another handle to the same runner. Typically one task calls [`run`](Self::run), while other tasks call
/// [`status`](Self::status) or [`wait_for`](Self::wait_for).
///
/// Runners with the same consumers share the work, in one process or in several. Each consumer, or each of its
/// [partitions](crate::ConsumerOptions::partitions), runs in one runner at a time, under a lease. Every runner has an
/// even share of the consumers that it can run. When a runner stops, the others take over immediately. When its process
/// is killed, they take over after the [lease time](crate::RunnerBuilder::lease_time). The store refuses writes under a
/// lease that another runner has taken over, and every checkpoint moves by compare-and-set. Each page therefore takes
/// effect exactly once.
#[derive(Clone)]
pub struct Runner {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn RunnerStore>,
    pub(crate) loops: Vec<Arc<ConsumerLoop>>,
    pub(crate) member_session: Arc<MemberSession>,
    suspensions: Arc<Suspensions>,
    watchdog: Watchdog,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("consumers", &self.names()).finish_non_exhaustive()
    }
}

impl Runner {
    /// Returns a builder for a runner over a store, which is cloned. An `Arc<dyn RunnerStore>` is also a store, for
    /// views and reactors.
    pub fn builder<S: RunnerStore + Clone + 'static>(store: &S) -> RunnerBuilder<S> {
        RunnerBuilder::new(store.clone())
    }

    pub(crate) fn new(
        store: Arc<dyn RunnerStore>,
        loops: Vec<Arc<ConsumerLoop>>,
        member_session: Arc<MemberSession>,
        suspensions: Arc<Suspensions>,
    ) -> Self {
        let watchdog = Watchdog::new(Arc::clone(&store), Arc::clone(&suspensions), loops.clone());
        Self { shared: Arc::new(Shared { store, loops, member_session, suspensions, watchdog }) }
    }

    pub(crate) fn known_suspensions(&self) -> &Suspensions {
        &self.shared.suspensions
    }

    /// Returns whether a consumer belongs to this runner.
    pub(crate) fn has(&self, consumer: &ConsumerName) -> bool {
        self.shared.loops.iter().any(|local| local.name() == consumer)
    }

    /// Makes a consumer of this runner read its checkpoint again in its next step.
    pub(crate) fn look_up_again(&self, consumer: &ConsumerName) {
        for local in self.shared.loops.iter().filter(|local| local.name() == consumer) {
            local.look_up_again();
        }
    }

    /// Applies all events up to the current head of the log, for every consumer. A consumer that fails does not keep
    /// the others from reaching the head.
    ///
    /// This method is safe to call while [`run`](Self::run) is running: the two take turns.
    ///
    /// # Errors
    /// Returns the error of the first consumer, in the order in which they were added, that its failure policy stopped:
    /// [`RunnerError::Consumer`], [`RunnerError::CheckpointBeyondHead`] or [`RunnerError::StartBeyondHead`]. Returns
    /// [`RunnerError::Suspended`] if a consumer is paused or disabled, and [`RunnerError::Store`] if the head could not
    /// be read.
    ///
    /// # Cancel safety
    /// If the future is dropped, each page has either been applied or not, and the next call continues from there. A
    /// reactor may receive the events of its last page again.
    pub async fn catch_up(&self) -> Result<(), RunnerError> {
        let goal = Goal::Reach(self.shared.store.head().await?);
        self.shared.suspensions.refresh().await?;
        let outcomes: HashMap<_, _> =
            self.shared.loops.iter().map(|it| (it.name().clone(), watch::Sender::new(None))).collect();
        let all = self.shared.loops.iter().map(async |consumer| {
            let result = match arrival(consumer, &outcomes).await {
                Ok(()) => consumer.drive(goal, Stop::never(), &mut |_| {}).await,
                Err(error) => Err(error),
            };
            if let Some(outcome) = outcomes.get(consumer.name()) {
                outcome.send_replace(Some(result.is_ok()));
            }
            result
        });
        self.while_alive(join_all(all)).await.into_iter().collect()
    }

    /// Keeps every consumer up to date until `shutdown` completes. Then each consumer finishes its current page (a
    /// reactor, its current event), and this method returns.
    ///
    /// A consumer that its failure policy stops does not stop the others. The [`status`](Self::status) and a `tracing`
    /// error event report the failure immediately, and this method returns it at the end. If all consumers have
    /// stopped, this method returns without waiting for `shutdown`.
    ///
    /// # Errors
    /// Returns the error of the consumer that stopped first, as in [`catch_up`](Self::catch_up).
    ///
    /// # Cancel safety
    /// Same as [`catch_up`](Self::catch_up): dropping the future is a hard stop that does no harm.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), RunnerError> {
        if self.shared.suspensions.refresh().await.is_err() {
            // Each consumer then reads its own suspension and reports what it waits for.
            self.shared.suspensions.forget();
        }
        self.shared.watchdog.while_doing(self.run_all(shutdown)).await
    }

    async fn run_all(&self, shutdown: impl Future<Output = ()>) -> Result<(), RunnerError> {
        let (stopper, stop) = Stopper::new();
        let mut tasks = JoinSet::new();
        for consumer in &self.shared.loops {
            let (consumer, stop) = (Arc::clone(consumer), stop.clone());
            tasks.spawn(async move { (consumer.name().clone(), supervisor::follow(&consumer, stop).await) });
        }
        // A consumer that stopped here may run in another process.
        let mut withdrawn = Vec::new();
        let alive = Alive::start(&self.shared.member_session);
        let (member, consumers) = (self.shared.member_session.member(), self.shared.loops.len());
        tracing::info!(member, consumers, "runner started");
        let mut result = Ok(());
        let mut shutdown = pin!(shutdown);
        let mut is_shutting_down = false;
        loop {
            tokio::select! {
                () = &mut shutdown, if !is_shutting_down => {
                    is_shutting_down = true;
                    stopper.stop();
                }
                // The supervisor has already caught panics of the task. A join error means that the runtime is shutting
                // down.
                Some(ended) = tasks.join_next() => if let Ok((consumer, ended)) = ended {
                    if ended.is_err() {
                        withdrawn.push(self.shared.member_session.withdraw(&consumer));
                    }
                    result = result.and(ended);
                }
            }
            if tasks.is_empty() && (is_shutting_down || !self.shared.loops.is_empty()) {
                break;
            }
        }
        alive.end().await;
        tracing::info!(member, "runner stopped");
        result
    }

    /// Runs a future, and sends heartbeats to the store while it runs.
    async fn while_alive<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            result = self.shared.watchdog.while_doing(work) => result,
            () = self.shared.member_session.keep_alive(false) => std::future::pending().await,
        }
    }

    /// Rebuilds the read model of a view or projection beside the live one, which remains readable and up to date. The
    /// rebuild fills the tables of a new generation, compares them with the live one at the same position, and makes
    /// the new generation live for all readers at once. The previous generation is kept, so that
    /// [`roll_back`](Self::roll_back) can return to it.
    ///
    /// If the process is killed or the future is dropped, a later call with the same code continues from the checkpoint
    /// of the rebuild. A second concurrent rebuild is refused and does not disturb the first. Reactors do not run
    /// during a rebuild. All runners whose code has the version of the new generation continue with it automatically.
    ///
    /// The method calls `on_progress` after each page; the callback should return quickly.
    ///
    /// # Errors
    /// - [`RunnerError::UnknownConsumer`] if this runner does not have the consumer.
    /// - [`RunnerError::NoReadModel`] for a reactor.
    /// - [`RunnerError::NoGenerations`] for a projection that names its own tables.
    /// - [`RunnerError::RebuildRunning`] if another rebuild is running.
    /// - [`RunnerError::ReadModelsDiffer`] if the read models must match and do not.
    /// - Those of [`catch_up`](Self::catch_up).
    ///
    /// After an error, the live read model is unchanged.
    ///
    /// # Cancel safety
    /// Safe: dropping the future has the same effect as killing the process.
    pub async fn rebuild_beside(
        &self,
        consumer: &str,
        options: RebuildOptions,
        mut on_progress: impl FnMut(RebuildProgress) + Send,
    ) -> Result<Rebuilt, RunnerError> {
        let local = self.local(consumer)?;
        let build = Build::claim(&self.shared.store, local, options.builder()).await?;
        self.note(OperationKind::REBUILD_STARTED, build.generation(), options.builder()).await;
        let rebuilt = build.run(options.verification(), &mut on_progress).await?;
        if let Rebuilt::Live { generation, .. } = &rebuilt {
            self.note(OperationKind::REBUILD_ACCEPTED, generation, options.builder()).await;
        }
        Ok(rebuilt)
    }

    /// Accepts a rebuilt read model that differs from the live one: brings it up to date and makes it live. If the
    /// rebuild was killed before the comparison, the read model goes live without being compared.
    ///
    /// # Errors
    /// Returns [`RunnerError::NoGeneration`] if there is no rebuilt generation, and
    /// [`RunnerError::BuiltByOtherVersion`] if code of another version built it. Other errors are the same as for
    /// [`rebuild_beside`](Self::rebuild_beside).
    ///
    /// # Cancel safety
    /// Safe: readers see either the old or the new generation.
    pub async fn accept_rebuild(&self, consumer: &str, by: &str) -> Result<(), RunnerError> {
        let local = self.local(consumer)?;
        let build = Build::claim_built(&self.shared.store, local, by).await?;
        build.accept().await?;
        self.note(OperationKind::REBUILD_ACCEPTED, build.generation(), by).await;
        Ok(())
    }

    /// Drops a rebuilt read model that was not accepted, whichever version of the code built it.
    ///
    /// # Errors
    /// Returns [`RunnerError::RebuildRunning`] if the rebuild is still running, and [`RunnerError::NoGeneration`] if
    /// there is no rebuilt generation.
    ///
    /// # Cancel safety
    /// Safe: the generation is either dropped or not.
    pub async fn discard_rebuild(&self, consumer: &str, by: &str) -> Result<(), RunnerError> {
        let local = self.local(consumer)?;
        discard(&self.shared.store, local, by).await?;
        self.note(OperationKind::REBUILD_DISCARDED, local.name(), by).await;
        Ok(())
    }

    /// Makes the read model from before the last rebuild live again, immediately. Readers see it as it was when it was
    /// retired, until runners whose code has its version bring it up to date. Returns the generation that is now live.
    ///
    /// # Errors
    /// Returns [`RunnerError::NoGeneration`] if no previous generation is kept.
    ///
    /// # Cancel safety
    /// Safe: readers see either one generation or the other.
    pub async fn roll_back(&self, consumer: &str, by: &str) -> Result<ConsumerName, RunnerError> {
        let generation = roll_back(&*self.shared.store, self.local(consumer)?.name()).await?;
        self.note(OperationKind::ROLLED_BACK, &generation, by).await;
        Ok(generation)
    }

    /// Drops the generations that are kept for [`roll_back`](Self::roll_back), and returns their names.
    ///
    /// # Errors
    /// Returns [`RunnerError::Store`] if the store fails.
    ///
    /// # Cancel safety
    /// Safe: each generation is either dropped or not.
    pub async fn drop_retired(&self, consumer: &str) -> Result<Vec<ConsumerName>, RunnerError> {
        let retired = in_state(&*self.shared.store, self.local(consumer)?.name(), GenerationState::Retired).await?;
        for generation in &retired {
            drop_generation(&*self.shared.store, generation).await?;
        }
        Ok(retired)
    }

    pub(crate) fn store(&self) -> &dyn RunnerStore {
        &*self.shared.store
    }

    pub(crate) fn local(&self, consumer: &str) -> Result<&Arc<ConsumerLoop>, RunnerError> {
        let local = self.shared.loops.iter().find(|local| local.name().as_str() == consumer);
        local.ok_or_else(|| self.unknown(consumer))
    }

    /// Returns the name of a consumer's checkpoint, which is the name of its live generation.
    pub(crate) async fn live_name(&self, consumer: &ConsumerName) -> Result<ConsumerName, RunnerError> {
        let live = in_state(&*self.shared.store, consumer, GenerationState::Live).await?;
        Ok(live.into_iter().next().unwrap_or_else(|| consumer.clone()))
    }

    /// Rebuilds the read model of a view or projection in place, without a comparison. Equivalent to
    /// [`rebuild_in_place`](Self::rebuild_in_place) with [`Verification::Skip`].
    ///
    /// # Errors
    /// Same as [`rebuild_in_place`](Self::rebuild_in_place).
    ///
    /// # Cancel safety
    /// Same as [`rebuild_in_place`](Self::rebuild_in_place).
    pub async fn rebuild(
        &self,
        consumer: &str,
        on_progress: impl FnMut(RebuildProgress) + Send,
    ) -> Result<(), RunnerError> {
        self.rebuild_in_place(consumer, Verification::Skip, on_progress).await.map(drop)
    }

    /// Rebuilds the read model of a view or projection in place. It empties the read model and its checkpoint in one
    /// transaction, and then applies all events up to the head of the log at the time of this call. Until that is done,
    /// readers see an incomplete read model.
    ///
    /// Unless the verification is skipped, the rebuilt read model is compared with the previous one at the position of
    /// the previous one. The previous read model is gone by then, so the comparison is for inspection only. Up to
    /// [`limits::MAX_DUMP_BYTES`](crate::limits::MAX_DUMP_BYTES) of rows are kept in memory and compared row by row.
    /// For a larger read model, only counts and hashes of ranges of rows are kept, and the comparison names [ranges of
    /// keys](Comparison::by_range). Memory use is bounded either way.
    ///
    /// The method calls `on_progress` at the beginning, after each page, and at the end; the callback should return
    /// quickly. It is safe to call this method while [`run`](Self::run) is running in this or another process: the
    /// runners continue from the current checkpoint. For a comparison, stop the runners of other processes first,
    /// because they do not wait at the position of the comparison.
    ///
    /// # Errors
    /// - [`RunnerError::UnknownConsumer`] if this runner does not have the consumer.
    /// - [`RunnerError::NoReadModel`] for a reactor.
    /// - [`RunnerError::NotComparable`] for a projection that names its own tables.
    /// - Those of [`catch_up`](Self::catch_up). The events applied until then remain applied.
    /// - After a complete rebuild: [`RunnerError::ReadModelsDiffer`] if the read models must match and do not, or
    ///   [`RunnerError::NotCompared`].
    ///
    /// # Cancel safety
    /// If the future is dropped or the process is killed, the read model is correct up to its checkpoint, and the next
    /// run, catch-up, or rebuild completes it. The comparison is lost.
    pub async fn rebuild_in_place(
        &self,
        consumer: &str,
        verification: Verification,
        mut on_progress: impl FnMut(RebuildProgress) + Send,
    ) -> Result<Option<Comparison>, RunnerError> {
        let local = self.local(consumer)?;
        self.shared.suspensions.refresh().await?;
        let rebuild = in_place::rebuild(&self.shared.store, local, verification, &mut on_progress);
        self.while_alive(rebuild).await
    }

    fn names(&self) -> Vec<ConsumerName> {
        self.shared.loops.iter().map(|consumer| consumer.name().clone()).collect()
    }

    pub(crate) fn unknown(&self, name: &str) -> RunnerError {
        RunnerError::UnknownConsumer { name: name.to_owned(), known: self.names() }
    }
}

//! Runs consumers: views, projections and reactors.

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

/// Keeps views, projections and reactors up to date with the log.
///
/// Cloning gives another handle to the same runner: one task holds [`run`](Self::run), others ask for the
/// [`status`](Self::status) or [`wait_for`](Self::wait_for) a position.
///
/// Runners with the same consumers, in one process or in several, share the work: each consumer, or each of its
/// [partitions](crate::ConsumerOptions::partitions), is run by one of them at a time, under a lease, and all have an even share of those
/// that they could run. When one stops, the others take over at once; when one is killed, after the
/// [lease time](crate::RunnerBuilder::lease_time). What is written under a lease that went to somebody else is refused, and every
/// checkpoint moves by compare-and-set, so each page takes effect once whatever happens.
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
    /// Starts to put a runner together over a store; `&store` is cloned. An `Arc<dyn RunnerStore>` is a
    /// store too, for views and reactors.
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

    /// Whether a consumer is one of this runner's.
    pub(crate) fn has(&self, consumer: &ConsumerName) -> bool {
        self.shared.loops.iter().any(|local| local.name() == consumer)
    }

    /// Lets a consumer of this runner look its checkpoint up with its next step.
    pub(crate) fn look_up_again(&self, consumer: &ConsumerName) {
        for local in self.shared.loops.iter().filter(|local| local.name() == consumer) {
            local.look_up_again();
        }
    }

    /// Applies everything up to the head of the log as of this call, for every consumer. Those that do not fail get
    /// there, whatever becomes of the others.
    ///
    /// Safe beside [`run`](Self::run): the two take turns.
    ///
    /// # Errors
    /// Of the first consumer, in the order in which they were added, that its failure policy stopped:
    /// [`RunnerError::Consumer`], [`RunnerError::CheckpointBeyondHead`] or [`RunnerError::StartBeyondHead`].
    /// [`RunnerError::Suspended`] for one that is paused or disabled. [`RunnerError::Store`] if the head could not be read.
    ///
    /// # Cancel safety
    /// Dropped half way, each page was applied or not; the next call goes on from there. A reactor may be given the
    /// events of its last page again.
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

    /// Keeps every consumer up to date until `shutdown` is ready; then each finishes its page (a reactor, its event) and
    /// this returns.
    ///
    /// A consumer that its failure policy stops does not stop the others: it is reported at once by the
    /// [`status`](Self::status) and an error event of `tracing`, and by the result at the end. If all have stopped,
    /// that is the end.
    ///
    /// # Errors
    /// Of the consumer that stopped first, as in [`catch_up`](Self::catch_up).
    ///
    /// # Cancel safety
    /// As for [`catch_up`](Self::catch_up): dropping it is a hard stop without harm.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), RunnerError> {
        if self.shared.suspensions.refresh().await.is_err() {
            // Each consumer asks by itself then, and says what it waits for.
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
        // What stopped here may run elsewhere.
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
                // Its panics were caught before this: otherwise the runtime ends.
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

    /// Does something, and tells the store meanwhile that this runner is alive.
    async fn while_alive<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            result = self.shared.watchdog.while_doing(work) => result,
            () = self.shared.member_session.keep_alive(false) => std::future::pending().await,
        }
    }

    /// Rebuilds the read model of a view or projection beside the live one, which goes on serving and following: builds the
    /// next generation in tables of its own, compares it with the live one at the same position, and puts it in its place for
    /// all readers at once. The one before is kept, to [go back](Self::roll_back) to.
    ///
    /// Killed or cancelled at any moment, it goes on from its checkpoint when it is called again, by the same code. Two at once
    /// do not disturb each other: the second is refused. Reactors do not run in it. Runners, here and elsewhere, go on with
    /// the new generation by themselves, if their code has its version.
    ///
    /// `on_progress` is called after each page, and should return quickly.
    ///
    /// # Errors
    /// [`RunnerError::UnknownConsumer`]; [`RunnerError::NoReadModel`] for a reactor; [`RunnerError::NoGenerations`] for a
    /// projection that names its tables itself; [`RunnerError::RebuildRunning`]; [`RunnerError::ReadModelsDiffer`] where they must
    /// match; those of [`catch_up`](Self::catch_up). The live read model is as it was.
    ///
    /// # Cancel safety
    /// Safe: dropped half way, it is as if it had been killed.
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

    /// Accepts a rebuilt read model that differs from the live one: brings it up to date and puts it in its place. One whose
    /// rebuild was killed before it was compared goes live without that.
    ///
    /// # Errors
    /// [`RunnerError::NoGeneration`] if none was built; [`RunnerError::BuiltByOtherVersion`] if code of another version
    /// built it; otherwise as for [`rebuild_beside`](Self::rebuild_beside).
    ///
    /// # Cancel safety
    /// Safe: readers are given one or the other.
    pub async fn accept_rebuild(&self, consumer: &str, by: &str) -> Result<(), RunnerError> {
        let local = self.local(consumer)?;
        let build = Build::claim_built(&self.shared.store, local, by).await?;
        build.accept().await?;
        self.note(OperationKind::REBUILD_ACCEPTED, build.generation(), by).await;
        Ok(())
    }

    /// Drops a read model that was built and not accepted, by code of any version.
    ///
    /// # Errors
    /// [`RunnerError::RebuildRunning`] if somebody is still building it; [`RunnerError::NoGeneration`] if there is none.
    ///
    /// # Cancel safety
    /// Safe: it is dropped or not.
    pub async fn discard_rebuild(&self, consumer: &str, by: &str) -> Result<(), RunnerError> {
        let local = self.local(consumer)?;
        discard(&self.shared.store, local, by).await?;
        self.note(OperationKind::REBUILD_DISCARDED, local.name(), by).await;
        Ok(())
    }

    /// Goes back to the read model from before the last rebuild, at once: readers are given it as it was when it was retired,
    /// and runners whose code has its version bring it up to date. Gives the generation that is live now.
    ///
    /// # Errors
    /// [`RunnerError::NoGeneration`] if none is kept.
    ///
    /// # Cancel safety
    /// Safe: readers are given one or the other.
    pub async fn roll_back(&self, consumer: &str, by: &str) -> Result<ConsumerName, RunnerError> {
        let generation = roll_back(&*self.shared.store, self.local(consumer)?.name()).await?;
        self.note(OperationKind::ROLLED_BACK, &generation, by).await;
        Ok(generation)
    }

    /// Drops the read models from before rebuilds, which are kept to go back to. Gives what was dropped.
    ///
    /// # Errors
    /// [`RunnerError::Store`].
    ///
    /// # Cancel safety
    /// Safe: each is dropped or not.
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

    /// The name of a consumer's checkpoint, which is that of its live generation.
    pub(crate) async fn live_name(&self, consumer: &ConsumerName) -> Result<ConsumerName, RunnerError> {
        let live = in_state(&*self.shared.store, consumer, GenerationState::Live).await?;
        Ok(live.into_iter().next().unwrap_or_else(|| consumer.clone()))
    }

    /// Rebuilds the read model of a view or projection in place, without a comparison: [`rebuild_in_place`](Self::rebuild_in_place)
    /// with [`Verification::Skip`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn rebuild(
        &self,
        consumer: &str,
        on_progress: impl FnMut(RebuildProgress) + Send,
    ) -> Result<(), RunnerError> {
        self.rebuild_in_place(consumer, Verification::Skip, on_progress).await.map(drop)
    }

    /// Rebuilds the read model of a view or projection in place: empties it and its checkpoint in one transaction, then
    /// applies everything up to the head of the log as of this call. Until then readers see it incomplete.
    ///
    /// Unless the verification is skipped, the rebuilt one is compared with what was there before, at the position of that; the
    /// one before is gone by then, so a difference is for a look alone. Up to [`limits::MAX_DUMP_BYTES`](crate::limits::MAX_DUMP_BYTES) of rows are
    /// remembered for that and compared row by row. Of a larger read model the counts and hashes of ranges of rows are, so that
    /// the comparison names [ranges of keys](Comparison::by_range); memory is bounded.
    ///
    /// `on_progress` is called at the beginning, after each page and at the end, and should return quickly. Safe beside
    /// [`run`](Self::run), here or elsewhere: the runners go on from wherever the checkpoint is. To compare, those elsewhere have
    /// to be stopped, since they do not wait at the position of the comparison.
    ///
    /// # Errors
    /// [`RunnerError::UnknownConsumer`], [`RunnerError::NoReadModel`] for a reactor, [`RunnerError::NotComparable`] for a
    /// projection that names its tables itself, and those of [`catch_up`](Self::catch_up). What was applied until then remains.
    /// After the rebuild has come to its end, [`RunnerError::ReadModelsDiffer`] where they must match, or
    /// [`RunnerError::NotCompared`].
    ///
    /// # Cancel safety
    /// Dropped half way (or killed), the read model is right up to its checkpoint, and the next run, catch-up or
    /// rebuild completes it. The comparison is lost.
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

//! Rebuilding beside the live read model: build, compare, swap.

use std::sync::Arc;

use es_core::{
    BuildClaim, Claimed, ConsumerName, Direction, Generation, GenerationInfo, GenerationState, PageSize, Position,
    ReadModelDefinition, ReadModelSnapshot, RunnerStore, StoreError, Swapped,
};
use tokio::time::sleep;

use crate::{
    backoff::Backoff,
    comparison::{Comparison, compare},
    consumer::Consumer,
    consumer_loop::ConsumerLoop,
    error::RunnerError,
    goal::Goal,
    limits,
    live_hold::{LiveHold, gather},
    rebuild::{RebuildMeter, RebuildProgress},
    stop::Stop,
    tail::Tail,
};

/// What to do with a rebuilt read model after it was compared with the live one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verification {
    /// The rebuild fails if the two differ. For code that has not changed.
    MustMatch,
    /// If the two differ, the rebuild shows the difference, and an operator has to accept it. For code that has
    /// changed.
    #[default]
    ShowDifference,
    /// The two are not compared.
    Skip,
}

/// The options of a rebuild beside the live read model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildOptions {
    by: String,
    verification: Verification,
}

impl RebuildOptions {
    /// Returns options for a rebuild by the named builder: a process, a person, or a host. A later rebuild under the
    /// same name continues where the earlier one stopped.
    pub fn by(by: impl Into<String>) -> Self {
        Self { by: by.into(), verification: Verification::default() }
    }

    pub(crate) fn builder(&self) -> &str {
        &self.by
    }

    pub(crate) fn verification(&self) -> Verification {
        self.verification
    }

    /// Sets what to do with the result. The default is [`Verification::ShowDifference`].
    #[must_use]
    pub fn verify(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }
}

/// The result of a rebuild beside the live read model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rebuilt {
    /// The rebuilt read model is live. The previous one is kept for a rollback.
    Live {
        /// The consumer, in the generation that is live now.
        generation: ConsumerName,
        /// The comparison of the two; `None` if they were not compared.
        comparison: Option<Comparison>,
    },
    /// The rebuilt read model differs from the live one, which readers still see. Inspect the difference, and then
    /// accept or discard the rebuilt one.
    Differs {
        /// The consumer, in the generation that was built.
        generation: ConsumerName,
        /// The difference.
        comparison: Comparison,
    },
}

/// A claimed build of one generation.
pub(crate) struct Build {
    store: Arc<dyn RunnerStore>,
    by: String,
    definition: ReadModelDefinition,
    generation: ConsumerName,
    building: ConsumerLoop,
}

impl Build {
    /// Returns the generation that is being built.
    pub(crate) fn generation(&self) -> &ConsumerName {
        &self.generation
    }

    /// Claims the next generation of a consumer. Drops a half-built generation of another version of the code.
    ///
    /// # Errors
    /// [`RunnerError::RebuildRunning`], [`RunnerError::NoGenerations`].
    pub(crate) async fn claim(
        store: &Arc<dyn RunnerStore>,
        local: &ConsumerLoop,
        by: &str,
    ) -> Result<Self, RunnerError> {
        loop {
            match claim(store, local, by).await? {
                Claimed::VersionMismatch(left) => {
                    tracing::info!(generation = %left.name, "dropping what another version of the code left half built");
                    store.drop_generation(&left.name).await?;
                }
                Claimed::Yours(info) => return Self::of(store, local, by, info),
                other => return Err(not_claimed(local, other)),
            }
        }
    }

    /// Claims a generation that was built and not accepted.
    ///
    /// # Errors
    /// [`RunnerError::NoGeneration`], [`RunnerError::BuiltByOtherVersion`], and those of [`claim`](Self::claim).
    pub(crate) async fn claim_built(
        store: &Arc<dyn RunnerStore>,
        local: &ConsumerLoop,
        by: &str,
    ) -> Result<Self, RunnerError> {
        let built = the_built(&**store, local.name()).await?;
        match claim(store, local, by).await? {
            Claimed::Yours(info) if info.name == built => Self::of(store, local, by, info),
            Claimed::Yours(new) => {
                // Another operator dropped the generation at the same moment, so this call began a new one.
                store.drop_generation(&new.name).await?;
                Err(none_built(local.name()))
            }
            Claimed::VersionMismatch(info) => Err(RunnerError::BuiltByOtherVersion {
                generation: info.name,
                built_version: info.definition.version,
                own_version: definition_of(local)?.version,
            }),
            other => Err(not_claimed(local, other)),
        }
    }

    fn of(
        store: &Arc<dyn RunnerStore>,
        local: &ConsumerLoop,
        by: &str,
        info: GenerationInfo,
    ) -> Result<Self, RunnerError> {
        let consumer = in_generation(local, info.generation())?;
        let definition = definition_of(local)?;
        let page_size = PageSize::new(limits::MOST_EVENTS_PER_REBUILD_PAGE)?;
        let tail = Arc::new(Tail::new(Arc::clone(store), [consumer.filter()].into_iter()));
        let building = ConsumerLoop::pinned(Arc::clone(store), consumer, local.options().page_size(page_size), tail);
        Ok(Self { store: Arc::clone(store), by: by.to_owned(), definition, generation: info.name, building })
    }

    /// Builds the generation and makes it live if the verification allows it.
    pub(crate) async fn run(
        &self,
        verification: Verification,
        on_progress: &mut (dyn FnMut(RebuildProgress) + Send),
    ) -> Result<Rebuilt, RunnerError> {
        let result = self.while_claimed(self.build(verification, on_progress)).await;
        // This has no effect once the generation is live.
        let released = self.store.release_build(&self.generation, &self.by).await;
        if let Err(error) = released {
            tracing::warn!(generation = %self.generation, %error, "the claim is held until its lease runs out");
        }
        result
    }

    async fn build(
        &self,
        verification: Verification,
        on_progress: &mut (dyn FnMut(RebuildProgress) + Send),
    ) -> Result<Rebuilt, RunnerError> {
        let mut meter = RebuildMeter::start(self.generation.clone(), self.store.head().await?);
        // Not beyond the live generation; otherwise the two could not be compared at the same position.
        let end = match verification {
            Verification::Skip => self.store.head().await?,
            _ => self.live().await?.position.unwrap_or_default(),
        };
        let mut on_advance = |position| on_progress(meter.at(position));
        self.drive_to(end, &mut on_advance).await?;
        self.finish().await?;
        let comparison = match verification {
            Verification::Skip => None,
            _ => Some(self.compare(&mut on_advance).await?),
        };
        let generation = self.generation.clone();
        match comparison {
            Some(comparison) if !comparison.is_same() => match verification {
                Verification::MustMatch => Err(RunnerError::ReadModelsDiffer(Box::new(comparison))),
                _ => Ok(Rebuilt::Differs { generation, comparison }),
            },
            comparison => {
                self.swap(&mut on_advance).await?;
                on_advance(Position::new(u64::MAX));
                Ok(Rebuilt::Live { generation, comparison })
            }
        }
    }

    /// Accepts the built generation: brings it up to date and makes it live.
    pub(crate) async fn accept(&self) -> Result<(), RunnerError> {
        let accepting = async {
            // The rebuild may have been killed before this step.
            self.finish().await?;
            self.swap(&mut |_| {}).await
        };
        let result = self.while_claimed(accepting).await;
        let _ = self.store.release_build(&self.generation, &self.by).await;
        result
    }

    /// Creates what is cheaper to create once at the end than to maintain while the whole history is applied.
    async fn finish(&self) -> Result<(), RunnerError> {
        self.building.steps().await.finish().await.map_err(|error| RunnerError::Consumer {
            consumer: self.generation.clone(),
            event: None,
            attempts: 1,
            source: Arc::new(error),
        })
    }

    async fn live(&self) -> Result<GenerationInfo, RunnerError> {
        Ok(self.store.live_generation(&self.generation.base(), &self.definition).await?)
    }

    /// Applies all events up to a position, and no later ones.
    async fn drive_to(&self, end: Position, on_advance: &mut (dyn FnMut(Position) + Send)) -> Result<(), RunnerError> {
        let _end = self.building.steps().await.end_at(end);
        self.building.drive(Goal::Reach(end), Stop::never(), on_advance).await
    }

    /// Compares the two generations at the current position of the live one, which may continue during the comparison.
    async fn compare(&self, on_advance: &mut (dyn FnMut(Position) + Send)) -> Result<Comparison, RunnerError> {
        let live = self.open_live_snapshot().await?;
        self.drive_to(live.position(), on_advance).await?;
        let rebuilt = self.store.open_snapshot(&self.generation).await?;
        if rebuilt.position() != live.position() {
            // The live generation was rebuilt in place, or its checkpoint was moved back.
            let (consumer, expected, actual) = (self.generation.clone(), live.position(), rebuilt.position());
            return Err(StoreError::CheckpointMoved { consumer, expected, actual }.into());
        }
        Ok(compare(live, rebuilt).await?)
    }

    /// Opens a snapshot of the live generation. If it runs as several partitions, they are merged into one for a
    /// moment, because only an unpartitioned consumer has a single position.
    async fn open_live_snapshot(&self) -> Result<ReadModelSnapshot, RunnerError> {
        let live = self.live().await?.name;
        let count = self.store.partitions(&live).await?.len();
        if count <= 1 {
            return Ok(self.store.open_snapshot(&live).await?);
        }
        let snapshot = match gather(&*self.store, &live).await {
            Ok(()) => self.store.open_snapshot(&live).await,
            Err(error) => Err(error),
        };
        self.store.repartition(&live, u16::try_from(count).unwrap_or(u16::MAX)).await?;
        Ok(snapshot?)
    }

    /// Brings the generation up to date and makes it live.
    async fn swap(&self, on_advance: &mut (dyn FnMut(Position) + Send)) -> Result<(), RunnerError> {
        let mut attempts = SwapAttempts::default();
        let mut end = self.store.head().await?;
        for _ in 0..limits::SWAP_CHASES {
            // No further than necessary: the faster this one gets there, the less the live one advances in that time.
            match self.try_swap(&mut attempts, end, on_advance).await? {
                Attempt::Done => return Ok(()),
                Attempt::Behind(live) => end = live,
                Attempt::Again => {}
            }
        }
        // The live generation is as fast as this one, so it is held for the last pages.
        let hold = LiveHold::new(&self.store, &self.generation, &self.by);
        let swapping = async {
            loop {
                hold.take(&self.live().await?.name).await?;
                match self.try_swap(&mut attempts, end, on_advance).await? {
                    Attempt::Done => return Ok(()),
                    Attempt::Behind(live) => end = live,
                    Attempt::Again => {}
                }
            }
        };
        hold.while_held(swapping).await
    }

    async fn try_swap(
        &self,
        attempts: &mut SwapAttempts,
        end: Position,
        on_advance: &mut (dyn FnMut(Position) + Send),
    ) -> Result<Attempt, RunnerError> {
        self.building.drive(Goal::Reach(end), Stop::never(), on_advance).await?;
        let attempt = attempts.make_live(&*self.store, &self.generation, Direction::Forward).await?;
        if let Attempt::Done = attempt {
            tracing::info!(generation = %self.generation, "the rebuilt read model is live");
        }
        Ok(attempt)
    }

    /// Runs a future and renews the claim while it runs. Gives up if another builder has taken over the build.
    async fn while_claimed<T>(&self, work: impl Future<Output = Result<T, RunnerError>>) -> Result<T, RunnerError> {
        tokio::select! {
            result = work => result,
            lost = self.renew() => Err(lost),
        }
    }

    /// Renews the claim until it is lost.
    async fn renew(&self) -> RunnerError {
        let claim = BuildClaim::new(&self.generation, &self.by, self.definition.clone(), limits::REBUILD_LEASE);
        let claim = match claim {
            Ok(claim) => claim,
            Err(error) => return error.into(),
        };
        loop {
            sleep(limits::REBUILD_RENEWAL_INTERVAL).await;
            match self.store.claim_build(&claim).await {
                Ok(Claimed::Yours(info)) if info.name == self.generation => {}
                Ok(Claimed::Taken(info)) => return taken(info),
                Ok(_) => {
                    let (consumer, wanted) = (self.generation.base(), GenerationState::Building);
                    return RunnerError::NoGeneration { consumer, wanted };
                }
                // The lease is longer than several renewal intervals. If it expires, nothing is lost, because pages
                // move by compare-and-set.
                Err(error) => tracing::warn!(generation = %self.generation, %error, "the claim was not renewed"),
            }
        }
    }
}

/// The attempts of one swap.
#[derive(Default)]
struct SwapAttempts {
    busy: u32,
}

/// The result of an attempt.
enum Attempt {
    Done,
    /// The live generation is ahead, at this position.
    Behind(Position),
    /// A reader blocked the swap, and this attempt has already waited.
    Again,
}

impl SwapAttempts {
    /// Tries to make a generation live.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] after the last attempt.
    async fn make_live(
        &mut self,
        store: &dyn RunnerStore,
        generation: &ConsumerName,
        direction: Direction,
    ) -> Result<Attempt, RunnerError> {
        match store.make_live(generation, direction).await {
            Ok(Swapped::Behind(live)) => Ok(Attempt::Behind(live)),
            Ok(_) => Ok(Attempt::Done),
            Err(error) => self.wait_after(error).await.map(|()| Attempt::Again),
        }
    }

    /// Waits for a moment, if readers blocked the attempt and another one is allowed.
    async fn wait_after(&mut self, error: StoreError) -> Result<(), RunnerError> {
        self.busy += 1;
        if !matches!(error, StoreError::Busy { .. }) || self.busy >= limits::SWAP_ATTEMPTS {
            return Err(error.into());
        }
        sleep(Backoff::new(limits::FIRST_SWAP_WAIT, limits::MAX_SWAP_WAIT).wait(self.busy)).await;
        Ok(())
    }
}

fn definition_of(local: &ConsumerLoop) -> Result<ReadModelDefinition, RunnerError> {
    let definition = local.blueprint().and_then(|consumer| consumer.definition());
    definition.ok_or_else(|| RunnerError::NoReadModel { consumer: local.name().clone() })
}

fn in_generation(local: &ConsumerLoop, generation: Generation) -> Result<Box<dyn Consumer>, RunnerError> {
    let no_read_model = || RunnerError::NoReadModel { consumer: local.name().clone() };
    let other = local.blueprint().ok_or_else(no_read_model)?.in_generation(generation)?;
    other.ok_or_else(|| RunnerError::NoGenerations { consumer: local.name().clone() })
}

async fn claim(store: &Arc<dyn RunnerStore>, local: &ConsumerLoop, by: &str) -> Result<Claimed, RunnerError> {
    // Checked before the claim: whether the consumer supports other generations at all.
    in_generation(local, Generation::FIRST.next())?;
    let claim = BuildClaim::new(local.name(), by, definition_of(local)?, limits::REBUILD_LEASE)?;
    Ok(store.claim_build(&claim).await?)
}

fn not_claimed(local: &ConsumerLoop, claimed: Claimed) -> RunnerError {
    match claimed {
        Claimed::Taken(info) => taken(info),
        _ => RunnerError::NoGenerations { consumer: local.name().clone() },
    }
}

fn taken(info: GenerationInfo) -> RunnerError {
    let (by, since, until) = match info.builder {
        Some(builder) => (builder.by, builder.since, builder.until),
        None => (String::new(), info.created_at, info.created_at),
    };
    RunnerError::RebuildRunning { generation: info.name, by, since, until }
}

/// Returns the generations of a consumer in one state, newest first.
pub(crate) async fn in_state(
    store: &dyn RunnerStore,
    consumer: &ConsumerName,
    state: GenerationState,
) -> Result<Vec<ConsumerName>, RunnerError> {
    let known = store.generations(consumer).await?;
    let mut names: Vec<_> = known.into_iter().filter(|info| info.state == state).map(|info| info.name).collect();
    names.reverse();
    Ok(names)
}

fn none_built(consumer: &ConsumerName) -> RunnerError {
    RunnerError::NoGeneration { consumer: consumer.clone(), wanted: GenerationState::Building }
}

/// Returns the generation that is being built, or was built and not accepted.
async fn the_built(store: &dyn RunnerStore, consumer: &ConsumerName) -> Result<ConsumerName, RunnerError> {
    let built = in_state(store, consumer, GenerationState::Building).await?;
    built.into_iter().next().ok_or_else(|| none_built(consumer))
}

/// Drops a generation that was built and not accepted, by code of any version, unless a builder is working on it.
pub(crate) async fn discard(store: &Arc<dyn RunnerStore>, local: &ConsumerLoop, by: &str) -> Result<(), RunnerError> {
    the_built(&**store, local.name()).await?;
    match claim(store, local, by).await? {
        Claimed::Yours(info) | Claimed::VersionMismatch(info) => drop_generation(&**store, &info.name).await,
        other => Err(not_claimed(local, other)),
    }
}

/// Drops a generation that is not live, as soon as no reader blocks it.
pub(crate) async fn drop_generation(store: &dyn RunnerStore, generation: &ConsumerName) -> Result<(), RunnerError> {
    let mut attempts = SwapAttempts::default();
    while let Err(error) = store.drop_generation(generation).await {
        attempts.wait_after(error).await?;
    }
    Ok(())
}

/// Makes the newest retired generation live again, in the state in which it was retired.
pub(crate) async fn roll_back(store: &dyn RunnerStore, consumer: &ConsumerName) -> Result<ConsumerName, RunnerError> {
    let wanted = GenerationState::Retired;
    let newest = in_state(store, consumer, wanted).await?.into_iter().next();
    let newest = newest.ok_or_else(|| RunnerError::NoGeneration { consumer: consumer.clone(), wanted })?;
    let mut attempts = SwapAttempts::default();
    while !matches!(attempts.make_live(store, &newest, Direction::Back).await?, Attempt::Done) {}
    tracing::warn!(generation = %newest, "went back to the read model from before the rebuild");
    Ok(newest)
}

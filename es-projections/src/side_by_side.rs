//! Rebuilding beside the live read model: build, compare, swap.

use std::{sync::Arc, time::Duration};

use es_core::{
    BuildClaim, Claimed, ConsumerName, Direction, Generation, GenerationInfo, GenerationState, PageSize, Position,
    ReadModelCode, RunnerStore, StoreError, Swapped,
};
use tokio::time::{sleep, timeout};

use crate::{
    backoff::Backoff,
    comparison::{Comparison, compare},
    consumer_loop::{ConsumerLoop, Goal},
    error::RunnerError,
    limits,
    options::ConsumerOptions,
    rebuild::{RebuildMeter, RebuildProgress},
    stop::Stop,
    tail::Tail,
};

/// What is to become of a rebuilt read model that was compared with the live one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verification {
    /// It must be the same, or else the rebuild fails. For code that has not changed.
    MustMatch,
    /// If it differs, the difference is shown, and somebody has to accept it. For code that has changed.
    #[default]
    ShowDifference,
    /// It is not compared.
    Skip,
}

/// How a read model is rebuilt beside the live one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildOptions {
    by: String,
    verification: Verification,
}

impl RebuildOptions {
    /// A rebuild by somebody, as they call themselves: a process, a person, a host. The same name again goes on with what it
    /// was building.
    pub fn by(by: impl Into<String>) -> Self {
        Self { by: by.into(), verification: Verification::default() }
    }

    pub(crate) fn builder(&self) -> &str {
        &self.by
    }

    pub(crate) fn verification(&self) -> Verification {
        self.verification
    }

    /// What is to become of the result; [`Verification::ShowDifference`] if not said.
    #[must_use]
    pub fn verify(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }
}

/// What came of a rebuild beside the live read model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rebuilt {
    /// Readers are given the rebuilt read model. The one before is kept, to go back to.
    Live {
        /// The consumer, in the generation that is live now.
        generation: ConsumerName,
        /// How it compared; `None` if it was not.
        comparison: Option<Comparison>,
    },
    /// The rebuilt read model differs from the live one, which readers are still given. Look at the difference, and then accept
    /// or discard it.
    Differs {
        /// The consumer, in the generation that was built.
        generation: ConsumerName,
        /// How it differs.
        comparison: Comparison,
    },
}

/// A build of one generation that was claimed.
pub(crate) struct Build {
    store: Arc<dyn RunnerStore>,
    by: String,
    code: ReadModelCode,
    generation: ConsumerName,
    building: Arc<ConsumerLoop>,
}

impl Build {
    /// Claims the next generation of a consumer.
    ///
    /// # Errors
    /// [`RunnerError::RebuildRunning`], [`RunnerError::NoGenerations`].
    pub(crate) async fn claim(
        store: &Arc<dyn RunnerStore>,
        local: &ConsumerLoop,
        options: &ConsumerOptions,
        by: &str,
    ) -> Result<Self, RunnerError> {
        let name = local.name();
        let no_generations = || RunnerError::NoGenerations { consumer: name.clone() };
        let no_read_model = || RunnerError::NoReadModel { consumer: name.clone() };
        let consumer = local.blueprint().ok_or_else(no_read_model)?;
        let code = consumer.code().ok_or_else(no_read_model)?;
        // Asked before anything is claimed: whether it has others at all.
        consumer.in_generation(Generation::FIRST.next())?.ok_or_else(no_generations)?;
        let claim = BuildClaim::new(name, by, code.clone(), limits::REBUILD_LEASE)?;
        let info = loop {
            match store.claim_build(&claim).await? {
                Claimed::Yours(info) => break info,
                Claimed::OtherCode(left) => {
                    tracing::info!(generation = %left.name, "dropping what other code left half built");
                    store.drop_generation(&left.name).await?;
                }
                Claimed::Taken(info) => return Err(taken(info)),
                _ => return Err(no_generations()),
            }
        };
        let consumer = consumer.in_generation(info.generation())?.ok_or_else(no_generations)?;
        let page_size = PageSize::new(limits::MOST_EVENTS_PER_REBUILD_PAGE)?;
        let tail = Arc::new(Tail::new(Arc::clone(store), [consumer.filter()].into_iter()));
        let building = ConsumerLoop::pinned(Arc::clone(store), consumer, options.page_size(page_size), tail);
        let (store, by, building) = (Arc::clone(store), by.to_owned(), Arc::new(building));
        Ok(Self { store, by, code, generation: info.name, building })
    }

    /// Builds it and puts it in the live one's place, as far as the verification allows.
    pub(crate) async fn run(
        &self,
        verification: Verification,
        on_progress: &mut (dyn FnMut(RebuildProgress) + Send),
    ) -> Result<Rebuilt, RunnerError> {
        let result = self.while_claimed(self.build(verification, on_progress)).await;
        // Of no effect once it is live.
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
        // Not beyond the live one, or the two could not be compared at one position.
        let bounds = || async {
            let live = self.live().await?.position.unwrap_or_default();
            Ok::<_, RunnerError>(match verification {
                Verification::Skip => self.store.head().await?,
                _ => live,
            })
        };
        let mut on_advance = |position| on_progress(meter.at(position));
        self.drive_to(bounds().await?, &mut on_advance).await?;
        self.building.steps().await.finish().await.map_err(|error| RunnerError::Consumer {
            consumer: self.generation.clone(),
            event: None,
            attempts: 1,
            source: Arc::new(error),
        })?;
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

    /// Accepts what was built: brings it up to date and puts it in the live one's place.
    pub(crate) async fn accept(&self) -> Result<(), RunnerError> {
        let result = self.while_claimed(self.swap(&mut |_| {})).await;
        let _ = self.store.release_build(&self.generation, &self.by).await;
        result
    }

    async fn live(&self) -> Result<GenerationInfo, RunnerError> {
        Ok(self.store.live_generation(&self.generation.base(), &self.code).await?)
    }

    /// Applies everything up to a position, and nothing after it.
    async fn drive_to(&self, end: Position, on_advance: &mut (dyn FnMut(Position) + Send)) -> Result<(), RunnerError> {
        self.building.steps().await.end_at(Some(end));
        let driven = self.building.drive(Goal::Reach(end), Stop::never(), on_advance).await;
        self.building.steps().await.end_at(None);
        driven
    }

    /// Compares the two at the position at which the live one is now. It may go on meanwhile.
    async fn compare(&self, on_advance: &mut (dyn FnMut(Position) + Send)) -> Result<Comparison, RunnerError> {
        let live = self.store.freeze(&self.live().await?.name).await?;
        self.drive_to(live.position(), on_advance).await?;
        let rebuilt = self.store.freeze(&self.generation).await?;
        if rebuilt.position() != live.position() {
            // The live one was rebuilt in place, or moved back.
            let (consumer, expected, actual) = (self.generation.clone(), live.position(), rebuilt.position());
            return Err(StoreError::CheckpointMoved { consumer, expected, actual }.into());
        }
        Ok(compare(live, rebuilt).await?)
    }

    /// Brings it up to date and puts it in the live one's place.
    async fn swap(&self, on_advance: &mut (dyn FnMut(Position) + Send)) -> Result<(), RunnerError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            // To where there is nothing newer: then the live one is ahead only by what comes in this very moment. Where more
            // comes in than can be applied, the live one is not at the end either.
            let most = self.store.head().await?.advanced_by(limits::MOST_EVENTS_PER_REBUILD_PAGE as u64);
            let to_the_end = self.building.drive(Goal::Reach(most), Stop::never(), on_advance);
            if let Ok(driven) = timeout(limits::SWAP_CATCH_UP, to_the_end).await {
                driven?;
            }
            match self.store.make_live(&self.generation, Direction::Forward).await {
                Ok(Swapped::Done) => {
                    tracing::info!(generation = %self.generation, "the rebuilt read model is live");
                    return Ok(());
                }
                Ok(_) if attempt < limits::SWAP_ATTEMPTS => {}
                Ok(_) => {
                    let waiting_for = "a moment in which the rebuilt read model is not behind the live one".to_owned();
                    return Err(StoreError::Busy { waiting_for, source: None }.into());
                }
                Err(StoreError::Busy { .. }) if attempt < limits::SWAP_ATTEMPTS => {
                    let backoff = Backoff::new(limits::FIRST_YIELD, limits::MAX_YIELD);
                    sleep(backoff.wait(attempt)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Does something, and says meanwhile that it goes on; gives up if somebody else has taken the build over.
    async fn while_claimed<T>(&self, work: impl Future<Output = Result<T, RunnerError>>) -> Result<T, RunnerError> {
        tokio::select! {
            result = work => result,
            lost = self.renew() => Err(lost),
        }
    }

    /// Renews the claim until it is lost.
    async fn renew(&self) -> RunnerError {
        let claim = BuildClaim::new(&self.generation, &self.by, self.code.clone(), limits::REBUILD_LEASE);
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
                // The lease is longer than a few of these. If it runs out, nothing is lost: pages move by compare-and-set.
                Err(error) => tracing::warn!(generation = %self.generation, %error, "the claim was not renewed"),
            }
        }
    }
}

fn taken(info: GenerationInfo) -> RunnerError {
    let (by, since, until) = match info.builder {
        Some(builder) => (builder.by, builder.since, builder.until),
        None => (String::new(), info.created_at, info.created_at),
    };
    RunnerError::RebuildRunning { generation: info.name, by, since, until }
}

/// The generations of a consumer in one state, newest first.
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

/// Drops what was built and not accepted, unless somebody builds it now.
pub(crate) async fn discard(store: &Arc<dyn RunnerStore>, local: &ConsumerLoop, by: &str) -> Result<(), RunnerError> {
    let wanted = GenerationState::Building;
    if in_state(&**store, local.name(), wanted).await?.is_empty() {
        return Err(RunnerError::NoGeneration { consumer: local.name().clone(), wanted });
    }
    let build = Build::claim(store, local, local.options(), by).await?;
    Ok(store.drop_generation(&build.generation).await?)
}

/// Puts the newest retired generation back in the live one's place, as it was then.
pub(crate) async fn roll_back(store: &dyn RunnerStore, consumer: &ConsumerName) -> Result<ConsumerName, RunnerError> {
    let wanted = GenerationState::Retired;
    let newest = in_state(store, consumer, wanted).await?.into_iter().next();
    let newest = newest.ok_or_else(|| RunnerError::NoGeneration { consumer: consumer.clone(), wanted })?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        match store.make_live(&newest, Direction::Back).await {
            Ok(_) => {
                tracing::warn!(generation = %newest, "went back to the read model from before the rebuild");
                return Ok(newest);
            }
            Err(StoreError::Busy { .. }) if attempt < limits::SWAP_ATTEMPTS => sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error.into()),
        }
    }
}

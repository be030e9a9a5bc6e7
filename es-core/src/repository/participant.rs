//! One aggregate that takes part in a command: loaded, asked for its decision, told the outcome.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Loaded, Outcome, Repository, load::Next, turns::Turns};
use crate::{
    aggregate::Aggregate,
    append::{Appended, StreamAppend},
    error::{ExecuteError, LoadError, StoreError},
    event::{NewEvent, Recorded},
    expected_version::ExpectedVersion,
    metadata::Metadata,
    stream_id::StreamId,
    version::Version,
};

type Decision<A> = Result<Vec<<A as Aggregate>::Event>, <A as Aggregate>::Error>;

/// A decision that can be made again after a conflict.
pub(super) type Decide<A> = Arc<dyn Fn(Arc<A>) -> Pin<Box<dyn Future<Output = Decision<A>> + Send>> + Send + Sync>;

pub(super) fn decide_by<A, F, Fut>(decide: F) -> Decide<A>
where
    A: Aggregate,
    F: Fn(Arc<A>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Decision<A>> + Send + 'static,
{
    Arc::new(move |state| Box::pin(decide(state)))
}

/// What every event of one command is stamped with.
#[derive(Debug, Clone, Default)]
pub(super) struct Stamp {
    pub(super) metadata: Metadata,
    pub(super) occurred_at: Option<OffsetDateTime>,
}

impl Stamp {
    /// Causation and correlation default to an id of the command's own, which its events share.
    pub(super) fn complete(mut self) -> Self {
        let own_id = Uuid::now_v7();
        if self.metadata.causation().is_none() {
            self.metadata = self.metadata.with_causation(own_id);
        }
        if self.metadata.correlation().is_none() {
            self.metadata = self.metadata.with_correlation(own_id);
        }
        self
    }
}

pub(super) struct Participant<A: Aggregate> {
    repository: Repository<A>,
    stream: StreamId,
    decide: Decide<A>,
    expecting: Option<ExpectedVersion>,
    loaded: Loaded<A>,
    /// Whether `loaded` was read from the store by this command, or only assumed, or was at hand.
    is_read: bool,
    /// Whether `loaded` is the state that was at hand at first.
    is_at_hand: bool,
    decided: Vec<(A::Event, NewEvent)>,
}

impl<A: Aggregate> Participant<A> {
    pub(super) fn new(
        repository: Repository<A>,
        stream: StreamId,
        decide: Decide<A>,
        expecting: Option<ExpectedVersion>,
    ) -> Self {
        Self {
            repository,
            stream,
            decide,
            expecting,
            loaded: Loaded::nothing(),
            is_read: false,
            is_at_hand: false,
            decided: Vec::new(),
        }
    }

    pub(super) fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Whose turn it is at its stream.
    pub(super) fn turns(&self) -> &Arc<Turns> {
        &self.repository.shared.turns
    }

    /// Finds the state for the first decision: the one at hand, whose mistakes will be noticed, or else what the store
    /// holds. Whoever expects no stream needs neither: the append checks it.
    pub(super) async fn load(&mut self) -> Result<(), ExecuteError<A::Error>> {
        if let Some(ExpectedVersion::NoStream | ExpectedVersion::Exact(Version::ZERO)) = self.expecting {
            return Ok(());
        }
        if let Some(at_hand) = self.repository.at_hand(&self.stream)
            && self.expecting.is_none_or(|expected| expected.accepts(at_hand.version))
        {
            (self.loaded, self.is_at_hand) = (at_hand, true);
            if self.repository.is_mostly_fresh() {
                return Ok(());
            }
            // Other processes write to the same streams. To look first costs less than to fail.
            return self.read_tail().await;
        }
        self.loaded = self.repository.load_stream(&self.stream).await?;
        self.is_read = true;
        self.check_expectation()
    }

    /// Whether a conflict says no more than that the state at hand was stale.
    pub(super) fn is_excused(&self) -> bool {
        self.is_at_hand
    }

    /// After a conflict: takes the state that the winner has left at hand, or reads the tail; or everything, snapshot
    /// or not, if the stream holds other events than the ones that were read.
    pub(super) async fn reload(&mut self, actual: Version, may_be_at_hand: bool) -> Result<(), ExecuteError<A::Error>> {
        if std::mem::take(&mut self.is_at_hand) {
            self.repository.note_use(true);
        }
        if actual <= self.loaded.version {
            self.forget();
            self.loaded = Loaded::nothing();
        } else if may_be_at_hand
            && self.expecting.is_none()
            && let Some(newer) = self.repository.at_hand(&self.stream)
            && newer.version >= actual
        {
            (self.loaded, self.is_read) = (newer, false);
            return Ok(());
        }
        self.read_tail().await
    }

    /// Looks at the tail, unless this command has done so. Says whether the state has changed.
    pub(super) async fn confirm(&mut self) -> Result<bool, ExecuteError<A::Error>> {
        if self.is_read {
            return Ok(false);
        }
        let (version, last_event) = (self.loaded.version, self.loaded.last_event);
        self.read_tail().await?;
        Ok((version, last_event) != (self.loaded.version, self.loaded.last_event))
    }

    /// Does not keep the state at hand any more.
    pub(super) fn forget(&self) {
        self.repository.forget(&self.stream, &self.loaded);
    }

    async fn read_tail(&mut self) -> Result<(), ExecuteError<A::Error>> {
        let last_event = self.loaded.last_event;
        self.repository.load_tail(&self.stream, &mut self.loaded).await?;
        if self.is_at_hand {
            self.repository.note_use(last_event != self.loaded.last_event);
        }
        (self.is_read, self.is_at_hand) = (true, false);
        self.check_expectation()
    }

    fn check_expectation(&self) -> Result<(), ExecuteError<A::Error>> {
        match self.expecting {
            Some(expected) if !expected.accepts(self.loaded.version) => {
                let (stream, actual) = (self.stream.clone(), self.loaded.version);
                Err(StoreError::Conflict { stream, expected, actual }.into())
            }
            _ => Ok(()),
        }
    }

    /// Asks for the decision. A refusal from a state that was not read by this command is confirmed first: no append
    /// will check it.
    pub(super) async fn decide(&mut self, stamp: &Stamp) -> Result<(), ExecuteError<A::Error>> {
        let result = self.ask(stamp).await;
        if result.is_err() && self.confirm().await? { self.ask(stamp).await } else { result }
    }

    async fn ask(&mut self, stamp: &Stamp) -> Result<(), ExecuteError<A::Error>> {
        let decision = (self.decide)(Arc::clone(&self.loaded.state)).await;
        self.decided.clear();
        for event in decision.map_err(ExecuteError::Rejected)? {
            let mut new_event = NewEvent::of(&event)?.with_metadata(stamp.metadata.clone());
            if let Some(time) = stamp.occurred_at {
                new_event = new_event.with_occurred_at(time);
            }
            self.decided.push((event, new_event));
        }
        Ok(())
    }

    /// The decision as a part of an append.
    pub(super) fn part(&self) -> StreamAppend {
        let new_events = self.decided.iter().map(|(_, new_event)| new_event.clone()).collect();
        let expected = ExpectedVersion::Exact(self.loaded.version);
        StreamAppend::new(self.stream.clone(), expected, new_events).decided_after(self.loaded.last_event)
    }

    /// The outcome of the decision that was appended, or of one that needed no events.
    pub(super) async fn finish(mut self, appended: Option<&Appended>) -> Outcome<A> {
        let before = self.loaded.version;
        let mut events = Vec::with_capacity(self.decided.len());
        if let Some((appended, place)) = appended.and_then(|a| Some((a, a.stream(&self.stream)?))) {
            for (offset, (event, new_event)) in (0..).zip(self.decided) {
                let version = place.first_version.advanced_by(offset);
                let position = place.first_position.advanced_by(offset);
                self.loaded.apply(&event);
                self.loaded.advance(version, new_event.id(), new_event.payload().as_str().len());
                let recorded = new_event.recorded(self.stream.clone(), version, position, appended.recorded_at);
                events.push(Recorded::new(event, recorded.into_parts().0));
            }
            if self.is_at_hand {
                self.repository.note_use(false);
            }
            self.repository.keep(&self.stream, &self.loaded);
        }
        if let Some(snapshots) = &self.repository.shared.snapshots {
            snapshots.save_if_due(&self.stream, before, &self.loaded).await;
        }
        let Loaded { state, version, .. } = self.loaded;
        Outcome { stream: self.stream, state, version, events }
    }

    /// The outcome that an earlier command with the same key or the same events had.
    pub(super) async fn recall(self, appended: &Appended) -> Result<Outcome<A>, LoadError> {
        let Some(place) = appended.stream(&self.stream) else {
            let Loaded { state, version, .. } = self.repository.load_stream(&self.stream).await?;
            return Ok(Outcome { stream: self.stream, state, version, events: Vec::new() });
        };
        let mut events = Vec::new();
        let mut state = A::default();
        let decoder = &self.repository.shared.decoder;
        let read = self.repository.read_on(&self.stream, Version::ZERO, None, |event| {
            if event.version() < place.first_version {
                decoder.visit(event, &mut |event| state.apply(&event))?;
            } else if event.version() <= place.last_version {
                let parts = decoder.decode(event.clone())?;
                parts.iter().for_each(|part| state.apply(&part.event));
                events.extend(parts);
            }
            Ok(if event.version() < place.last_version { Next::Event } else { Next::Enough })
        });
        read.await?;
        let state = Arc::new(state);
        Ok(Outcome { stream: self.stream, state, version: place.last_version, events })
    }
}

/// A participant of another aggregate type than the command's first one.
#[async_trait]
pub(super) trait OtherParticipant: Send + Sync {
    fn stream(&self) -> &StreamId;
    fn turns(&self) -> &Arc<Turns>;
    async fn load(&mut self) -> Result<(), ExecuteError<Infallible>>;
    fn is_excused(&self) -> bool;
    async fn reload(&mut self, actual: Version, may_be_at_hand: bool) -> Result<(), ExecuteError<Infallible>>;
    async fn confirm(&mut self) -> Result<bool, ExecuteError<Infallible>>;
    fn forget(&self);
    async fn decide(&mut self, stamp: &Stamp) -> Result<(), ExecuteError<Infallible>>;
    fn part(&self) -> StreamAppend;
    async fn finish(self: Box<Self>, appended: Option<&Appended>);
}

#[async_trait]
impl<A: Aggregate> OtherParticipant for Participant<A> {
    fn stream(&self) -> &StreamId {
        &self.stream
    }

    fn turns(&self) -> &Arc<Turns> {
        self.turns()
    }

    async fn load(&mut self) -> Result<(), ExecuteError<Infallible>> {
        self.load().await.map_err(|error| error.by_participant(&self.stream))
    }

    fn is_excused(&self) -> bool {
        self.is_excused()
    }

    async fn reload(&mut self, actual: Version, may_be_at_hand: bool) -> Result<(), ExecuteError<Infallible>> {
        self.reload(actual, may_be_at_hand).await.map_err(|error| error.by_participant(&self.stream))
    }

    async fn confirm(&mut self) -> Result<bool, ExecuteError<Infallible>> {
        self.confirm().await.map_err(|error| error.by_participant(&self.stream))
    }

    fn forget(&self) {
        self.forget();
    }

    async fn decide(&mut self, stamp: &Stamp) -> Result<(), ExecuteError<Infallible>> {
        self.decide(stamp).await.map_err(|error| error.by_participant(&self.stream))
    }

    fn part(&self) -> StreamAppend {
        self.part()
    }

    async fn finish(self: Box<Self>, appended: Option<&Appended>) {
        (*self).finish(appended).await;
    }
}

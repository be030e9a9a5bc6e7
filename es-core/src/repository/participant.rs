//! One aggregate that takes part in a command: it is loaded, decides, and receives the outcome.

use std::{convert::Infallible, future::ready, pin::Pin, sync::Arc};

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{CommandContext, CommandQueue, Loaded, Outcome, Repository, recall::Recalled};
use crate::{
    aggregate::Aggregate,
    append::{Appended, StreamAppend},
    codec::{encode::encode_event, json_value::canonical_json},
    domain_event::DomainEvent,
    error::{ExecuteError, LoadError, StoreError},
    event::{EventType, NewEvent, Payload, Recorded, RecordedEvent},
    expected_version::ExpectedVersion,
    metadata::Metadata,
    stream_id::StreamId,
    version::Version,
};

type Decision<A> = Result<Vec<<A as Aggregate>::Event>, <A as Aggregate>::Error>;

/// A decision that can be made again after a conflict.
pub(super) type Decide<A> =
    Arc<dyn Fn(Arc<A>, &CommandContext) -> Pin<Box<dyn Future<Output = Decision<A>> + Send>> + Send + Sync>;

/// Whether the decision is the aggregate's own, and may therefore run more often than necessary.
#[derive(Debug, Clone, Copy)]
pub(super) struct IsPure(pub(super) bool);

/// Returns the aggregate's own decision about a command.
pub(super) fn handle_by<A: Aggregate>(command: A::Command) -> Decide<A> {
    Arc::new(move |state, context| Box::pin(ready(state.handle_at(&command, context))))
}

pub(super) fn decide_by<A, F, Fut>(decide: F) -> Decide<A>
where
    A: Aggregate,
    F: Fn(Arc<A>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Decision<A>> + Send + 'static,
{
    Arc::new(move |state, _| Box::pin(decide(state)))
}

/// The metadata that all events of one command share.
#[derive(Debug, Clone, Default)]
pub(super) struct Stamp {
    pub(super) metadata: Metadata,
    pub(super) occurred_at: Option<OffsetDateTime>,
}

impl Stamp {
    /// Adds a causation and a correlation if they are missing: an ID of the command's own, which its events share.
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

    /// Returns the context that a decision receives.
    fn context(&self) -> CommandContext {
        self.occurred_at.map_or_else(CommandContext::new, |time| CommandContext::new().with_occurred_at(time))
    }
}

pub(super) struct Participant<A: Aggregate> {
    repository: Repository<A>,
    stream: StreamId,
    decide: Decide<A>,
    is_pure: bool,
    expecting: Option<ExpectedVersion>,
    loaded: Loaded<A>,
    /// Whether this command read `loaded` from the store. Otherwise it was assumed or cached.
    is_read: bool,
    /// Whether `loaded` is the state that was in the cache at first.
    is_cached: bool,
    decided: Vec<(A::Event, NewEvent)>,
}

impl<A: Aggregate> Participant<A> {
    pub(super) fn new(
        repository: Repository<A>,
        stream: StreamId,
        decide: Decide<A>,
        IsPure(is_pure): IsPure,
        expecting: Option<ExpectedVersion>,
    ) -> Self {
        Self {
            repository,
            stream,
            decide,
            is_pure,
            expecting,
            loaded: Loaded::nothing(),
            is_read: false,
            is_cached: false,
            decided: Vec::new(),
        }
    }

    pub(super) fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// See [`Repository::expects_repetition`].
    pub(super) fn expects_repetition(&self) -> bool {
        self.repository.expects_repetition()
    }

    /// See [`Repository::note_repetition`].
    pub(super) fn note_repetition(&self, is_repetition: bool) {
        self.repository.note_repetition(is_repetition);
    }

    /// Returns the queue in which the command waits for its turn at the stream.
    pub(super) fn queue(&self) -> &CommandQueue {
        &self.repository.shared.queue
    }

    /// Finds the state for the first decision: the cached one, whose staleness will be detected, or else the one in the
    /// store. A command that expects no stream needs neither, because the append checks it.
    pub(super) async fn load(&mut self) -> Result<(), ExecuteError<A::Error>> {
        if let Some(ExpectedVersion::NoStream | ExpectedVersion::Exact(Version::ZERO)) = self.expecting {
            return Ok(());
        }
        if let Some(cached) = self.repository.cached(&self.stream)
            && self.expecting.is_none_or(|expected| expected.accepts(cached.version))
        {
            (self.loaded, self.is_cached) = (cached, true);
            if self.repository.is_mostly_fresh() {
                return Ok(());
            }
            // Other processes write to the same streams, so reading first costs less than failing.
            return self.read_tail().await;
        }
        self.loaded = self.repository.load_stream(&self.stream).await?;
        self.is_read = true;
        self.check_expectation()
    }

    /// Returns whether a conflict only means that the cached state was stale.
    pub(super) fn is_excused(&self) -> bool {
        self.is_cached
    }

    /// Updates the state after a conflict: takes the state that the winner cached, or reads the tail. If the stream
    /// contains other events than those that were read, it reads the whole stream, without a snapshot.
    pub(super) async fn reload(&mut self, actual: Version, may_be_cached: bool) -> Result<(), ExecuteError<A::Error>> {
        if std::mem::take(&mut self.is_cached) {
            self.repository.note_use(true);
        }
        if actual <= self.loaded.version {
            self.forget();
            self.loaded = Loaded::nothing();
        } else if may_be_cached
            && self.expecting.is_none()
            && let Some(newer) = self.repository.cached(&self.stream)
            && newer.version >= actual
        {
            (self.loaded, self.is_read) = (newer, false);
            return Ok(());
        }
        self.read_tail().await
    }

    /// Reads the tail, unless this command has already done so. Returns whether the state has changed.
    pub(super) async fn confirm(&mut self) -> Result<bool, ExecuteError<A::Error>> {
        if self.is_read {
            return Ok(false);
        }
        let (version, last_event) = (self.loaded.version, self.loaded.last_event);
        self.read_tail().await?;
        Ok((version, last_event) != (self.loaded.version, self.loaded.last_event))
    }

    /// Removes the state from the cache.
    pub(super) fn forget(&self) {
        self.repository.forget(&self.stream, &self.loaded);
    }

    async fn read_tail(&mut self) -> Result<(), ExecuteError<A::Error>> {
        let last_event = self.loaded.last_event;
        self.repository.load_tail(&self.stream, &mut self.loaded).await?;
        if self.is_cached {
            self.repository.note_use(last_event != self.loaded.last_event);
        }
        (self.is_read, self.is_cached) = (true, false);
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

    /// Asks for the decision. A rejection based on a state that this command has not read is confirmed first, because
    /// no append will check it.
    pub(super) async fn decide(&mut self, stamp: &Stamp) -> Result<(), ExecuteError<A::Error>> {
        let result = self.ask(stamp).await;
        if result.is_err() && self.confirm().await? { self.ask(stamp).await } else { result }
    }

    async fn ask(&mut self, stamp: &Stamp) -> Result<(), ExecuteError<A::Error>> {
        let decision = (self.decide)(Arc::clone(&self.loaded.state), &stamp.context()).await;
        let metadata = stamp.metadata.clone().with_schema_version(A::Event::SCHEMA_VERSION);
        self.decided.clear();
        for event in decision.map_err(ExecuteError::Rejected)? {
            let mut new_event = NewEvent::of(&event)?.with_metadata(metadata.clone());
            if let Some(time) = stamp.occurred_at {
                new_event = new_event.with_occurred_at(time);
            }
            self.decided.push((event, new_event));
        }
        Ok(())
    }

    /// Returns the decision as a part of an append.
    pub(super) fn part(&self) -> StreamAppend {
        let new_events = self.decided.iter().map(|(_, new_event)| new_event.clone()).collect();
        let expected = ExpectedVersion::Exact(self.loaded.version);
        StreamAppend::new(self.stream.clone(), expected, new_events).decided_after(self.loaded.last_event)
    }

    /// Returns the outcome of the decision that was appended, or of one that needed no events.
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
            if self.is_cached {
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

    /// Returns the outcome of an earlier command with the same key. With a stamp, the aggregate's own decision is made
    /// again on the state of that time. Also returns whether it is still the same decision.
    pub(super) async fn recall(
        &self,
        appended: &Appended,
        compared: Option<&Stamp>,
    ) -> Result<(Outcome<A>, bool), LoadError> {
        let recalled = self.repository.recall(&self.stream, appended).await?;
        let Recalled { before, state, version, stored, events, .. } = recalled;
        let is_same = match compared.filter(|_| self.is_pure) {
            Some(stamp) => {
                let decision = (self.decide)(before.state, &stamp.context()).await;
                decision.is_ok_and(|decided| is_same_decision(&decided, &stored, &events))
            }
            None => true,
        };
        Ok((Outcome { stream: self.stream.clone(), state, version, events }, is_same))
    }
}

/// A participant of another aggregate type than that of the command's first one.
#[async_trait]
pub(super) trait OtherParticipant: Send + Sync {
    fn stream(&self) -> &StreamId;
    fn queue(&self) -> &CommandQueue;
    async fn load(&mut self) -> Result<(), ExecuteError<Infallible>>;
    fn is_excused(&self) -> bool;
    async fn reload(&mut self, actual: Version, may_be_cached: bool) -> Result<(), ExecuteError<Infallible>>;
    async fn confirm(&mut self) -> Result<bool, ExecuteError<Infallible>>;
    fn forget(&self);
    async fn decide(&mut self, stamp: &Stamp) -> Result<(), ExecuteError<Infallible>>;
    fn part(&self) -> StreamAppend;
    async fn finish(self: Box<Self>, appended: Option<&Appended>);
    async fn decides_as_before(&self, appended: &Appended, stamp: &Stamp) -> Result<bool, LoadError>;
}

#[async_trait]
impl<A: Aggregate> OtherParticipant for Participant<A> {
    fn stream(&self) -> &StreamId {
        &self.stream
    }

    fn queue(&self) -> &CommandQueue {
        self.queue()
    }

    async fn load(&mut self) -> Result<(), ExecuteError<Infallible>> {
        self.load().await.map_err(|error| error.by_participant(&self.stream))
    }

    fn is_excused(&self) -> bool {
        self.is_excused()
    }

    async fn reload(&mut self, actual: Version, may_be_cached: bool) -> Result<(), ExecuteError<Infallible>> {
        self.reload(actual, may_be_cached).await.map_err(|error| error.by_participant(&self.stream))
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

    async fn decides_as_before(&self, appended: &Appended, stamp: &Stamp) -> Result<bool, LoadError> {
        Ok(self.recall(appended, Some(stamp)).await?.1)
    }
}

/// Returns whether a decision is the same as a recorded one: either as stored, or as current code would write it.
fn is_same_decision<E: DomainEvent>(decided: &[E], stored: &[RecordedEvent], recorded: &[Recorded<E>]) -> bool {
    let Some(decided) = encoded(decided.iter()) else { return false };
    let is_same = |(event_type, payload): &(EventType, Payload), other: (&str, &Payload)| {
        **event_type == *other.0
            && (*payload == *other.1 || canonical_json(payload.as_str()) == canonical_json(other.1.as_str()))
    };
    let as_stored = stored.iter().map(|event| (event.event_type(), event.payload()));
    if decided.len() == stored.len() && decided.iter().zip(as_stored).all(|(one, other)| is_same(one, other)) {
        return true;
    }
    let Some(recorded) = encoded(recorded.iter().map(|recorded| &recorded.event)) else { return false };
    let as_of_today = recorded.iter().map(|(event_type, payload)| (&**event_type, payload));
    decided.len() == recorded.len() && decided.iter().zip(as_of_today).all(|(one, other)| is_same(one, other))
}

fn encoded<'a, E: DomainEvent>(mut events: impl Iterator<Item = &'a E>) -> Option<Vec<(EventType, Payload)>> {
    events.try_fold(Vec::new(), |mut encoded, event| {
        let (event_type, event) = encode_event(event).ok()?;
        encoded.push((event_type, event.payload));
        Some(encoded)
    })
}

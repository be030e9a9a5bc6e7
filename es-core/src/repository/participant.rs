//! One aggregate that takes part in a command: loaded, asked for its decision, told the outcome.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Loaded, Outcome, Repository};
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
    /// Whether `loaded` was read from the store, or only assumed.
    is_read: bool,
    decided: Vec<(A::Event, NewEvent)>,
}

impl<A: Aggregate> Participant<A> {
    pub(super) fn new(
        repository: Repository<A>,
        stream: StreamId,
        decide: Decide<A>,
        expecting: Option<ExpectedVersion>,
    ) -> Self {
        let loaded = Loaded::nothing();
        Self { repository, stream, decide, expecting, loaded, is_read: false, decided: Vec::new() }
    }

    pub(super) fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Loads the state for the first decision. Whoever expects no stream needs no reading: the append checks it.
    pub(super) async fn load(&mut self) -> Result<(), ExecuteError<A::Error>> {
        match self.expecting {
            Some(ExpectedVersion::NoStream | ExpectedVersion::Exact(Version::ZERO)) => Ok(()),
            _ => {
                self.loaded = self.repository.load_stream(&self.stream).await?;
                self.is_read = true;
                self.check_expectation()
            }
        }
    }

    /// After a conflict: reads the tail; or everything again, snapshot or not, if the stream holds other events than the
    /// ones that were read.
    pub(super) async fn reload(&mut self, actual: Version) -> Result<(), ExecuteError<A::Error>> {
        if actual <= self.loaded.version {
            self.loaded = Loaded::nothing();
        }
        self.read_tail().await
    }

    async fn read_tail(&mut self) -> Result<(), ExecuteError<A::Error>> {
        self.repository.load_tail(&self.stream, &mut self.loaded).await?;
        self.is_read = true;
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

    /// Asks for the decision. A refusal, or a decision to do nothing, from a state that was only assumed is confirmed
    /// against the store first: no append will check it.
    pub(super) async fn decide(&mut self, stamp: &Stamp) -> Result<StreamAppend, ExecuteError<A::Error>> {
        let mut decision = (self.decide)(Arc::clone(&self.loaded.state)).await;
        if !self.is_read && !matches!(&decision, Ok(events) if !events.is_empty()) {
            self.read_tail().await?;
            decision = (self.decide)(Arc::clone(&self.loaded.state)).await;
        }
        self.decided.clear();
        for event in decision.map_err(ExecuteError::Rejected)? {
            let mut new_event = NewEvent::of(&event)?.with_metadata(stamp.metadata.clone());
            if let Some(time) = stamp.occurred_at {
                new_event = new_event.with_occurred_at(time);
            }
            self.decided.push((event, new_event));
        }
        let new_events = self.decided.iter().map(|(_, new_event)| new_event.clone()).collect();
        let expected = ExpectedVersion::Exact(self.loaded.version);
        Ok(StreamAppend::new(self.stream.clone(), expected, new_events).decided_after(self.loaded.last_event))
    }

    /// The outcome of the decision that was appended, or of one that needed no events.
    pub(super) async fn finish(mut self, appended: Option<&Appended>) -> Outcome<A> {
        let before = self.loaded.version;
        let mut events = Vec::with_capacity(self.decided.len());
        if let Some((appended, place)) = appended.and_then(|a| Some((a, a.stream(&self.stream)?))) {
            for (offset, (event, new_event)) in (0..).zip(self.decided) {
                let version = place.first_version.advanced_by(offset);
                let position = place.first_position.advanced_by(offset);
                self.loaded.apply(&event, version, new_event.id());
                let recorded = new_event.recorded(self.stream.clone(), version, position, appended.recorded_at);
                events.push(Recorded::new(event, recorded.into_parts().0));
            }
        }
        if let Some(snapshots) = &self.repository.snapshots {
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
        let mut loaded = Loaded::<A>::nothing();
        self.repository
            .read_after(&self.stream, Version::ZERO, |event| {
                if event.version() > place.last_version {
                    return false;
                }
                loaded.apply(&event.event, event.version(), event.id());
                if event.version() >= place.first_version {
                    events.push(event);
                }
                true
            })
            .await?;
        Ok(Outcome { stream: self.stream, state: loaded.state, version: place.last_version, events })
    }
}

/// A participant of another aggregate type than the command's first one.
#[async_trait]
pub(super) trait OtherParticipant: Send + Sync {
    fn stream(&self) -> &StreamId;
    async fn load(&mut self) -> Result<(), ExecuteError<Infallible>>;
    async fn reload(&mut self, actual: Version) -> Result<(), ExecuteError<Infallible>>;
    async fn decide(&mut self, stamp: &Stamp) -> Result<StreamAppend, ExecuteError<Infallible>>;
    async fn finish(self: Box<Self>, appended: Option<&Appended>);
}

#[async_trait]
impl<A: Aggregate> OtherParticipant for Participant<A> {
    fn stream(&self) -> &StreamId {
        &self.stream
    }

    async fn load(&mut self) -> Result<(), ExecuteError<Infallible>> {
        self.load().await.map_err(|error| error.by_participant(&self.stream))
    }

    async fn reload(&mut self, actual: Version) -> Result<(), ExecuteError<Infallible>> {
        self.reload(actual).await.map_err(|error| error.by_participant(&self.stream))
    }

    async fn decide(&mut self, stamp: &Stamp) -> Result<StreamAppend, ExecuteError<Infallible>> {
        self.decide(stamp).await.map_err(|error| error.by_participant(&self.stream))
    }

    async fn finish(self: Box<Self>, appended: Option<&Appended>) {
        (*self).finish(appended).await;
    }
}

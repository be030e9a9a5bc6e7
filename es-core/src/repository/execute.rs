//! Executing a command: load, decide, append, and what to do when that does not go through at once.

use std::{convert::Infallible, fmt, iter, ops::Deref, pin::Pin, sync::Arc};

use time::OffsetDateTime;

use super::{
    Repository,
    participant::{Decide, OtherParticipant, Participant, Stamp, decide_by},
};
use crate::{
    aggregate::Aggregate,
    append::{Append, Appended, IdempotencyKey},
    error::{ExecuteError, StoreError},
    event::{Envelope, Recorded},
    event_filter::EventFilter,
    event_store::{EventStore, PageSize},
    expected_version::ExpectedVersion,
    limits,
    metadata::Metadata,
    position::Position,
    stream_id::StreamId,
    version::Version,
};

/// A command on its way: awaited, it is executed.
///
/// # Cancel safety
/// Dropping the future executes the command or does not; without an idempotency key the caller cannot tell which.
#[must_use = "a command is executed when it is awaited"]
pub struct Execute<A: Aggregate> {
    repository: Repository<A>,
    first: (String, Decide<A>),
    more: Vec<(String, Decide<A>)>,
    others: Vec<Box<dyn OtherParticipant>>,
    expecting: Option<ExpectedVersion>,
    idempotency_key: Option<String>,
    stamp: Stamp,
    /// The first thing that was wrong with a setting; reported when the command is awaited.
    problem: Option<StoreError>,
}

/// What became of one aggregate.
#[non_exhaustive]
pub struct Outcome<A: Aggregate> {
    /// Its stream.
    pub stream: StreamId,
    /// Its state after the command.
    pub state: Arc<A>,
    /// Its version after the command.
    pub version: Version,
    /// The events that the command led to.
    pub events: Vec<Recorded<A::Event>>,
}

/// What came of a command. It dereferences to the [`Outcome`] of the first aggregate.
#[non_exhaustive]
pub struct Executed<A: Aggregate> {
    /// What became of the aggregate that [`execute`](Repository::execute) named.
    pub outcome: Outcome<A>,
    /// What became of those added by [`and`](Execute::and), in that order.
    pub others: Vec<Outcome<A>>,
    /// Where the events went; `None` if no aggregate had anything to record.
    pub appended: Option<Appended>,
}

/// Shows where things went, whatever the domain's own types can show.
impl<A: Aggregate> fmt::Debug for Outcome<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events: Vec<_> = self.events.iter().map(Recorded::envelope).collect();
        f.debug_struct("Outcome")
            .field("stream", &self.stream)
            .field("version", &self.version)
            .field("events", &events)
            .finish()
    }
}

impl<A: Aggregate> fmt::Debug for Executed<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executed")
            .field("outcome", &self.outcome)
            .field("others", &self.others)
            .field("appended", &self.appended)
            .finish()
    }
}

impl<A: Aggregate> Executed<A> {
    /// The position of the last event: a read model that has come this far shows the command's effect. `None` if
    /// nothing was recorded.
    pub fn position(&self) -> Option<Position> {
        self.appended.as_ref().map(|appended| appended.last_position)
    }

    /// Whether the command had been executed before, under the same idempotency key: this is that outcome.
    pub fn is_repeated(&self) -> bool {
        self.appended.as_ref().is_some_and(|appended| appended.repeated)
    }
}

impl<A: Aggregate> Deref for Executed<A> {
    type Target = Outcome<A>;
    fn deref(&self) -> &Outcome<A> {
        &self.outcome
    }
}

impl<A: Aggregate> Execute<A> {
    pub(super) fn new(repository: Repository<A>, id: String, decide: Decide<A>) -> Self {
        Self {
            repository,
            first: (id, decide),
            more: Vec::new(),
            others: Vec::new(),
            expecting: None,
            idempotency_key: None,
            stamp: Stamp::default(),
            problem: None,
        }
    }

    /// Also a command on another aggregate of the same type: all events are stored, or none.
    pub fn and(mut self, id: impl Into<String>, command: impl Into<A::Command>) -> Self {
        let command = command.into();
        self.more.push((id.into(), decide_by(move |state: Arc<A>| std::future::ready(state.handle(&command)))));
        self
    }

    /// Also a command on an aggregate of another type, in the same store: all events are stored, or none.
    pub fn and_on<B: Aggregate>(
        mut self,
        repository: &Repository<B>,
        id: impl AsRef<str>,
        command: impl Into<B::Command>,
    ) -> Self {
        let command = command.into();
        let decide = decide_by(move |state: Arc<B>| std::future::ready(state.handle(&command)));
        match repository.stream_id(id.as_ref()) {
            Ok(stream) => self.others.push(Box::new(Participant::new(repository.clone(), stream, decide, None))),
            Err(error) => {
                self.problem.get_or_insert(error.into());
            }
        }
        self
    }

    /// Executes the command once per key: executed again, it gives the first outcome, even where it would be refused
    /// now. The key is unique in the store; using it for another aggregate is [`StoreError::IdReused`].
    ///
    /// Only what was recorded is remembered: a command that was refused, or had nothing to record, is decided again.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Executes the command only if the first aggregate's stream is as expected; otherwise [`StoreError::Conflict`],
    /// without a retry. `NoStream` saves the reading of a stream that is known to be new.
    pub fn expecting(mut self, expected: ExpectedVersion) -> Self {
        self.expecting = Some(expected);
        self
    }

    /// Who or what asked for it.
    pub fn actor(self, actor: impl Into<String>) -> Self {
        self.with_metadata(|metadata| metadata.with_actor(actor))
    }

    /// The request or process that it belongs to. Without one, the command starts its own.
    pub fn correlation(self, correlation: impl Into<String>) -> Self {
        self.with_metadata(|metadata| metadata.with_correlation(correlation))
    }

    /// The program or system that records it.
    pub fn source(self, source: impl Into<String>) -> Self {
        self.with_metadata(|metadata| metadata.with_source(source))
    }

    /// The W3C trace context (`traceparent`) that it belongs to.
    pub fn trace_parent(self, trace_parent: impl Into<String>) -> Self {
        self.with_metadata(|metadata| metadata.with_trace_parent(trace_parent))
    }

    /// Something of the application's own.
    pub fn extra(self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.with_metadata(|metadata| metadata.with_extra(name, value))
    }

    /// The event that led to this command: it becomes the causation, and its correlation goes on.
    pub fn caused_by(self, event: &Envelope) -> Self {
        let correlation = event.metadata().correlation().map_or_else(|| event.id().to_string(), str::to_owned);
        self.with_metadata(|metadata| metadata.with_causation(event.id().to_string()).with_correlation(correlation))
    }

    /// When it happened, if that is not now.
    pub fn occurred_at(mut self, time: OffsetDateTime) -> Self {
        self.stamp.occurred_at = Some(time);
        self
    }

    fn with_metadata(mut self, change: impl FnOnce(Metadata) -> Metadata) -> Self {
        self.stamp.metadata = change(std::mem::take(&mut self.stamp.metadata));
        self
    }

    async fn run(self) -> Result<Executed<A>, ExecuteError<A::Error>> {
        let mut retries_left = self.repository.conflict_retries;
        let mut command = Command::prepare(self)?;
        if let Some(earlier) = command.find_earlier().await? {
            return command.recall(earlier).await;
        }
        command.load().await?;
        loop {
            let Some(append) = command.decide().await? else { return Ok(command.finish(None).await) };
            match command.append(&append).await {
                Ok(appended) if appended.repeated => return command.recall(appended).await,
                Ok(appended) => return Ok(command.finish(Some(appended)).await),
                Err(StoreError::Conflict { stream, actual, .. }) if retries_left > 0 => {
                    retries_left -= 1;
                    tracing::debug!(%stream, %actual, retries_left, "conflict: the command is decided again");
                    command.reload(&stream, actual).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<A: Aggregate> IntoFuture for Execute<A> {
    type Output = Result<Executed<A>, ExecuteError<A::Error>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// A command whose settings are checked.
struct Command<A: Aggregate> {
    store: Arc<dyn EventStore>,
    first: Participant<A>,
    more: Vec<Participant<A>>,
    others: Vec<Box<dyn OtherParticipant>>,
    idempotency_key: Option<IdempotencyKey>,
    stamp: Stamp,
}

impl<A: Aggregate> Command<A> {
    fn prepare(execute: Execute<A>) -> Result<Self, StoreError> {
        let Execute { repository, first, more, others, expecting, idempotency_key, stamp, problem } = execute;
        if let Some(problem) = problem {
            return Err(problem);
        }
        let count = 1 + more.len() + others.len();
        if count > limits::MAX_AGGREGATES_PER_COMMAND {
            return Err(StoreError::LimitExceeded {
                what: "aggregates in a command",
                limit: limits::MAX_AGGREGATES_PER_COMMAND as u64,
                actual: count as u64,
            });
        }
        let participant = |(id, decide): (String, Decide<A>), expecting| -> Result<_, StoreError> {
            let stream = repository.stream_id(&id)?;
            Ok(Participant::new(repository.clone(), stream, decide, expecting))
        };
        Ok(Self {
            store: Arc::clone(&repository.store),
            first: participant(first, expecting)?,
            more: more.into_iter().map(|target| participant(target, None)).collect::<Result<_, _>>()?,
            others,
            idempotency_key: idempotency_key.map(IdempotencyKey::new).transpose()?,
            stamp: stamp.complete(),
        })
    }

    /// The append that was stored under the command's key, if there is one.
    async fn find_earlier(&self) -> Result<Option<Appended>, StoreError> {
        let Some(key) = &self.idempotency_key else { return Ok(None) };
        let Some(earlier) = self.store.find_append(key).await? else { return Ok(None) };
        let own = iter::once(&self.first).chain(&self.more).map(Participant::stream);
        let own: Vec<_> = own.chain(self.others.iter().map(|other| other.stream())).collect();
        match earlier.streams.iter().all(|part| own.contains(&&part.stream)) {
            true => Ok(Some(earlier)),
            false => Err(StoreError::IdReused { what: "idempotency key", id: key.as_str().to_owned() }),
        }
    }

    async fn load(&mut self) -> Result<(), ExecuteError<A::Error>> {
        self.first.load().await?;
        for participant in &mut self.more {
            participant.load().await?;
        }
        for other in &mut self.others {
            other.load().await.map_err(widen)?;
        }
        Ok(())
    }

    /// Loads what the stream of a conflict has got since.
    async fn reload(&mut self, stream: &StreamId, actual: Version) -> Result<(), ExecuteError<A::Error>> {
        for participant in iter::once(&mut self.first).chain(&mut self.more).filter(|p| p.stream() == stream) {
            participant.reload(actual).await?;
        }
        for other in self.others.iter_mut().filter(|other| other.stream() == stream) {
            other.reload(actual).await.map_err(widen)?;
        }
        Ok(())
    }

    /// What all participants decided, as one append; `None` if none has anything to record.
    async fn decide(&mut self) -> Result<Option<Append>, ExecuteError<A::Error>> {
        let mut append = Append::builder();
        let mut is_empty = true;
        let mut parts = Vec::with_capacity(1 + self.more.len() + self.others.len());
        for participant in iter::once(&mut self.first).chain(&mut self.more) {
            parts.push(participant.decide(&self.stamp).await?);
        }
        for other in &mut self.others {
            parts.push(other.decide(&self.stamp).await.map_err(widen)?);
        }
        for part in parts {
            is_empty &= part.events().is_empty();
            append = append.and_stream(part);
        }
        if is_empty {
            return Ok(None);
        }
        if let Some(key) = &self.idempotency_key {
            append = append.idempotency_key(key.clone());
        }
        Ok(Some(append.build()?))
    }

    /// Appends. When the outcome is unknown the same events are sent again, with the same ids.
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        let mut retries_left = limits::UNKNOWN_OUTCOME_RETRIES;
        let mut is_unknown = false;
        loop {
            let error = match self.store.append(append).await {
                // An attempt of this very command went through, and only its answer was lost.
                Ok(mut appended) if is_unknown && appended.repeated => {
                    appended.repeated = !self.holds(append, &appended).await?;
                    return Ok(appended);
                }
                Err(error @ StoreError::Unavailable { .. }) => error,
                // This attempt stored nothing; an earlier one may have.
                Err(error @ StoreError::Busy { .. }) if is_unknown => {
                    StoreError::Unavailable { source: Box::new(error) }
                }
                result => return result,
            };
            is_unknown = true;
            if retries_left == 0 {
                return Err(error);
            }
            retries_left -= 1;
            tracing::warn!(%error, retries_left, "the outcome of an append is unknown; it is sent again");
        }
    }

    /// Whether the appended events are the ones of `append`, by their ids.
    async fn holds(&self, append: &Append, appended: &Appended) -> Result<bool, StoreError> {
        let before = Position::new(appended.first_position.get().saturating_sub(1));
        let first = self.store.read_all(before, &EventFilter::all(), PageSize::new(1)?).await?;
        let stored = first.events.first().map(|event| event.id());
        Ok(stored.is_some() && stored == append.events().next().map(|(_, event)| event.id()))
    }

    async fn finish(self, appended: Option<Appended>) -> Executed<A> {
        let outcome = self.first.finish(appended.as_ref()).await;
        let mut others = Vec::with_capacity(self.more.len());
        for participant in self.more {
            others.push(participant.finish(appended.as_ref()).await);
        }
        for other in self.others {
            other.finish(appended.as_ref()).await;
        }
        Executed { outcome, others, appended }
    }

    async fn recall(self, appended: Appended) -> Result<Executed<A>, ExecuteError<A::Error>> {
        let outcome = self.first.recall(&appended).await?;
        let mut others = Vec::with_capacity(self.more.len());
        for participant in self.more {
            others.push(participant.recall(&appended).await?);
        }
        Ok(Executed { outcome, others, appended: Some(appended) })
    }
}

fn widen<E: std::error::Error + Send + Sync + 'static>(error: ExecuteError<Infallible>) -> ExecuteError<E> {
    match error {
        ExecuteError::Rejected(never) => match never {},
        ExecuteError::RejectedBy { stream, source } => ExecuteError::RejectedBy { stream, source },
        ExecuteError::Store(error) => ExecuteError::Store(error),
        ExecuteError::Decode(error) => ExecuteError::Decode(error),
        ExecuteError::Encode(error) => ExecuteError::Encode(error),
    }
}

//! A command and its settings, before it is executed.

use std::pin::Pin;

use serde::Serialize;
use time::OffsetDateTime;

use super::{
    Executed, Repository, command,
    participant::{Decide, IsPure, OtherParticipant, Participant, Stamp, handle_by},
};
use crate::{
    aggregate::Aggregate,
    append::Append,
    error::{ExecuteError, StoreError},
    event::Envelope,
    expected_version::ExpectedVersion,
    metadata::Metadata,
};

/// A command on its way: awaited, it is executed.
///
/// # Cancel safety
/// Dropping the future executes the command or does not; without an idempotency key the caller cannot tell which.
#[must_use = "a command is executed when it is awaited"]
pub struct Execute<A: Aggregate> {
    pub(super) repository: Repository<A>,
    pub(super) first: (String, Decide<A>),
    pub(super) more: Vec<(String, Decide<A>)>,
    pub(super) others: Vec<Box<dyn OtherParticipant>>,
    pub(super) expecting: Option<ExpectedVersion>,
    pub(super) idempotency_key: Option<String>,
    /// What the caller says that it asks for, as JSON.
    pub(super) request: Option<String>,
    pub(super) stamp: Stamp,
    pub(super) is_pure: IsPure,
    /// The first thing that was wrong with a setting; reported when the command is awaited.
    pub(super) problem: Option<StoreError>,
}

impl<A: Aggregate> Execute<A> {
    pub(super) fn new(repository: Repository<A>, id: String, decide: Decide<A>, is_pure: IsPure) -> Self {
        Self {
            repository,
            first: (id, decide),
            more: Vec::new(),
            others: Vec::new(),
            expecting: None,
            idempotency_key: None,
            request: None,
            stamp: Stamp::default(),
            is_pure,
            problem: None,
        }
    }

    /// Also a command on another aggregate of the same type: all events are stored, or none.
    pub fn and(mut self, id: impl Into<String>, command: impl Into<A::Command>) -> Self {
        self.more.push((id.into(), handle_by(command.into())));
        self
    }

    /// Also a command on an aggregate of another type, in the same store: all events are stored, or none.
    pub fn and_on<B: Aggregate>(
        mut self,
        repository: &Repository<B>,
        id: impl AsRef<str>,
        command: impl Into<B::Command>,
    ) -> Self {
        let decide = handle_by(command.into());
        match repository.stream_id(id.as_ref()) {
            Ok(stream) => {
                let participant = Participant::new(repository.clone(), stream, decide, IsPure(true), None);
                self.others.push(Box::new(participant));
            }
            Err(error) => {
                self.problem.get_or_insert(error.into());
            }
        }
        self
    }

    /// Executes the command once per key: executed again, it returns the first outcome, even if it would be refused
    /// now. The key is unique in the store. Using it for another command is [`StoreError::IdReused`], and the error
    /// names the first use.
    ///
    /// A command is the same one if it concerns the same aggregates, says the same time by
    /// [`occurred_at`](Self::occurred_at), and decides the same events on the states on which it was decided first.
    /// Metadata and expectations do not count. Two decisions cannot be compared in this way: the function of
    /// [`execute_with`](Repository::execute_with), which does not run again, and one whose code has changed since,
    /// which is refused as another command. Name the [request](Self::request) where that matters, as for keys that live
    /// longer than the code, or where a command holds a new id or the present time in each attempt.
    ///
    /// Only what was recorded is remembered: a command that was refused, or had nothing to record, is decided again.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Says what the [idempotency key](Self::idempotency_key) stands for: the body of an HTTP request, a message, a
    /// line of a file. The same request for the same aggregates is the same command, whatever it decides and whenever
    /// it occurred; any other is refused. Compared by its JSON; the order of fields does not matter. Of no effect
    /// without a key.
    ///
    /// ```
    /// # use es_core::*; use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)] enum E { Noted { at: i64 } }
    /// # impl DomainEvent for E { const CATEGORY: &'static str = "c"; }
    /// # #[derive(Default, Clone)] struct C;
    /// # impl Aggregate for C { type Event = E; type Command = i64; type Error = std::convert::Infallible;
    /// #   fn handle(&self, &at: &i64) -> Result<Vec<E>, Self::Error> { Ok(vec![E::Noted { at }]) }
    /// #   fn apply(&mut self, _: &E) {} }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let notes = Repository::<C>::new(&MemoryStore::new());
    /// let body = serde_json::json!({"text": "hello"});
    /// // The time of the attempt is a part of the command, and not of the request.
    /// notes.execute("a", 1_000).idempotency_key("k").request(&body).await?;
    /// assert!(notes.execute("a", 2_000).idempotency_key("k").request(&body).await?.is_repeated());
    /// assert!(notes.execute("a", 1_000).idempotency_key("k").request("another").await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn request(mut self, request: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_string(request) {
            Ok(json) => self.request = Some(json),
            Err(_) => {
                let reason = "the request of an idempotency key cannot be written as JSON; name one that can";
                self.problem.get_or_insert(StoreError::Refused { reason });
            }
        }
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

    /// What is known of it so far: sets all metadata, of the message that led to it for example.
    pub fn metadata(self, metadata: Metadata) -> Self {
        self.with_metadata(|_| metadata)
    }

    /// Decides without appending: for a transaction of the caller's, which takes the append and commits it with other writes
    /// ([`MessageUnit::append`](crate::MessageUnit::append)). `None` if there is nothing to record, or if the command
    /// was executed before under its idempotency key. The states are read to the end of their streams first; if one
    /// moves on before the commit, that is a [`StoreError::Conflict`] there, and the caller decides again.
    ///
    /// # Errors
    /// Those of the command, as if it were awaited.
    ///
    /// # Cancel safety
    /// Only reads.
    pub async fn decide(self) -> Result<Option<Append>, ExecuteError<A::Error>> {
        command::decide(self).await
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
}

impl<A: Aggregate> IntoFuture for Execute<A> {
    type Output = Result<Executed<A>, ExecuteError<A::Error>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(command::run(self))
    }
}

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

/// A command that is executed when it is awaited.
///
/// # Cancel safety
/// If the future is dropped, the command either takes full effect or has no effect. Without an idempotency key, the
/// caller cannot find out which.
#[must_use = "a command is executed when it is awaited"]
pub struct Execute<A: Aggregate> {
    pub(super) repository: Repository<A>,
    pub(super) first: (String, Decide<A>),
    pub(super) more: Vec<(String, Decide<A>)>,
    pub(super) others: Vec<Box<dyn OtherParticipant>>,
    pub(super) expecting: Option<ExpectedVersion>,
    pub(super) idempotency_key: Option<String>,
    /// The request that the caller names, as JSON.
    pub(super) request: Option<String>,
    pub(super) stamp: Stamp,
    pub(super) is_pure: IsPure,
    /// The first invalid setting. It is reported when the command is awaited.
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

    /// Adds a command on another aggregate of the same type. Either all events are stored, or none.
    pub fn and(mut self, id: impl Into<String>, command: impl Into<A::Command>) -> Self {
        self.more.push((id.into(), handle_by(command.into())));
        self
    }

    /// Adds a command on an aggregate of another type, in the same store. Either all events are stored, or none.
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

    /// Executes the command once per key. If it is executed again, it returns the first outcome, even if the command
    /// would be rejected now. The key is unique in the store. Using it for another command is [`StoreError::IdReused`],
    /// and the error names the first use.
    ///
    /// Two commands are the same if they concern the same aggregates, specify the same time with
    /// [`occurred_at`](Self::occurred_at), and decide the same events on the states on which the first one was decided.
    /// Metadata and expectations do not count. Two kinds of decisions cannot be compared in this way: the function of
    /// [`execute_with`](Repository::execute_with), which does not run again, and a decision whose code has changed
    /// since, which is refused as another command. Name the [request](Self::request) if that matters, for example if
    /// keys live longer than the code, or if a command contains a new ID or the current time in each attempt.
    ///
    /// Only recorded commands are remembered. A command that was rejected, or had nothing to record, is decided again.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Names the request that the [idempotency key](Self::idempotency_key) is bound to, such as the body of an HTTP
    /// request, a message, or a line of a file.
    ///
    /// The same request for the same aggregates is the same command, whatever it decides and whenever it occurred. Any
    /// other request is refused. Requests are compared as JSON; the order of fields does not matter. Without a key,
    /// this setting has no effect.
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
    /// // The time of the attempt is part of the command, but not of the request.
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

    /// Executes the command only if the stream of the first aggregate has the expected version. Otherwise it fails with
    /// [`StoreError::Conflict`], without a retry. `NoStream` saves reading a stream that is known to be new.
    pub fn expecting(mut self, expected: ExpectedVersion) -> Self {
        self.expecting = Some(expected);
        self
    }

    /// Sets who or what sent the command.
    pub fn actor(self, actor: impl Into<String>) -> Self {
        self.with_metadata(|metadata| metadata.with_actor(actor))
    }

    /// Sets the request or process that the command belongs to. Without it, the command starts a new correlation.
    pub fn correlation(self, correlation: impl Into<String>) -> Self {
        self.with_metadata(|metadata| metadata.with_correlation(correlation))
    }

    /// Sets the program or system that records the command.
    pub fn source(self, source: impl Into<String>) -> Self {
        self.with_metadata(|metadata| metadata.with_source(source))
    }

    /// Sets the W3C trace context (`traceparent`) that the command belongs to.
    pub fn trace_parent(self, trace_parent: impl Into<String>) -> Self {
        self.with_metadata(|metadata| metadata.with_trace_parent(trace_parent))
    }

    /// Adds a field of the application's own to the metadata.
    pub fn extra(self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.with_metadata(|metadata| metadata.with_extra(name, value))
    }

    /// Sets the event that led to this command. The event becomes the causation, and its correlation continues.
    pub fn caused_by(self, event: &Envelope) -> Self {
        let correlation = event.metadata().correlation().map_or_else(|| event.id().to_string(), str::to_owned);
        self.with_metadata(|metadata| metadata.with_causation(event.id().to_string()).with_correlation(correlation))
    }

    /// Sets all metadata, for example those of the message that led to the command.
    pub fn metadata(self, metadata: Metadata) -> Self {
        self.with_metadata(|_| metadata)
    }

    /// Decides without appending. The caller commits the returned append in its own transaction, together with other
    /// writes ([`MessageUnit::append`](crate::MessageUnit::append)).
    ///
    /// Returns `None` if there is nothing to record, or if the command was executed before under its idempotency key.
    /// The states are read up to the end of their streams first. If a stream changes before the commit, the commit
    /// fails with [`StoreError::Conflict`], and the caller decides again.
    ///
    /// # Errors
    /// Returns the same errors as awaiting the command.
    ///
    /// # Cancel safety
    /// This method only reads.
    pub async fn decide(self) -> Result<Option<Append>, ExecuteError<A::Error>> {
        command::decide(self).await
    }

    /// Sets when the command happened, if that is not now.
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

//! Publishing in transactions.

use std::{collections::HashSet, fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use es_core::DeadReason;
use es_messaging::{Outgoing, PublishError, Publisher, PublisherLimits};
use redis::{ErrorKind, Pipeline, RedisError, Value};

use crate::{
    binding,
    broker::Shared,
    keys, limits,
    link::{REDIS, ask, said},
    options::Trim,
};

/// Publishes into the streams of topics.
pub(crate) struct RedisPublisher {
    shared: Arc<Shared>,
}

impl fmt::Debug for RedisPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisPublisher").field("prefix", &self.shared.options.prefix).finish_non_exhaustive()
    }
}

/// A message on its way.
struct Entry<'a> {
    outgoing: &'a Outgoing,
    fields: binding::Fields,
}

/// What became of a transaction.
enum Outcome {
    /// For each message, whether its stream was there.
    Done(Vec<bool>),
    Throttled,
    Unconfirmed(RedisError),
    TooFewReplicas {
        wanted: u32,
        found: u32,
    },
    /// A key holds something else than a stream, so that nothing is known of the others.
    Refused(String),
}

impl RedisPublisher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Why a message cannot be published, as far as this side knows.
    fn fault(&self, outgoing: &Outgoing) -> Option<PublishError> {
        if !keys::is_topic(&outgoing.topic) {
            let reason = format!("{:?} is no topic: words with dots between, without wildcards", outgoing.topic);
            return Some(refused(DeadReason::Unroutable, reason));
        }
        let (size, most) = (outgoing.message.size(), self.limits().message_bytes);
        (size > most).then(|| refused(DeadReason::Refused, format!("it has {size} bytes, at most {most} are taken")))
    }

    /// A message as an entry, or why there cannot be one, as far as this side knows.
    fn entry<'a>(&self, outgoing: &'a Outgoing) -> Result<Entry<'a>, PublishError> {
        if let Some(fault) = self.fault(outgoing) {
            return Err(fault);
        }
        let fields = binding::encode(&outgoing.message, self.shared.options.content_mode);
        let fields = fields.map_err(|error| refused(DeadReason::Refused, error.to_string()))?;
        Ok(Entry { outgoing, fields })
    }

    /// All of some messages, or none, in their order.
    async fn transact(&self, messages: &[Entry<'_>]) -> Outcome {
        let options = &self.shared.options;
        let mut transaction = Pipeline::with_capacity(messages.len() + 2);
        transaction.atomic();
        for Entry { outgoing, fields } in messages {
            let command = transaction.cmd("XADD").arg(self.shared.keys.stream(&outgoing.topic)).arg("NOMKSTREAM");
            match options.trim {
                Trim::MaxLen(entries) => {
                    command.arg("MAXLEN").arg("~").arg(entries);
                }
                Trim::MaxAge(age) => {
                    let now =
                        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
                    command.arg("MINID").arg("~").arg(now.saturating_sub(age).as_millis().to_string());
                }
                Trim::Never | Trim::Settled => {}
            }
            command.arg("*");
            for (name, value) in fields {
                command.arg(name).arg(value);
            }
        }
        let answer: Result<Vec<Value>, RedisError> =
            ask!(&self.shared.link, |connection| transaction.query_async(connection));
        match answer {
            Ok(ids) => match self.replicated().await {
                Ok(()) => Outcome::Done(ids.iter().map(|id| !matches!(id, Value::Nil)).collect()),
                Err(outcome) => outcome,
            },
            Err(error) => {
                let codes = codes(&error);
                if codes.iter().any(|code| code == "OOM") {
                    Outcome::Throttled
                } else if codes.iter().any(|code| code == "WRONGTYPE") {
                    Outcome::Refused(said(&error))
                } else {
                    Outcome::Unconfirmed(error)
                }
            }
        }
    }

    async fn replicated(&self) -> Result<(), Outcome> {
        let Some((wanted, limit)) = self.shared.options.replicas else {
            return Ok(());
        };
        let mut command = redis::cmd("WAIT");
        command.arg(wanted).arg(u64::try_from(limit.as_millis().max(1)).unwrap_or(u64::MAX));
        match ask!(&self.shared.link, |connection| command.query_async::<u32>(connection)) {
            Ok(found) if found >= wanted => Ok(()),
            Ok(found) => Err(Outcome::TooFewReplicas { wanted, found }),
            Err(error) => Err(Outcome::Unconfirmed(error)),
        }
    }
}

/// The codes of an error, and of those that made a transaction fail.
fn codes(error: &RedisError) -> Vec<String> {
    let mut codes: Vec<String> = error.code().map(str::to_owned).into_iter().collect();
    if error.kind() == ErrorKind::Server(redis::ServerErrorKind::ExecAbort)
        && let Ok(errors) = error.clone().into_server_errors().ok_or(())
    {
        codes.extend(errors.iter().map(|(_, error)| error.code().to_owned()));
    }
    codes
}

fn refused(kind: DeadReason, reason: String) -> PublishError {
    PublishError::Refused { broker: REDIS, kind, reason }
}

fn unconfirmed(reason: String) -> PublishError {
    PublishError::Unconfirmed { broker: REDIS, source: reason.into() }
}

/// Cuts messages into parts that one transaction takes.
fn parts(messages: &[Entry<'_>], most: usize) -> Vec<Range<usize>> {
    let (mut parts, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (index, Entry { outgoing, .. }) in messages.iter().enumerate() {
        let size = outgoing.message.size();
        if index > begin && (index - begin >= most || bytes + size > limits::MAX_BATCH_BYTES) {
            parts.push(begin..index);
            (begin, bytes) = (index, 0);
        }
        bytes += size;
    }
    if begin < messages.len() {
        parts.push(begin..messages.len());
    }
    parts
}

#[async_trait]
impl Publisher for RedisPublisher {
    fn limits(&self) -> PublisherLimits {
        let options = &self.shared.options;
        let message_bytes = options.content_mode.largest_message(options.message_bytes);
        PublisherLimits { message_bytes, batch: options.batch }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        if self.shared.check_open().is_err() {
            return batch.iter().map(|_| Err(unconfirmed("the connection was closed".to_owned()))).collect();
        }
        let mut results: Vec<Option<Result<(), PublishError>>> = batch.iter().map(|_| None).collect();
        let mut behind: HashSet<&str> = HashSet::new();
        let (mut tried, mut messages) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for (index, outgoing) in batch.iter().enumerate() {
            let key = outgoing.message.key();
            if key.is_some_and(|key| behind.contains(key)) {
                results[index] = Some(Err(PublishError::Behind));
                continue;
            }
            match self.entry(outgoing) {
                Ok(entry) => {
                    tried.push(index);
                    messages.push(entry);
                }
                Err(error) => {
                    results[index] = Some(Err(error));
                    behind.extend(key);
                }
            }
        }
        let mut stopped = false;
        for part in parts(&messages, self.shared.options.batch) {
            // What follows a part that failed is not tried.
            let outcome = if stopped { None } else { Some(self.transact(&messages[part.clone()]).await) };
            stopped |= !matches!(outcome, Some(Outcome::Done(_)));
            for (at, &index) in tried[part].iter().enumerate() {
                let outgoing = &batch[index];
                let key = outgoing.message.key();
                let mut result = match &outcome {
                    Some(Outcome::Done(there)) if there.get(at) == Some(&true) => Ok(()),
                    Some(Outcome::Done(_)) => {
                        let reason = format!("the topic {} was not declared: it has no stream", outgoing.topic);
                        Err(refused(DeadReason::Unroutable, reason))
                    }
                    Some(Outcome::Throttled) => Err(PublishError::Throttled { broker: REDIS, after: None }),
                    Some(Outcome::Unconfirmed(error)) => {
                        Err(PublishError::Unconfirmed { broker: REDIS, source: said(error).into() })
                    }
                    Some(Outcome::TooFewReplicas { wanted, found }) => {
                        Err(unconfirmed(format!("{found} replicas have it in time, and {wanted} are wanted")))
                    }
                    Some(Outcome::Refused(reason)) => Err(refused(DeadReason::Unroutable, reason.clone())),
                    None => Err(unconfirmed("it was not tried, since what was before it was not confirmed".to_owned())),
                };
                if result.is_err() && key.is_some_and(|key| behind.contains(key)) {
                    result = Err(PublishError::Behind);
                }
                if result.is_err() {
                    behind.extend(key);
                }
                results[index] = Some(result);
            }
        }
        let unknown = || Err(unconfirmed("it was not tried".to_owned()));
        results.into_iter().map(|result| result.unwrap_or_else(unknown)).collect()
    }
}

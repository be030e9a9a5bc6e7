//! Publishing with confirmation.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use es_core::DeadReason;
use es_messaging::{BrokerError, Outgoing, PublishError, Publisher, PublisherLimits, waves};
use futures_util::FutureExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    types::{FieldTable, ShortString},
};
use tokio::{sync::Mutex, time::timeout};

use crate::{
    BROKER,
    broker::short,
    error::{PRECONDITION_FAILED, code, of_order, reason, unavailable},
    limits,
    link::{Link, answer},
    wire,
    writing::{Draft, Written, write},
};

/// Publishes over one channel, many messages at a time.
#[derive(Debug)]
pub(crate) struct RabbitMqPublisher {
    link: Arc<Link>,
    exchange: ShortString,
    line: Mutex<Line>,
}

/// The channel in use.
#[derive(Debug, Default)]
struct Line {
    open: Option<(Arc<Connection>, Channel)>,
    /// Something was sent on it, and what became of that is not known: it is used no more.
    spoilt: bool,
}

/// A message ready to be sent.
struct Ready<'a> {
    outgoing: &'a Outgoing,
    topic: ShortString,
    properties: BasicProperties,
    body: Cow<'a, [u8]>,
}

/// Results of one sending, and why the rest needs no trying.
struct Sent {
    results: Vec<Result<(), PublishError>>,
    stopped: Option<String>,
}

impl Sent {
    fn throttled(count: usize) -> Self {
        let throttled = |_| Err(PublishError::Throttled { broker: BROKER, after: None });
        let stopped = Some("the server is short of memory or disk".to_owned());
        Self { results: (0..count).map(throttled).collect(), stopped }
    }
}

fn unconfirmed(error: impl Into<es_core::BoxError>) -> PublishError {
    PublishError::Unconfirmed { broker: BROKER, source: error.into() }
}

fn refused(kind: DeadReason, reason: String) -> PublishError {
    PublishError::Refused { broker: BROKER, kind, reason }
}

/// Whether an earlier message of this key was not published.
fn is_behind(failed: &HashMap<&str, usize>, key: Option<&str>, index: usize) -> bool {
    key.and_then(|key| failed.get(key)).is_some_and(|&first| first < index)
}

fn note_failure<'a>(failed: &mut HashMap<&'a str, usize>, key: Option<&'a str>, index: usize) {
    if let Some(key) = key {
        let first = failed.entry(key).or_insert(index);
        *first = index.min(*first);
    }
}

/// By this a message that comes back is recognised: the library does not say which one it was.
fn identity(topic: &str, id: &str, source: &str) -> (String, String, String) {
    (topic.to_owned(), id.to_owned(), source.to_owned())
}

impl RabbitMqPublisher {
    pub(crate) async fn open(link: Arc<Link>) -> Result<Self, BrokerError> {
        let exchange = short("the exchange", &link.settings.address.exchange)?;
        let (_connection, channel) = link.channel(Duration::ZERO).await?;
        let passive = ExchangeDeclareOptions { passive: true, durable: true, ..ExchangeDeclareOptions::default() };
        let looking = channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, passive, FieldTable::default());
        answer(&format!("the exchange {exchange}"), looking).await?;
        Ok(Self { link, exchange, line: Mutex::default() })
    }

    /// The channel to send on; a new one if the last one is spoilt or gone.
    async fn channel(&self, line: &mut Line) -> Result<(Arc<Connection>, Channel), BrokerError> {
        if self.link.is_closed() {
            return Err(BrokerError::Closed);
        }
        match &line.open {
            Some((connection, channel)) if !line.spoilt && channel.status().connected() => {
                return Ok((connection.clone(), channel.clone()));
            }
            // What was sent on it is in the queues before anything that is sent from now on.
            Some((_, channel)) if channel.status().connected() => {
                let _ = answer("closing a channel", channel.close(200, "replaced".into())).await;
            }
            _ => {}
        }
        line.open = None;
        let (connection, channel) = self.link.channel(Duration::ZERO).await?;
        answer("confirmations", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        *line = Line { open: Some((connection.clone(), channel.clone())), spoilt: false };
        Ok((connection, channel))
    }

    fn prepare<'a>(&self, outgoing: &'a Outgoing) -> Result<Ready<'a>, PublishError> {
        let (size, most) = (outgoing.message.size(), self.limits().message_bytes);
        if size > most {
            return Err(refused(DeadReason::Refused, format!("{size} bytes, at most {most}")));
        }
        let topic = ShortString::try_new(outgoing.topic.as_str()).map_err(|_| {
            let (bytes, most) = (outgoing.topic.len(), limits::SHORT_STRING_BYTES);
            refused(DeadReason::Refused, format!("its topic has {bytes} bytes, at most {most}"))
        })?;
        let options = &self.link.settings.options;
        let (properties, body) = wire::encode(&outgoing.message, options.content_mode, options.header_prefix)?;
        let (bytes, most) = (wire::properties_bytes(&properties), self.link.properties_bytes());
        if bytes > most {
            let reason = format!("its attributes take {bytes} bytes, at most {most} fit into a frame (frame_max)");
            return Err(refused(DeadReason::Refused, reason));
        }
        Ok(Ready { outgoing, topic, properties, body })
    }

    /// Sends messages and waits for what becomes of them.
    async fn send(&self, line: &mut Line, messages: &[Ready<'_>]) -> Sent {
        // A server that does not read does not answer either: not even about a new channel.
        if line
            .open
            .as_ref()
            .is_some_and(|(connection, _)| connection.status().connected() && connection.status().blocked())
        {
            return Sent::throttled(messages.len());
        }
        let (connection, channel) = match self.channel(line).await {
            Ok(open) => open,
            Err(error) => {
                let why = error.to_string();
                let mut first = Some(error);
                let error = |_| {
                    let source = first.take().map_or_else(|| why.clone().into(), es_core::BoxError::from);
                    Err(unconfirmed(source))
                };
                let results = messages.iter().map(error).collect();
                return Sent { results, stopped: Some(why) };
            }
        };
        if connection.status().blocked() {
            return Sent::throttled(messages.len());
        }
        line.spoilt = true;
        let wait = self.link.settings.options.confirm_wait;
        let mandatory = !self.link.settings.options.allow_unroutable;
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let drafts = messages.iter().map(|Ready { topic, properties, body, .. }| {
            let (topic, properties) = (topic.clone(), properties.clone());
            Draft { topic, properties, data: body }
        });
        let Written { confirms, mut lost, mut late } = write(&channel, &self.exchange, options, wait, drafts).await;
        let mut answers: Vec<Option<bool>> = Vec::with_capacity(messages.len());
        let mut returned: HashMap<(String, String, String), String> = HashMap::new();
        for confirm in confirms {
            // Once something went wrong, only what is known already counts.
            let confirmation = match lost.is_some() || late {
                true => confirm.now_or_never(),
                false => match timeout(wait, confirm).await {
                    Ok(confirmation) => Some(confirmation),
                    Err(_) => {
                        late = true;
                        None
                    }
                },
            };
            answers.push(match confirmation {
                Some(Ok(confirmation)) => {
                    let is_ack = matches!(confirmation, Confirmation::Ack(_));
                    if let Some(back) = confirmation.take_message() {
                        let attribute = |name| wire::header(&back.delivery.properties, name).unwrap_or_default();
                        let key = identity(back.delivery.routing_key.as_str(), &attribute("id"), &attribute("source"));
                        returned.insert(key, back.reply_text.to_string());
                    }
                    Some(is_ack)
                }
                Some(Err(error)) => {
                    lost.get_or_insert(error);
                    None
                }
                None => None,
            });
        }
        line.spoilt = lost.is_some() || late;
        if late {
            // Neither confirmed nor lost: nobody there reads.
            if !connection.status().blocked() {
                self.link.give_up(&connection).await;
            }
        }
        let throttled = late && connection.status().blocked();
        self.results(messages, &answers, &returned, lost, late, throttled)
    }

    /// What became of each message.
    fn results(
        &self,
        messages: &[Ready<'_>],
        answers: &[Option<bool>],
        returned: &HashMap<(String, String, String), String>,
        lost: Option<lapin::Error>,
        late: bool,
        throttled: bool,
    ) -> Sent {
        let too_large = lost.as_ref().is_some_and(|error| code(error) == Some(PRECONDITION_FAILED));
        let exchange = format!("the exchange {}", self.exchange);
        let why = match (&lost, late) {
            (Some(error), _) => Some(reason(error)),
            (None, true) => Some(format!("no confirmation within {:?}", self.link.settings.options.confirm_wait)),
            (None, false) => None,
        };
        let one = |(index, ready): (usize, &Ready<'_>)| {
            let message = &ready.outgoing.message;
            match answers.get(index).copied().flatten() {
                Some(true) => match returned.get(&identity(&ready.outgoing.topic, message.id(), message.source())) {
                    None => Ok(()),
                    Some(text) => {
                        let reason = format!("no queue takes the topic {}: {text}", ready.outgoing.topic);
                        Err(refused(DeadReason::Unroutable, reason))
                    }
                },
                // A queue is full and says so, or could not keep it.
                Some(false) => Err(PublishError::Throttled { broker: BROKER, after: None }),
                None if throttled => Err(PublishError::Throttled { broker: BROKER, after: None }),
                None => match &lost {
                    // Alone on its channel: it is this one that the server will never take.
                    Some(error) if too_large && messages.len() == 1 => Err(refused(DeadReason::Refused, reason(error))),
                    Some(error) => Err(unconfirmed(of_order(error.clone(), &exchange))),
                    None => Err(unconfirmed(unavailable(why.clone().unwrap_or_default()))),
                },
            }
        };
        let results = messages.iter().enumerate().map(one).collect();
        Sent { results, stopped: why.filter(|_| !too_large) }
    }

    /// Sends messages; if the server refuses one of them and closes the channel, one after the other, so that the others get through.
    async fn send_all(&self, line: &mut Line, messages: &[Ready<'_>]) -> Sent {
        let Sent { mut results, stopped } = self.send(line, messages).await;
        if stopped.is_some() || messages.len() < 2 {
            return Sent { results, stopped };
        }
        let mut failed: HashSet<&str> = HashSet::new();
        for (ready, result) in messages.iter().zip(&mut results) {
            let key = ready.outgoing.message.key();
            if key.is_some_and(|key| failed.contains(key)) {
                *result = Err(PublishError::Behind);
            } else if matches!(result, Err(PublishError::Unconfirmed { .. })) {
                let mut alone = self.send(line, std::slice::from_ref(ready)).await;
                if let Some(again) = alone.results.pop() {
                    *result = again;
                }
                if alone.stopped.is_some() {
                    return Sent { results, stopped: alone.stopped };
                }
            }
            if result.is_err() {
                failed.extend(key);
            }
        }
        Sent { results, stopped: None }
    }
}

#[async_trait]
impl Publisher for RabbitMqPublisher {
    fn limits(&self) -> PublisherLimits {
        let options = &self.link.settings.options;
        let message_bytes = options.content_mode.largest_message(options.message_bytes);
        PublisherLimits { message_bytes, batch: limits::BATCH }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let groups = match self.link.settings.options.strict_order {
            true => waves(batch),
            false => vec![(0..batch.len()).collect()],
        };
        let mut results: Vec<Option<Result<(), PublishError>>> = batch.iter().map(|_| None).collect();
        // Of each key, the first one that was not published.
        let mut failed: HashMap<&str, usize> = HashMap::new();
        let mut stopped: Option<String> = None;
        let mut line = self.line.lock().await;
        for group in groups.iter().flat_map(|group| group.chunks(limits::BATCH)) {
            let (mut indexes, mut messages) = (Vec::new(), Vec::new());
            for &index in group {
                let key = batch[index].message.key();
                let early = if is_behind(&failed, key, index) {
                    Err(PublishError::Behind)
                } else if let Some(why) = &stopped {
                    Err(unconfirmed(format!("not tried: {why}")))
                } else {
                    self.prepare(&batch[index]).map(|ready| messages.push(ready))
                };
                match early {
                    Ok(()) => indexes.push(index),
                    Err(error) => {
                        note_failure(&mut failed, key, index);
                        results[index] = Some(Err(error));
                    }
                }
            }
            if messages.is_empty() {
                continue;
            }
            let sent = self.send_all(&mut line, &messages).await;
            stopped = sent.stopped;
            for (index, result) in indexes.into_iter().zip(sent.results) {
                let key = batch[index].message.key();
                // Confirmed or not: what comes again has to come in order.
                let behind = is_behind(&failed, key, index);
                let result = if behind { Err(PublishError::Behind) } else { result };
                if result.is_err() {
                    note_failure(&mut failed, key, index);
                }
                results[index] = Some(result);
            }
        }
        results.into_iter().map(|result| result.unwrap_or(Err(PublishError::Behind))).collect()
    }
}

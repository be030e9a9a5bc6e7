//! The relay of events: publishes from the log.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use es_core::{ConsumerName, HandlerError, InvalidName, Position, Reactor, Recorded};
use es_projections::{Backoff, ConsumerOptions, FailurePolicy};
use tokio::time::Instant;

use crate::{
    broker::{Outgoing, Publisher},
    dead_letter_retries::DeadLetterRetries,
    draft::{DraftSettings, Drafts},
    limits,
    mapper::MessageMapper,
    relay_monitor::{OutboxWork, RelayMonitor},
    relay_store::RelayStore,
    sender::{RelayError, Sender},
    sender_settings::{SenderSettings, sender_setters},
    topic_template::TopicTemplate,
};

/// Publishes the events of the log, mapped to messages, to one broker. It is a [`Reactor`] that a
/// [`Runner`](es_projections::Runner) runs with [`Relay::options`].
///
/// - The relay publishes every message at least once, always under the same ID. Its checkpoint never moves past a
///   message that the broker has neither confirmed nor permanently refused. Refused messages become dead letters.
/// - Messages of one key are published in the order of their events, either in one batch or each after the previous one
///   is confirmed.
/// - While the broker is unavailable, nothing is lost and other consumers are not held up. A circuit breaker tests the
///   broker from time to time.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] enum OrderEvent { Placed { cents: i64 } }
/// # impl es_core::DomainEvent for OrderEvent { const CATEGORY: &'static str = "order"; }
/// # #[derive(Serialize)] enum ShopMessage { OrderPlaced { cents: i64 } }
/// use std::sync::Arc;
/// use es_core::{DeadLetterStore, Recorded, RunnerStore};
/// use es_messaging::{Publisher, Relay, map_into};
/// use es_projections::Runner;
///
/// fn runner<S>(store: &S, publisher: Arc<dyn Publisher>) -> Result<Runner, Box<dyn std::error::Error>>
/// where
///     S: RunnerStore + DeadLetterStore + Clone + 'static,
/// {
///     let mapper = map_into("shop.", |event: &Recorded<OrderEvent>| match event.event {
///         OrderEvent::Placed { cents } => Some(ShopMessage::OrderPlaced { cents }),
///     });
///     let relay = Relay::builder("orders_out", "/shop/orders", mapper)
///         .topic("{category}.{type}")
///         .build(publisher, Arc::new(store.clone()))?;
///     Ok(Runner::builder(store).reactor_with(relay, Relay::options()).build()?)
/// }
/// ```
pub struct Relay<M> {
    name: ConsumerName,
    mapper: M,
    drafts: DraftSettings,
    sender: Arc<Sender>,
    retries: DeadLetterRetries,
    confirmed: Mutex<Confirmed>,
}

impl<M> std::fmt::Debug for Relay<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The reason why a relay could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayConfigError {
    /// The name is not a valid consumer name.
    #[error("{0}")]
    Name(#[from] InvalidName),
    /// The topic is not a valid template.
    #[error("{0}")]
    Topic(#[from] crate::topic_template::InvalidTopic),
    /// The source is empty or too long, or contains a control character or a space. Use a URI reference of the system,
    /// such as `/shop/orders`.
    #[error("{source_uri:?} is no source of messages; give a URI reference of the system, such as /shop/orders")]
    Source {
        /// The invalid source.
        source_uri: String,
    },
}

/// Builds a [`Relay`].
#[must_use = "a builder does nothing until it is built"]
#[derive(Debug)]
pub struct RelayBuilder<M> {
    name: String,
    mapper: M,
    source: String,
    topic: Option<String>,
    expires_after: Option<Duration>,
    priority: Option<u8>,
    settings: SenderSettings,
}

impl Relay<()> {
    /// Returns a builder for a relay. The name is that of its checkpoint and its dead letters. The source is a URI
    /// reference of the system that its messages come from.
    pub fn builder<M: MessageMapper>(name: impl Into<String>, source: impl Into<String>, mapper: M) -> RelayBuilder<M> {
        RelayBuilder {
            name: name.into(),
            mapper,
            source: source.into(),
            topic: None,
            expires_after: None,
            priority: None,
            settings: SenderSettings::default(),
        }
    }

    /// Returns the options with which a runner should run the relay. With these options, the runner retries soon while
    /// the broker is unavailable, because the relay's own circuit breaker does the waiting. As with every consumer, an
    /// event that cannot be mapped stops the relay after [`es_projections::limits::DEFAULT_RETRIES`] retries. See
    /// [`FailurePolicy`] for alternatives.
    pub fn options() -> ConsumerOptions {
        let backoff = Backoff::new(es_projections::limits::DEFAULT_FIRST_BACKOFF, limits::RELAY_RUNNER_BACKOFF);
        ConsumerOptions::default().on_failure(FailurePolicy::default().with_backoff(backoff))
    }
}

impl<M: MessageMapper> RelayBuilder<M> {
    /// Sets the topics, as a [`TopicTemplate`]. The default is `{category}.{type}`.
    pub fn topic(mut self, template: impl Into<String>) -> Self {
        self.topic = Some(template.into());
        self
    }

    /// Sets how long after an event its messages expire, unless the mapper sets an expiration time.
    pub fn expires_after(mut self, time: Duration) -> Self {
        self.expires_after = Some(time);
        self
    }

    /// Sets the priority of its messages, from 0 to 9, unless the mapper sets one.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    sender_setters!();

    /// Builds the relay, with a publisher and the store of its dead letters. Of several processes, one at a time
    /// publishes dead letters again, under a separate lease.
    ///
    /// # Errors
    /// Returns [`RelayConfigError`] if the name, the topic, or the source is invalid.
    pub fn build(
        self,
        publisher: impl Into<Arc<dyn Publisher>>,
        store: Arc<dyn RelayStore>,
    ) -> Result<Relay<M>, RelayConfigError> {
        let Self { name, mapper, source, topic, expires_after, priority, settings } = self;
        let name = ConsumerName::new(&name)?;
        let is_uri = |c: char| c.is_ascii_graphic();
        if source.is_empty() || source.len() > limits::MAX_ATTRIBUTE_BYTES || !source.chars().all(is_uri) {
            return Err(RelayConfigError::Source { source_uri: source });
        }
        let topic = topic.map_or_else(|| Ok(TopicTemplate::default()), |topic| TopicTemplate::new(&topic))?;
        let (sender, retries) = settings.machine(&name, publisher.into(), store)?;
        sender.monitor.shared.note_work(OutboxWork::Idle);
        let drafts = DraftSettings { source, topic, expires_after, priority };
        Ok(Relay { name, mapper, drafts, sender, retries, confirmed: Mutex::default() })
    }
}

impl<M: MessageMapper> Relay<M> {
    /// Returns a monitor that shows what the relay is doing. Create it before the relay is passed to the runner.
    pub fn monitor(&self) -> RelayMonitor {
        self.sender.monitor.clone()
    }

    /// Returns the component that publishes dead letters again whose retry is requested. The relay also does this
    /// itself while there are events. Run this component beside the relay, so that retries do not have to wait for an
    /// event.
    pub fn retries(&self) -> DeadLetterRetries {
        self.retries.clone()
    }
}

/// Messages that the broker confirmed although an earlier message of their page was not confirmed. They are not
/// published again with the page. Each message is identified by its event and its number among the messages of that
/// event. An ID alone may belong to messages for several topics.
#[derive(Default)]
struct Confirmed(HashMap<(Position, usize), OutOfTurn>);

struct OutOfTurn {
    outgoing: Outgoing,
    /// The position of the first unconfirmed message of the page.
    from: Position,
    tried_at: Instant,
}

impl Confirmed {
    /// Forgets messages that must be published again after a reset of the checkpoint, and messages of pages that are no
    /// longer retried. Another process may have finished those pages, or the checkpoint has moved.
    fn forget_from(&mut self, first: Position) {
        self.0.retain(|_, kept| kept.from <= first && kept.tried_at.elapsed() < limits::CONFIRMED_KEEP);
    }

    /// Returns whether a message was confirmed, and forgets it.
    fn take(&mut self, place: (Position, usize), outgoing: &Outgoing) -> bool {
        self.0.remove(&place).is_some_and(|kept| kept.outgoing == *outgoing)
    }
}

/// A page that is being published. When it is dropped at any point, it remembers which messages were confirmed out of
/// order.
struct Page<'a> {
    confirmed: &'a Mutex<Confirmed>,
    /// For each message, the position of its event and its number among the messages of the event.
    places: Vec<(Position, usize)>,
    messages: Vec<Outgoing>,
    is_done: Vec<bool>,
}

impl Page<'_> {
    fn first_undone(&self) -> Option<Position> {
        let place = self.is_done.iter().position(|&is_done| !is_done)?;
        self.places.get(place).map(|(position, _)| *position)
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        let Some(from) = self.first_undone() else { return };
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = self.messages.iter().zip(&self.is_done).zip(&self.places);
        let out_of_turn = messages.filter(|((_, is_done), (position, _))| **is_done && *position >= from);
        let tried_at = Instant::now();
        confirmed.0.extend(out_of_turn.map(|((outgoing, _), place)| {
            let outgoing = outgoing.clone();
            (*place, OutOfTurn { outgoing, from, tried_at })
        }));
    }
}

impl<M: MessageMapper> Reactor for Relay<M> {
    type Event = M::Event;

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn partition_key<'a>(&'a self, event: &'a Recorded<M::Event>) -> Cow<'a, str> {
        self.mapper.key(event)
    }

    async fn react(&self, event: &Recorded<M::Event>) -> Result<(), HandlerError> {
        self.react_page(std::slice::from_ref(event)).await
    }

    fn page_size(&self) -> usize {
        self.sender.batch()
    }

    async fn react_page(&self, events: &[Recorded<M::Event>]) -> Result<(), HandlerError> {
        let Some(first) = events.first().map(|event| event.position()) else { return Ok(()) };
        let _working = self.sender.monitor.shared.working();
        self.retries.on_the_way().await;
        let (mut messages, mut positions) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        let mut unmapped = None;
        for event in events {
            let (key, before) = (self.mapper.key(event), messages.len());
            let mut drafts = Drafts::new(&self.drafts, event, &key, &mut messages);
            if let Err(error) = self.mapper.map(event, &mut drafts) {
                messages.truncate(before);
                unmapped = Some(HandlerError::at(event.position(), error));
                break;
            }
            positions.resize(messages.len(), event.position());
        }
        self.publish(first, messages, positions).await?;
        unmapped.map_or(Ok(()), Err)
    }
}

impl<M: MessageMapper> Relay<M> {
    async fn publish(
        &self,
        first: Position,
        messages: Vec<Outgoing>,
        positions: Vec<Position>,
    ) -> Result<(), HandlerError> {
        let mut last = (Position::ZERO, 0);
        let number = |position| {
            last = if last.0 == position { (position, last.1 + 1) } else { (position, 0) };
            last
        };
        let places = positions.into_iter().map(number).collect();
        let is_done = vec![false; messages.len()];
        let mut page = Page { confirmed: &self.confirmed, places, messages: messages.clone(), is_done };
        {
            let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
            confirmed.forget_from(first);
            if !confirmed.0.is_empty() {
                for ((is_done, outgoing), place) in page.is_done.iter_mut().zip(&page.messages).zip(&page.places) {
                    *is_done = confirmed.take(*place, outgoing);
                }
            }
        }
        let places: Vec<usize> = (0..messages.len()).filter(|&place| !page.is_done[place]).collect();
        let messages = if places.len() == messages.len() {
            messages
        } else {
            messages
                .into_iter()
                .zip(&page.is_done)
                .filter(|(_, is_done)| !**is_done)
                .map(|(message, _)| message)
                .collect()
        };
        let sent = self.sender.send(messages, |place| page.is_done[places[place]] = true).await;
        let Err(error) = sent else { return Ok(()) };
        let at = page.first_undone().unwrap_or(first);
        Err(match error {
            RelayError::Store(_) => HandlerError::at(at, error),
            error => HandlerError::transient(error).or_at(at),
        })
    }
}

//! Receiving from a durable pull consumer.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_nats::{
    Message as Raw, Request, Subject,
    connection::State,
    jetstream::{Message as Pulled, message::PublishMessage},
};
use async_trait::async_trait;
use es_messaging::{BrokerError, Delivery, Receipt, Settlement, Subscriber, Subscription};
use futures_util::{FutureExt, StreamExt, future::join_all};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    api::{missing, unavailable},
    binding,
    broker::Nats,
    limits, subjects, topology,
};

/// A member of a subscription.
pub(crate) struct NatsSubscriber {
    nats: Nats,
    name: String,
    prefix: String,
    prefetch: usize,
    ack_wait: Duration,
    inbox: String,
    /// Held by whoever receives.
    link: AsyncMutex<Link>,
    held: Mutex<Held>,
    /// Somebody settled something.
    settled: Notify,
}

/// What comes from the server.
struct Link {
    subscription: async_nats::Subscriber,
    /// How many messages the server was asked for and has not sent yet.
    asked: usize,
    /// Which question that was.
    question: u64,
    /// When the server forgets it.
    ends: Instant,
    /// How often the connection had come about when it was asked.
    connects: u64,
    /// What is here and was not given yet.
    ready: VecDeque<Delivery>,
}

/// What was given, or is ready, and is not settled.
#[derive(Default)]
struct Held {
    next: u64,
    messages: HashMap<u64, HeldMessage>,
    /// By the place in the stream: a message that comes again replaces its earlier delivery.
    places: HashMap<u64, u64>,
}

#[derive(Clone)]
struct HeldMessage {
    raw: Raw,
    reply: Subject,
    place: u64,
    attempt: u32,
}

impl fmt::Debug for NatsSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSubscriber")
            .field("name", &self.name)
            .field("prefetch", &self.prefetch)
            .finish_non_exhaustive()
    }
}

impl NatsSubscriber {
    pub(crate) async fn open(nats: &Nats, subscription: &Subscription) -> Result<Self, BrokerError> {
        topology::join(nats, subscription).await?;
        let inbox = nats.client.new_inbox();
        let stream = nats.client.subscribe(format!("{inbox}.*")).await.map_err(unavailable)?;
        let link = Link {
            subscription: stream,
            asked: 0,
            question: 0,
            ends: Instant::now(),
            connects: 0,
            ready: VecDeque::new(),
        };
        Ok(Self {
            nats: nats.clone(),
            name: subscription.name.clone(),
            prefix: nats.options.subject_prefix(),
            prefetch: subscription.prefetch.clamp(1, es_messaging::limits::MAX_PREFETCH),
            ack_wait: subscription.ack_wait,
            inbox,
            link: AsyncMutex::new(link),
            held: Mutex::default(),
            settled: Notify::new(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connects(&self) -> u64 {
        self.nats.client.statistics().connects.load(Ordering::Relaxed)
    }

    fn is_connected(&self) -> bool {
        self.nats.client.connection_state() == State::Connected
    }

    /// Asks for messages.
    async fn ask(&self, link: &mut Link, count: usize, wait: Duration) -> Result<(), BrokerError> {
        // The server forgets the question before whoever asked has given up, and says so.
        let expires = wait.clamp(Duration::from_millis(50), self.ack_wait.max(Duration::from_millis(50)));
        link.question += 1;
        let question = serde_json::json!({ "batch": count, "expires": expires.as_nanos() as u64 });
        let reply = format!("{}.{}", self.inbox, link.question);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.nats.options.stream, self.name);
        let payload = question.to_string().into_bytes().into();
        self.nats.client.publish_with_reply(subject, reply, payload).await.map_err(unavailable)?;
        link.asked = count;
        link.ends = Instant::now() + expires;
        link.connects = self.connects();
        Ok(())
    }

    /// Takes what came in. Says whether more is on its way at this moment.
    fn take(&self, link: &mut Link, raw: Raw) -> Result<Came, BrokerError> {
        if let Some(status) = raw.status {
            let current = raw.subject.rsplit('.').next().and_then(|word| word.parse().ok()) == Some(link.question);
            if current {
                link.asked = 0;
            }
            return Ok(match (current, status.as_u16()) {
                (false, _) | (true, 404 | 408) => Came::Nothing,
                (true, 409) if raw.description.as_deref().is_some_and(|said| said.contains("Consumer Deleted")) => {
                    let what = format!("the consumer {}", self.name);
                    return Err(missing(what, "somebody has removed it; declare it again"));
                }
                (true, _) => Came::Refusal,
            });
        }
        let Some(reply) = raw.reply.clone() else {
            return Ok(Came::Nothing);
        };
        let pulled = Pulled { message: raw, context: self.nats.api.context.clone() };
        let (place, delivered, pending) = match pulled.info() {
            Ok(info) => (info.stream_sequence, info.delivered, info.pending),
            Err(_) => return Ok(Came::Nothing),
        };
        let raw = pulled.message;
        link.asked = link.asked.saturating_sub(1);
        let attempt = u32::try_from(delivered.max(1)).unwrap_or(u32::MAX);
        let topic = subjects::topic_of(&self.prefix, &raw.subject).to_owned();
        let content = binding::decode(raw.headers.as_ref(), &raw.payload);
        let mut held = self.held();
        let receipt = held.next;
        held.next += 1;
        if let Some(earlier) = held.places.insert(place, receipt) {
            held.messages.remove(&earlier);
            link.ready.retain(|delivery| delivery.receipt != Receipt(earlier));
        }
        held.messages.insert(receipt, HeldMessage { raw, reply, place, attempt });
        link.ready.push_back(Delivery { receipt: Receipt(receipt), topic, attempt, content });
        Ok(if pending > 0 && link.asked > 0 { Came::MessageAndMore } else { Came::Message })
    }

    /// Puts those aside that came too often; says whether there was one.
    async fn put_aside(&self, link: &mut Link) -> Result<bool, BrokerError> {
        let Some(most) = self.nats.options.max_deliver else {
            return Ok(false);
        };
        let worn: Vec<u64> =
            link.ready.iter().filter(|delivery| delivery.attempt > most).map(|delivery| delivery.receipt.0).collect();
        for receipt in &worn {
            let found = self.held().messages.get(receipt).cloned();
            if let Some(message) = found {
                let reason = format!("it was delivered {most} times, and not settled");
                self.reject(&message, &reason).await?;
                self.forget(*receipt);
            }
            link.ready.retain(|delivery| delivery.receipt.0 != *receipt);
        }
        Ok(!worn.is_empty())
    }

    fn forget(&self, receipt: u64) {
        let mut held = self.held();
        if let Some(message) = held.messages.remove(&receipt)
            && held.places.get(&message.place) == Some(&receipt)
        {
            held.places.remove(&message.place);
        }
        drop(held);
        self.settled.notify_one();
    }

    /// Says something of a message to the server, and waits until it knows.
    async fn say(&self, message: &HeldMessage, what: String) -> Result<(), BrokerError> {
        let request = Request::new().payload(what.into_bytes().into()).timeout(Some(limits::REQUEST_LIMIT));
        self.nats.client.send_request(message.reply.clone(), request).await.map(|_| ()).map_err(unavailable)
    }

    /// Copies a message to the dead letters, and ends it. In this order: it may be there twice, and is never lost.
    async fn reject(&self, message: &HeldMessage, reason: &str) -> Result<(), BrokerError> {
        let topic = subjects::topic_of(&self.prefix, &message.raw.subject);
        let subject = topology::dead_subject(&self.nats.options, &self.name, topic);
        let mut headers = message.raw.headers.clone().unwrap_or_default();
        let reason: String = reason.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        headers.insert("es-dead-reason", &*es_messaging::percent_encode(&reason));
        headers.insert("es-dead-subscription", self.name.as_str());
        headers.insert("es-dead-attempts", message.attempt.to_string().as_str());
        headers.insert("es-dead-sequence", message.place.to_string().as_str());
        // With what it was published under: a stream that was made anew counts its places anew.
        let published = headers.get("Nats-Msg-Id").map(|id| id.to_string()).unwrap_or_default();
        headers.insert("Nats-Msg-Id", format!("{} {} {published}", self.name, message.place).as_str());
        let dead_stream = topology::dead_stream(&self.nats.options);
        // It would name the stream of messages.
        let publish = PublishMessage::build().headers(headers).payload(message.raw.payload.clone());
        let publish = publish.expected_stream(&dead_stream);
        let ack = self.nats.api.context.send_publish(subject, publish).await;
        let confirmed = match ack {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        confirmed.map_err(|error| match error.kind() {
            async_nats::jetstream::context::PublishErrorKind::StreamNotFound => {
                missing(format!("the stream {dead_stream}"), "dead letters have no place; declare it")
            }
            _ => unavailable(error),
        })?;
        self.say(message, format!("+TERM {reason}")).await
    }

    async fn settle_one(&self, receipt: Receipt, settlement: Settlement) -> Result<(), BrokerError> {
        // One from before is void: its message comes again.
        let Some(message) = self.held().messages.get(&receipt.0).cloned() else {
            return Ok(());
        };
        let done = match settlement {
            Settlement::Retry { after } if after.is_zero() => self.say(&message, "-NAK".to_owned()).await,
            Settlement::Retry { after } => {
                self.say(&message, format!("-NAK {{\"delay\": {}}}", after.as_nanos())).await
            }
            Settlement::Reject { reason } => {
                // Without a place for dead letters it is still unsettled.
                self.reject(&message, &reason).await?;
                Ok(())
            }
            _ => self.say(&message, "+ACK".to_owned()).await,
        };
        self.forget(receipt.0);
        done
    }
}

/// What came from the server.
enum Came {
    Message,
    MessageAndMore,
    Nothing,
    Refusal,
}

#[async_trait]
impl Subscriber for NatsSubscriber {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError> {
        self.nats.check_open()?;
        let deadline = Instant::now() + wait;
        let mut link = self.link.lock().await;
        let link = &mut *link;
        let most = max.min(self.prefetch);
        let mut refused = false;
        loop {
            let mut more = false;
            while link.ready.len() < most
                && let Some(came) = link.subscription.next().now_or_never()
            {
                let Some(raw) = came else { return Err(BrokerError::Closed) };
                match self.take(link, raw)? {
                    Came::MessageAndMore => more = true,
                    Came::Message => more = false,
                    Came::Nothing => {}
                    Came::Refusal => refused = true,
                }
            }
            // The rest is on its way: a little patience makes pages of it.
            if more && link.ready.len() < most {
                let gathered = timeout_at(Instant::now() + limits::GATHER_LIMIT, link.subscription.next()).await;
                if let Ok(Some(raw)) = gathered {
                    self.take(link, raw)?;
                    continue;
                }
            }
            if !link.ready.is_empty() && !self.put_aside(link).await? {
                break;
            }
            if !link.ready.is_empty() {
                continue;
            }
            if !self.is_connected() {
                link.asked = 0;
                return Err(unavailable("the connection is away"));
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Vec::new());
            }
            if refused {
                refused = false;
                // Its leader may have changed; if it is gone for good, this says so.
                topology::consumer(&self.nats, &self.name).await?;
                sleep_until((now + limits::PULL_PAUSE).min(deadline)).await;
                continue;
            }
            // What was asked before a connection was lost, or has run out, is not answered any more.
            if link.connects != self.connects() || now > link.ends + limits::PULL_PAUSE {
                link.asked = 0;
            }
            let credit = most.min(self.prefetch.saturating_sub(self.held().messages.len()));
            if link.asked == 0 && credit == 0 {
                // Everything is in the hands of whoever receives.
                let _ = timeout_at(deadline, self.settled.notified()).await;
                continue;
            }
            if link.asked == 0 {
                self.ask(link, credit, deadline - now).await?;
            }
            let until = deadline.min(link.ends + limits::PULL_PAUSE).min(now + Duration::from_millis(500));
            match timeout_at(until, link.subscription.next()).await {
                Ok(None) => return Err(BrokerError::Closed),
                Ok(Some(raw)) => match self.take(link, raw)? {
                    Came::Refusal => refused = true,
                    Came::MessageAndMore => {
                        let gathered =
                            timeout_at(Instant::now() + limits::GATHER_LIMIT, link.subscription.next()).await;
                        if let Ok(Some(raw)) = gathered {
                            self.take(link, raw)?;
                        }
                    }
                    _ => {}
                },
                Err(_) => {}
            }
        }
        let count = link.ready.len().min(most);
        Ok(link.ready.drain(..count).collect())
    }

    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError> {
        let all = settlements.into_iter().map(|(receipt, settlement)| self.settle_one(receipt, settlement));
        join_all(all).await.into_iter().collect()
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        let replies: Vec<Subject> = {
            let held = self.held();
            receipts.iter().filter_map(|receipt| held.messages.get(&receipt.0)).map(|one| one.reply.clone()).collect()
        };
        for reply in replies {
            self.nats.client.publish(reply, "+WPI".into()).await.map_err(unavailable)?;
        }
        if !self.is_connected() {
            return Err(unavailable("the connection is away"));
        }
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), BrokerError> {
        let mut link = self.link.lock().await;
        // What the server has sent already is given back too.
        let _ = link.subscription.unsubscribe().await;
        while let Some(Some(raw)) = link.subscription.next().now_or_never() {
            let _ = self.take(&mut link, raw);
        }
        let mut held: Vec<u64> = self.held().messages.keys().copied().collect();
        // They come again in the order in which they are given back.
        held.sort_unstable();
        let back = held.into_iter().map(|receipt| (Receipt(receipt), Settlement::Retry { after: Duration::ZERO }));
        self.settle(back.collect()).await
    }
}

//! Receiving as a member of a consumer group.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use es_messaging::{BrokerError, Delivery, Receipt, Settlement, Subscriber, Subscription};
use futures_util::future::BoxFuture;
use redis::{Pipeline, RedisError, Script};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    time::{Instant, timeout_at},
};

use crate::{
    binding::{self, Fields},
    broker::Shared,
    limits,
    link::{Link, ask, meaning},
    options::Trim,
    topology,
};

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/claim.lua")));
static RETRY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/retry.lua")));
static EXTEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/extend.lua")));
static REJECT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/reject.lua")));
static LEAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/leave.lua")));

/// Entries by stream: id and fields.
type Entries = Vec<(String, Vec<(String, Option<Fields>)>)>;
type Reading = BoxFuture<'static, Result<Option<Entries>, RedisError>>;

/// A member of a subscription.
pub(crate) struct RedisSubscriber {
    shared: Arc<Shared>,
    /// What it reads by: it blocks.
    reader: Arc<Link>,
    group: String,
    consumer: String,
    prefetch: usize,
    ack_wait: Duration,
    /// Held by whoever receives.
    state: AsyncMutex<State>,
    held: Mutex<Held>,
    settled: Notify,
}

struct State {
    /// Streams and their topics.
    streams: Vec<(String, String)>,
    looked_at: Instant,
    claimed_at: Option<Instant>,
    trimmed_at: Instant,
    /// The question that is on its way. It survives whoever asked it, so that its answer is not lost.
    reading: Option<Reading>,
    /// After a lost answer: what the server has given to this member, and it does not know, is asked for.
    is_unsure: bool,
    /// Which streams have their turn, if there are more than messages are wanted.
    turn: usize,
    ready: VecDeque<Delivery>,
}

#[derive(Default)]
struct Held {
    next: u64,
    entries: BTreeMap<u64, HeldEntry>,
    places: HashMap<(String, String), u64>,
    /// Something was given back that is due at once.
    is_due: bool,
    /// Streams of which something was settled.
    to_trim: HashSet<String>,
}

#[derive(Clone)]
struct HeldEntry {
    stream: String,
    topic: String,
    id: String,
    attempt: u32,
}

impl fmt::Debug for RedisSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RedisSubscriber");
        debug.field("group", &self.group).field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

impl RedisSubscriber {
    pub(crate) async fn open(shared: Arc<Shared>, subscription: &Subscription) -> Result<Self, BrokerError> {
        let streams = topology::streams(&shared, &subscription.name).await?;
        let reader = Arc::new(shared.blocking_link(limits::CLAIM_EVERY));
        let now = Instant::now();
        let state = State {
            streams,
            looked_at: now,
            claimed_at: None,
            trimmed_at: now,
            reading: None,
            is_unsure: false,
            turn: 0,
            ready: VecDeque::new(),
        };
        let subscriber = Self {
            shared,
            reader,
            group: subscription.name.clone(),
            consumer: format!("m-{}", uuid::Uuid::now_v7().simple()),
            prefetch: subscription.prefetch.clamp(1, es_messaging::limits::MAX_PREFETCH),
            ack_wait: subscription.ack_wait.max(Duration::from_millis(1)),
            state: AsyncMutex::new(state),
            held: Mutex::default(),
            settled: Notify::new(),
        };
        let streams = subscriber.state.lock().await.streams.clone();
        subscriber.remove_members(&streams).await.map_err(|error| subscriber.meaning(error))?;
        Ok(subscriber)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meaning(&self, error: RedisError) -> BrokerError {
        meaning(error, &format!("the subscription {}", self.group))
    }

    /// Removes members that hold nothing and are away: this one, if it holds nothing, and others after a long time.
    async fn remove_members(&self, streams: &[(String, String)]) -> Result<(), RedisError> {
        if streams.is_empty() {
            return Ok(());
        }
        let mut script = LEAVE.prepare_invoke();
        for (stream, _) in streams {
            script.key(stream);
        }
        script.arg(&self.group).arg(&self.consumer).arg(millis(limits::FORGET_MEMBERS_AFTER));
        ask!(&self.shared.link, |connection| script.invoke_async::<u64>(connection)).map(|_| ())
    }

    /// Takes an entry to be given; one that comes again replaces its earlier delivery.
    fn take(&self, state: &mut State, stream: &str, id: String, attempt: u32, fields: Fields) {
        let topic = state.streams.iter().find(|(key, _)| key == stream).map(|(_, topic)| topic.clone());
        let topic = topic.unwrap_or_else(|| stream.to_owned());
        let mut held = self.held();
        let receipt = held.next;
        held.next += 1;
        if let Some(earlier) = held.places.insert((stream.to_owned(), id.clone()), receipt) {
            held.entries.remove(&earlier);
            state.ready.retain(|delivery| delivery.receipt != Receipt(earlier));
        }
        held.entries.insert(receipt, HeldEntry { stream: stream.to_owned(), topic: topic.clone(), id, attempt });
        drop(held);
        let content = binding::decode(fields);
        state.ready.push_back(Delivery { receipt: Receipt(receipt), topic, attempt, content });
    }

    fn forget(&self, receipts: &[u64]) {
        let mut held = self.held();
        for receipt in receipts {
            if let Some(entry) = held.entries.remove(receipt) {
                let place = (entry.stream.clone(), entry.id);
                if held.places.get(&place) == Some(receipt) {
                    held.places.remove(&place);
                }
                held.to_trim.insert(entry.stream);
            }
        }
        drop(held);
        self.settled.notify_one();
    }

    /// Claims what is due again.
    async fn claim(&self, state: &mut State, most: usize) -> Result<(), RedisError> {
        let mut script = CLAIM.prepare_invoke();
        script.key(self.shared.keys.delayed(&self.group));
        for (stream, _) in &state.streams {
            script.key(stream);
        }
        script.arg(&self.group).arg(&self.consumer).arg(millis(self.ack_wait)).arg(most);
        let claimed: Vec<(usize, String, u32, Fields)> =
            ask!(&self.shared.link, |connection| script.invoke_async(connection))?;
        for (number, id, attempt, fields) in claimed {
            if let Some((stream, _)) = state.streams.get(number.saturating_sub(1)).cloned() {
                self.take(state, &stream, id, attempt, fields);
            }
        }
        Ok(())
    }

    /// What the server has given to this member, and did not arrive.
    async fn recover(&self, state: &mut State) -> Result<(), RedisError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group).arg(&self.consumer).arg("COUNT").arg(self.prefetch).arg("STREAMS");
        command.arg(state.streams.iter().map(|(stream, _)| stream).collect::<Vec<_>>());
        command.arg(state.streams.iter().map(|_| "0").collect::<Vec<_>>());
        let found: Option<Entries> = ask!(&self.shared.link, |connection| command.query_async(connection))?;
        for (stream, entries) in found.unwrap_or_default() {
            for (id, fields) in entries {
                let is_held = self.held().places.contains_key(&(stream.clone(), id.clone()));
                if let (false, Some(fields)) = (is_held, fields) {
                    self.take(state, &stream, id, 1, fields);
                }
            }
        }
        Ok(())
    }

    /// Asks for new entries.
    fn read(&self, state: &mut State, most: usize, wait: Duration) -> Reading {
        let all = state.streams.len();
        let chosen = all.min(most);
        let begin = state.turn % all.max(1);
        state.turn = state.turn.wrapping_add(chosen);
        let streams: Vec<String> = (0..chosen).map(|at| state.streams[(begin + at) % all].0.clone()).collect();
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group).arg(&self.consumer).arg("COUNT").arg((most / chosen.max(1)).max(1));
        // With the others waiting for their turn it does not wait long.
        let wait = if chosen < all { wait.min(Duration::from_millis(20)) } else { wait };
        if wait >= Duration::from_millis(1) {
            command.arg("BLOCK").arg(millis(wait));
        }
        command.arg("STREAMS").arg(&streams).arg(vec![">"; chosen]);
        let reader = Arc::clone(&self.reader);
        Box::pin(async move { ask!(&reader, |connection| command.query_async(connection)) })
    }

    fn arrived(&self, state: &mut State, entries: Entries) {
        for (stream, entries) in entries {
            for (id, fields) in entries {
                self.take(state, &stream, id, 1, fields.unwrap_or_default());
            }
        }
    }

    /// Removes what everybody has settled, where that is wanted.
    async fn trim(&self, state: &mut State) {
        if self.shared.options.trim != Trim::Settled || state.trimmed_at.elapsed() < limits::TRIM_EVERY {
            return;
        }
        state.trimmed_at = Instant::now();
        let streams: Vec<String> = self.held().to_trim.drain().collect();
        for stream in streams {
            // What fails is tried again with the next messages.
            let _ = topology::trim(&self.shared, &stream).await;
        }
    }

    /// One step on the way to messages; an error if the server cannot be asked.
    async fn step(&self, state: &mut State, most: usize, deadline: Instant) -> Result<(), RedisError> {
        if state.reading.is_none() {
            if state.is_unsure {
                self.recover(state).await?;
                state.is_unsure = false;
                return Ok(());
            }
            let every = (self.ack_wait / 4).clamp(Duration::from_millis(20), limits::CLAIM_EVERY);
            let is_due = std::mem::take(&mut self.held().is_due);
            if is_due || state.claimed_at.is_none_or(|at| at.elapsed() >= every) {
                state.claimed_at = Some(Instant::now());
                self.claim(state, most).await?;
                if !state.ready.is_empty() {
                    return Ok(());
                }
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            state.reading = Some(self.read(state, most, wait.min(every)));
        }
        let Some(reading) = state.reading.as_mut() else {
            return Ok(());
        };
        // A question that does not wait is answered at once, also when there is no time left.
        let limit = deadline.max(Instant::now() + Duration::from_millis(20));
        let Ok(answer) = timeout_at(limit, reading.as_mut()).await else {
            return Ok(());
        };
        state.reading = None;
        match answer {
            Ok(entries) => self.arrived(state, entries.unwrap_or_default()),
            Err(error) => {
                state.is_unsure = true;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn ack(&self, receipts: &[u64]) -> Result<(), RedisError> {
        let mut by_stream: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for receipt in receipts {
            if let Some(entry) = self.held().entries.get(receipt) {
                by_stream.entry(entry.stream.clone()).or_default().push(entry.id.clone());
            }
        }
        if by_stream.is_empty() {
            return Ok(());
        }
        let mut acks = Pipeline::new();
        for (stream, ids) in &by_stream {
            acks.cmd("XACK").arg(stream).arg(&self.group).arg(ids).ignore();
        }
        ask!(&self.shared.link, |connection| acks.query_async::<()>(connection))
    }

    async fn retry(&self, retries: &[(u64, Duration)]) -> Result<(), RedisError> {
        let mut script = RETRY.prepare_invoke();
        script.key(self.shared.keys.delayed(&self.group)).arg(&self.group).arg(&self.consumer);
        let mut any = false;
        for (receipt, after) in retries {
            if let Some(entry) = self.held().entries.get(receipt) {
                script.key(&entry.stream).arg(&entry.id).arg(millis(*after));
                any = true;
            }
        }
        if !any {
            return Ok(());
        }
        ask!(&self.shared.link, |connection| script.invoke_async::<u64>(connection)).map(|_| ())
    }

    async fn reject(&self, receipt: u64, reason: &str) -> Result<(), RedisError> {
        let Some(entry) = self.held().entries.get(&receipt).cloned() else {
            return Ok(());
        };
        let mut script = REJECT.prepare_invoke();
        script.key(&entry.stream).key(self.shared.keys.dead(&self.group));
        script.arg(&self.group).arg(&entry.id).arg(&entry.topic).arg(reason).arg(entry.attempt);
        ask!(&self.shared.link, |connection| script.invoke_async::<u64>(connection)).map(|_| ())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Subscriber for RedisSubscriber {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError> {
        let deadline = Instant::now() + wait;
        let mut state = self.state.lock().await;
        let state = &mut *state;
        let mut steps = 0_u32;
        loop {
            self.shared.check_open()?;
            self.trim(state).await;
            if !state.ready.is_empty() {
                let count = state.ready.len().min(max);
                return Ok(state.ready.drain(..count).collect());
            }
            // At least one question, however short the time is.
            if steps > 0 && Instant::now() >= deadline {
                return Ok(Vec::new());
            }
            if state.looked_at.elapsed() >= limits::TOPICS_EVERY {
                state.streams = topology::streams(&self.shared, &self.group).await?;
                state.looked_at = Instant::now();
            }
            let most = max.min(self.prefetch.saturating_sub(self.held().entries.len()));
            if most == 0 && state.reading.is_none() {
                // Everything is in the hands of whoever receives.
                let _ = timeout_at(deadline, self.settled.notified()).await;
            } else if state.streams.is_empty() {
                // A topic may be declared later.
                tokio::time::sleep_until(deadline.min(Instant::now() + limits::TOPICS_EVERY)).await;
            } else {
                self.step(state, most, deadline).await.map_err(|error| self.meaning(error))?;
            }
            steps = steps.saturating_add(1);
        }
    }

    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError> {
        let (mut acks, mut retries, mut rejects) = (Vec::new(), Vec::new(), Vec::new());
        for (Receipt(receipt), settlement) in settlements {
            match settlement {
                Settlement::Retry { after } => retries.push((receipt, after)),
                Settlement::Reject { reason } => rejects.push((receipt, reason)),
                _ => acks.push(receipt),
            }
        }
        retries.sort_unstable();
        // Each kind is tried, whatever becomes of the others. What fails comes again.
        let mut result = self.ack(&acks).await;
        self.forget(&acks);
        result = result.and(self.retry(&retries).await);
        let retried: Vec<u64> = retries.iter().map(|(receipt, _)| *receipt).collect();
        self.forget(&retried);
        self.held().is_due |= !retried.is_empty();
        for (receipt, reason) in rejects {
            result = result.and(self.reject(receipt, &reason).await);
            self.forget(&[receipt]);
        }
        result.map_err(|error| self.meaning(error))
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        let mut script = EXTEND.prepare_invoke();
        script.arg(&self.group).arg(&self.consumer);
        let mut any = false;
        for Receipt(receipt) in receipts {
            if let Some(entry) = self.held().entries.get(receipt) {
                script.key(&entry.stream).arg(&entry.id);
                any = true;
            }
        }
        if !any {
            return Ok(());
        }
        let extended = ask!(&self.shared.link, |connection| script.invoke_async::<u64>(connection));
        extended.map(|_| ()).map_err(|error| self.meaning(error))
    }

    async fn close(self: Box<Self>) -> Result<(), BrokerError> {
        let mut state = self.state.lock().await;
        // What is on its way is given back too.
        if let Some(reading) = state.reading.take()
            && let Ok(Ok(Some(entries))) = timeout_at(Instant::now() + limits::CLAIM_EVERY * 2, reading).await
        {
            self.arrived(&mut state, entries);
        }
        let held: Vec<u64> = self.held().entries.keys().copied().collect();
        let back = held.into_iter().map(|receipt| (Receipt(receipt), Settlement::Retry { after: Duration::ZERO }));
        self.settle(back.collect()).await?;
        let removed = self.remove_members(&state.streams).await;
        removed.map_err(|error| self.meaning(error))
    }
}

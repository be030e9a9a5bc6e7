//! The messages of one subscription.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use time::OffsetDateTime;
use tokio::{sync::Notify, time::Instant};

use crate::{
    broker::{Delivery, Receipt, Settlement},
    message::Message,
};

/// A message that a member of a subscription rejected, or that expired.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryDeadLetter {
    /// The topic that the message was published to.
    pub topic: String,
    /// The message.
    pub message: Message,
    /// The number of deliveries.
    pub attempt: u32,
    /// Why it is a dead letter.
    pub reason: String,
}

/// A member that holds messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) connection: u64,
}

/// The messages of a subscription, in the order in which they were published.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) topics: Vec<String>,
    pub(crate) dead: Vec<MemoryDeadLetter>,
    /// Notified when a member may find more messages than before.
    pub(crate) changed: Arc<Notify>,
    messages: HashMap<u64, Entry>,
    next: u64,
    /// The messages whose time to be delivered has come.
    waiting: BTreeSet<u64>,
    delayed: BTreeSet<(Instant, u64)>,
    held: BTreeMap<u64, Held>,
    keys: HashMap<String, Key>,
}

#[derive(Debug)]
struct Entry {
    topic: String,
    message: Message,
    attempt: u32,
    expires: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    number: u64,
    member: Member,
    until: Instant,
}

/// The state of a key. It does not exist while all messages of the key wait.
#[derive(Debug, Default)]
struct Key {
    /// The member that holds messages of the key, and their number.
    held: Option<(Member, usize)>,
    /// The messages that wait for their time.
    delayed: BTreeSet<u64>,
}

impl Queue {
    pub(crate) fn new(topics: Vec<String>) -> Self {
        Self {
            topics,
            dead: Vec::new(),
            changed: Arc::default(),
            messages: HashMap::new(),
            next: 0,
            waiting: BTreeSet::new(),
            delayed: BTreeSet::new(),
            held: BTreeMap::new(),
            keys: HashMap::new(),
        }
    }

    pub(crate) fn depth(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn push(&mut self, topic: &str, message: Message) {
        let expires = message.expires_at().map(|at| {
            let left = at - OffsetDateTime::now_utc();
            Instant::now() + Duration::try_from(left).unwrap_or_default()
        });
        self.waiting.insert(self.next);
        self.messages.insert(self.next, Entry { topic: topic.to_owned(), message, attempt: 0, expires });
        self.next += 1;
    }

    /// Delivers at most `max` messages to a member, each with its own receipt, for `ack_wait`.
    pub(crate) fn take(
        &mut self,
        member: Member,
        max: usize,
        ack_wait: Duration,
        mut receipt: impl FnMut() -> u64,
    ) -> Vec<Delivery> {
        let now = Instant::now();
        self.pass_time(now);
        let mut taken = Vec::new();
        let mut expired = Vec::new();
        for &number in &self.waiting {
            if taken.len() == max {
                break;
            }
            let Some(entry) = self.messages.get_mut(&number) else { continue };
            if entry.expires.is_some_and(|at| at <= now) {
                expired.push(number);
                continue;
            }
            if let Some(key) = entry.message.key() {
                let state = self.keys.entry(key.to_owned()).or_default();
                let behind = state.delayed.first().is_some_and(|&first| first < number);
                if behind || state.held.is_some_and(|(holder, _)| holder != member) {
                    continue;
                }
                state.held = Some((member, state.held.map_or(0, |(_, count)| count) + 1));
            }
            entry.attempt += 1;
            let receipt = receipt();
            self.held.insert(receipt, Held { number, member, until: now + ack_wait });
            let (topic, message) = (entry.topic.clone(), entry.message.clone());
            let delivery = Delivery { receipt: Receipt(receipt), topic, attempt: entry.attempt, content: Ok(message) };
            taken.push((number, delivery));
        }
        for (number, _) in &taken {
            self.waiting.remove(number);
        }
        for number in expired {
            self.waiting.remove(&number);
            self.bury(number, "it had expired".to_owned());
        }
        taken.into_iter().map(|(_, delivery)| delivery).collect()
    }

    /// Returns the number of messages that a member holds.
    pub(crate) fn held_by(&self, member: Member) -> usize {
        self.held.values().filter(|held| held.member == member).count()
    }

    /// Settles a message, if this member still holds it with this receipt.
    pub(crate) fn settle(&mut self, member: Member, receipt: Receipt, settlement: Settlement) {
        if self.held.get(&receipt.0).is_none_or(|held| held.member != member || held.until <= Instant::now()) {
            return;
        }
        let Some(number) = self.release(receipt.0) else { return };
        match settlement {
            Settlement::Ack => {
                self.messages.remove(&number);
            }
            Settlement::Retry { after } if after.is_zero() => {
                self.waiting.insert(number);
            }
            Settlement::Retry { after } => {
                self.delayed.insert((Instant::now() + after, number));
                if let Some(key) = self.messages.get(&number).and_then(|entry| entry.message.key()) {
                    self.keys.entry(key.to_owned()).or_default().delayed.insert(number);
                }
            }
            Settlement::Reject { reason } => self.bury(number, reason),
        }
    }

    /// Extends the time of a held message.
    pub(crate) fn extend(&mut self, member: Member, receipt: Receipt, ack_wait: Duration) {
        let now = Instant::now();
        if let Some(held) = self.held.get_mut(&receipt.0).filter(|held| held.member == member && held.until > now) {
            held.until = now + ack_wait;
        }
    }

    /// Takes back the messages that some members hold.
    pub(crate) fn give_back(&mut self, whose: impl Fn(Member) -> bool) {
        self.take_back(|held| whose(held.member));
    }

    /// Returns when the next message becomes available because of its time.
    pub(crate) fn next_change(&self) -> Option<Instant> {
        let held = self.held.values().map(|held| held.until).min();
        held.into_iter().chain(self.delayed.first().map(|(at, _)| *at)).min()
    }

    /// Takes back messages that were held for too long, and releases those that have waited long enough.
    fn pass_time(&mut self, now: Instant) {
        self.take_back(|held| held.until <= now);
        while let Some(&(at, number)) = self.delayed.first().filter(|(at, _)| *at <= now) {
            self.delayed.remove(&(at, number));
            self.waiting.insert(number);
            if let Some(key) = self.messages.get(&number).and_then(|entry| entry.message.key())
                && let Some(state) = self.keys.get_mut(key)
            {
                state.delayed.remove(&number);
            }
        }
        self.keys.retain(|_, state| state.held.is_some() || !state.delayed.is_empty());
    }

    fn take_back(&mut self, which: impl Fn(&Held) -> bool) {
        let receipts: Vec<u64> =
            self.held.iter().filter(|(_, held)| which(held)).map(|(receipt, _)| *receipt).collect();
        for receipt in receipts {
            if let Some(number) = self.release(receipt) {
                self.waiting.insert(number);
            }
        }
    }

    /// Makes a message unheld.
    fn release(&mut self, receipt: u64) -> Option<u64> {
        let held = self.held.remove(&receipt)?;
        let key = self.messages.get(&held.number).and_then(|entry| entry.message.key());
        if let Some(state) = key.and_then(|key| self.keys.get_mut(key)) {
            state.held = state
                .held
                .and_then(|(member, count)| count.checked_sub(1).filter(|&left| left > 0).map(|left| (member, left)));
        }
        Some(held.number)
    }

    fn bury(&mut self, number: u64, reason: String) {
        if let Some(Entry { topic, message, attempt, .. }) = self.messages.remove(&number) {
            self.dead.push(MemoryDeadLetter { topic, message, attempt, reason });
        }
    }
}

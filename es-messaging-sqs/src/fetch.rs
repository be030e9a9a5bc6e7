//! Getting messages from a queue, apart from whoever waits for them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
};
use es_messaging::{BrokerError, topic_matches};
use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::{
    binding::TOPIC,
    connection::Connection,
    error::{Kind, SQS, broker_error, kind},
    limits,
};

/// A message that this member has taken out of the queue for some time.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) handle: String,
    /// What SQS calls it; one that is sent again is called otherwise.
    pub(crate) message_id: String,
    pub(crate) topic: String,
    pub(crate) body: Arc<str>,
    pub(crate) attempt: u32,
    pub(crate) group: Option<String>,
    /// Until when it is hidden from others.
    pub(crate) until: Instant,
}

/// A queue, and what this member has of it.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) connection: Arc<Connection>,
    pub(crate) url: String,
    pub(crate) dead_url: String,
    pub(crate) topics: Vec<String>,
    pub(crate) visibility: Duration,
    pub(crate) arrived: Notify,
    /// Nobody wants anything any more.
    pub(crate) ended: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Not given yet.
    pub(crate) waiting: VecDeque<Taken>,
    /// Given, by receipt.
    pub(crate) held: HashMap<u64, Taken>,
    pub(crate) error: Option<BrokerError>,
    pub(crate) fetching: bool,
    pub(crate) next_receipt: u64,
}

impl State {
    /// Forgets what others may have by now, and what came after that in its group: it would be given before what comes again.
    pub(crate) fn forget_late(&mut self, now: Instant, visibility: Duration) {
        let mut late = HashSet::new();
        self.held.retain(|_, taken| {
            let stays = taken.until > now;
            late.extend(taken.group.clone().filter(|_| !stays));
            stays
        });
        // What is given should have some time left.
        self.waiting.retain(|taken| {
            let is_behind = taken.group.as_ref().is_some_and(|group| late.contains(group));
            let stays = taken.until > now + visibility / 2 && !is_behind;
            late.extend(taken.group.clone().filter(|_| !stays));
            stays
        });
    }
}

impl Queue {
    pub(crate) fn new(
        connection: Arc<Connection>,
        url: String,
        dead_url: String,
        topics: Vec<String>,
        visibility: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            connection,
            url,
            dead_url,
            topics,
            visibility,
            arrived: Notify::new(),
            ended: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn visibility_seconds(&self) -> i32 {
        i32::try_from(self.visibility.as_secs()).unwrap_or(i32::MAX)
    }

    /// Begins to get at most `room` messages, waiting so long for the first, unless that is going on already.
    pub(crate) fn fetch(self: &Arc<Self>, room: usize, wait: Duration) {
        let mut state = self.lock();
        if state.fetching {
            return;
        }
        state.fetching = true;
        drop(state);
        let this = self.clone();
        tokio::spawn(async move {
            let result = this.fetch_round(room, wait).await;
            // Whoever closes waits until nothing is on its way any more, back neither.
            if this.ended.load(Ordering::Acquire) {
                this.give_back().await;
            }
            {
                let mut state = this.lock();
                state.fetching = false;
                state.error = result.err().or(state.error.take());
            }
            // Dropped in between.
            if this.ended.load(Ordering::Acquire) {
                this.give_back().await;
            }
            this.arrived.notify_waiters();
        });
    }

    async fn fetch_round(&self, room: usize, wait: Duration) -> Result<(), BrokerError> {
        let seconds = wait.min(limits::MAX_LONG_POLL).as_millis().div_ceil(1_000) as i32;
        let mut got = self.call(room, seconds).await?;
        let mut all = got;
        // A full answer may be the first of several.
        while got > 0 && got % limits::CALL_MESSAGES == 0 && all < room {
            // Of a FIFO no two calls get the same key: what has messages on their way is not given.
            let most = limits::CALLS;
            let calls = (room - all).div_ceil(limits::CALL_MESSAGES).min(most);
            let answers =
                join_all((0..calls).map(|call| self.call(room - all - call * limits::CALL_MESSAGES, 0))).await;
            got = 0;
            for answer in answers {
                got += answer?;
            }
            all += got;
            if got < calls * limits::CALL_MESSAGES {
                break;
            }
        }
        Ok(())
    }

    /// One call: how many messages came.
    async fn call(&self, room: usize, seconds: i32) -> Result<usize, BrokerError> {
        let most = i32::try_from(room.clamp(1, limits::CALL_MESSAGES)).unwrap_or(1);
        // Counted from before the call: rather too early than too late.
        let until = Instant::now() + self.visibility;
        let receive = self.connection.waiting.receive_message().queue_url(&self.url);
        let receive = receive
            .max_number_of_messages(most)
            .wait_time_seconds(seconds)
            // The queue may have been declared with another time.
            .visibility_timeout(self.visibility_seconds())
            .message_attribute_names(TOPIC)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId);
        let answer = receive.send().await.map_err(|error| broker_error("the queue", error))?;
        let until = if seconds == 0 { until } else { Instant::now() + self.visibility };
        let (mut taken, mut unwanted, mut count) = (Vec::new(), Vec::new(), 0);
        for message in answer.messages.unwrap_or_default() {
            count += 1;
            let Some(message) = self.taken(message, until) else { continue };
            // The filter knows the beginnings of topics alone.
            match self.topics.iter().any(|pattern| topic_matches(pattern, &message.topic)) {
                true => taken.push(message),
                false => unwanted.push(message.handle),
            }
        }
        self.lock().waiting.extend(taken);
        if !unwanted.is_empty() {
            self.delete(unwanted).await?;
        }
        Ok(count)
    }

    fn taken(&self, message: Message, until: Instant) -> Option<Taken> {
        let system = |name| message.attributes().and_then(|all| all.get(&name));
        let attempt = system(MessageSystemAttributeName::ApproximateReceiveCount).and_then(|count| count.parse().ok());
        let group = system(MessageSystemAttributeName::MessageGroupId).cloned();
        let topic = message.message_attributes().and_then(|all| all.get(TOPIC)).and_then(|topic| topic.string_value());
        Some(Taken {
            handle: message.receipt_handle()?.to_owned(),
            message_id: message.message_id()?.to_owned(),
            // Sent past the topic: it is for whoever reads this queue.
            topic: topic.or(self.topics.first().map(String::as_str)).unwrap_or_default().to_owned(),
            body: message.body().unwrap_or_default().into(),
            attempt: attempt.unwrap_or(1),
            group,
            until,
        })
    }

    /// Deletes messages; those whose time was over come again.
    pub(crate) async fn delete(&self, handles: Vec<String>) -> Result<(), BrokerError> {
        let calls = handles.chunks(limits::CALL_MESSAGES).map(|chunk| async move {
            let mut request = self.connection.sqs.delete_message_batch().queue_url(&self.url);
            for (index, handle) in chunk.iter().enumerate() {
                let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(handle);
                request = request.entries(entry.build().map_err(wrong)?);
            }
            let answer = request.send().await.map_err(|error| broker_error("the queue", error))?;
            failures(answer.failed())
        });
        join_all(calls).await.into_iter().collect()
    }

    /// Hides messages for so many seconds from now; 0 gives them back.
    pub(crate) async fn hide(&self, handles: Vec<(String, i32)>) -> Result<(), BrokerError> {
        let calls = handles.chunks(limits::CALL_MESSAGES).map(|chunk| async move {
            let mut request = self.connection.sqs.change_message_visibility_batch().queue_url(&self.url);
            for (index, (handle, seconds)) in chunk.iter().enumerate() {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
                let entry = entry.receipt_handle(handle).visibility_timeout(*seconds);
                request = request.entries(entry.build().map_err(wrong)?);
            }
            let answer = request.send().await.map_err(|error| broker_error("the queue", error))?;
            failures(answer.failed())
        });
        join_all(calls).await.into_iter().collect()
    }

    /// Gives back all that is not settled; the last first, so that no other gets a later one of a key before.
    pub(crate) async fn give_back(&self) {
        let mut all: Vec<(u64, Taken)> = {
            let mut state = self.lock();
            let waiting = std::mem::take(&mut state.waiting);
            let held = std::mem::take(&mut state.held);
            held.into_iter().chain((state.next_receipt..).zip(waiting)).collect()
        };
        let now = Instant::now();
        all.retain(|(_, taken)| taken.until > now);
        all.sort_by_key(|(receipt, _)| std::cmp::Reverse(*receipt));
        let handles = all.into_iter().map(|(_, taken)| (taken.handle, 0)).collect();
        if let Err(error) = self.hide(handles).await {
            tracing::debug!(%error, "what was not settled comes again only after its time");
        }
    }
}

fn wrong(error: aws_sdk_sqs::error::BuildError) -> BrokerError {
    BrokerError::Unavailable { broker: SQS, source: error.into() }
}

fn failures(failed: &[aws_sdk_sqs::types::BatchResultErrorEntry]) -> Result<(), BrokerError> {
    let is_stale = |code: &str| matches!(kind(code), Kind::Stale | Kind::Invalid);
    match failed.iter().find(|entry| !is_stale(entry.code())) {
        None => Ok(()),
        Some(entry) => {
            let reason = format!("{}: {}", entry.code(), entry.message().unwrap_or("it says no more"));
            Err(BrokerError::Unavailable { broker: SQS, source: reason.into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_not_passed_by_what_came_after_it_in_its_group() {
        let (now, visibility) = (Instant::now(), Duration::from_secs(30));
        let taken = |id: &str, group: Option<&str>, seconds: u64| Taken {
            handle: String::new(),
            message_id: id.to_owned(),
            topic: String::new(),
            body: "".into(),
            attempt: 1,
            group: group.map(str::to_owned),
            until: now + Duration::from_secs(seconds),
        };
        let mut state = State::default();
        state.held.insert(0, taken("1", Some("held too long"), 0));
        state.held.insert(1, taken("2", Some("held"), 1));
        state.waiting.extend([
            taken("3", Some("held too long"), 29),
            taken("4", Some("a"), 10),
            taken("5", Some("a"), 29),
            taken("6", Some("b"), 29),
            taken("7", Some("held"), 29),
            taken("8", None, 10),
            taken("9", None, 29),
        ]);
        state.forget_late(now, visibility);
        assert_eq!(state.held.into_keys().collect::<Vec<_>>(), [1]);
        let left: Vec<_> = state.waiting.iter().map(|taken| taken.message_id.as_str()).collect();
        assert_eq!(left, ["6", "7", "9"]);
    }
}

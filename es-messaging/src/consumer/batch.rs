//! Handles batches of messages, with many messages in one transaction.

use std::{collections::VecDeque, panic::AssertUnwindSafe, time::Duration};

use es_core::{DeadLetterStore, DeadReason, InboxKey, InboxStore, MessageUnit, Novelty, Received, StoreError};
use es_projections::Backoff;
use futures_util::FutureExt;
use tokio::time::Instant;

use super::{
    handler::Failure,
    item::Item,
    shared::{Plan, Shared},
    status::Count,
};
use crate::{
    broker::Receipt,
    causes::{panic_words, with_causes},
    limits,
};

/// The error for a message that reuses the ID of another message.
const ID_REUSED: &str = "another message with this source and id, and with other content, was handled before; give each message \
                         an id of its own, or retry this dead letter to have it handled as well";

/// How a message is to be settled with the broker.
#[derive(Debug)]
pub(crate) enum Settled {
    Ack(Receipt),
    Reject { item: Box<Item>, reason: DeadReason, error: String },
}

/// The result of a batch.
#[derive(Debug, Default)]
pub(crate) struct Processed {
    /// The finished messages, in any order.
    pub(crate) settled: Vec<Settled>,
    /// The messages to try again, in the order in which they arrived.
    pub(crate) left: Vec<Item>,
    /// The number of messages in the longest transaction, and how long they took.
    pub(crate) held: Option<(usize, Duration)>,
    /// Whether the messages were too many for one transaction.
    pub(crate) was_split: bool,
    /// Why the store is currently unavailable.
    pub(crate) store_away: Option<String>,
}

/// A message of a batch.
struct Work<U> {
    item: Item,
    plan: Plan<U>,
    step: Step,
    novelty: Novelty,
}

impl<U> Work<U> {
    /// Returns why the message becomes a dead letter, if it does.
    fn dead(&self) -> Option<(DeadReason, &str)> {
        match (&self.plan, self.novelty) {
            (Plan::Dead { reason, error }, _) => Some((*reason, error)),
            (Plan::Handle { .. }, Novelty::IdReused) => Some((DeadReason::IdReused, ID_REUSED)),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Still to be handled in a transaction.
    Open,
    /// Handled and committed.
    Done,
    /// Rejected to the broker's own dead letters.
    Rejected,
    /// To be handled later.
    Left,
}

/// When the messages of a transaction were handled: from its begin until its commit starts. Waiting for a connection to
/// the store, for its locks, or for the flush of a commit takes as long for few messages as for many.
#[derive(Debug, Default)]
struct Taken {
    from: Option<Instant>,
    until: Option<Instant>,
}

impl Taken {
    fn time(&self) -> Option<Duration> {
        Some(self.until.unwrap_or_else(Instant::now).duration_since(self.from?))
    }
}

/// How a transaction ended.
enum End {
    Committed,
    /// It was rolled back because of messages that have recorded the failure.
    Failed,
    /// It was rolled back, and each message is to be tried in its own transaction.
    Split,
    /// It was rolled back because it took too long.
    TooLong,
    /// The store is unavailable.
    Away(String),
}

/// Returns a wait before an attempt: at least half of the longest wait, so that no loop spins.
pub(crate) fn wait_before(backoff: Backoff, attempt: u32) -> Duration {
    (backoff.longest(attempt) + backoff.wait(attempt)) / 2
}

impl<S: InboxStore + DeadLetterStore> Shared<S> {
    /// Handles messages in order within each key, with as many as possible in one transaction.
    ///
    /// The first transaction assumes that no handler fails. If one fails, the transaction is rolled back. A second
    /// transaction sets a savepoint before each message and so finds all messages that fail, and a third one handles
    /// the others. If that fails too, each message gets its own transaction.
    pub(crate) async fn process(&self, items: Vec<Item>) -> Processed {
        let mut works = Vec::with_capacity(items.len());
        for item in items {
            let plan = match &item.content {
                Ok(message) => self.plan(message).await,
                Err(undecodable) => {
                    Plan::Dead { reason: DeadReason::Undecodable, error: undecodable.error.to_string() }
                }
            };
            works.push(Work { item, plan, step: Step::Open, novelty: Novelty::New });
        }
        for index in 0..works.len() {
            if works[index].step != Step::Open {
                continue;
            }
            if let Plan::Failed(failure) = &works[index].plan {
                let failure = failure.clone();
                self.fail(&mut works, index, failure);
            } else if self.settings.to_broker && matches!(works[index].plan, Plan::Dead { .. }) {
                works[index].step = Step::Rejected;
            }
        }
        let mut processed = Processed::default();
        let mut groups = VecDeque::from([(0..works.len()).collect::<Vec<_>>()]);
        let mut passes = 0;
        while let Some(mut group) = groups.pop_front() {
            group.retain(|index| works[*index].step == Step::Open);
            if group.is_empty() {
                continue;
            }
            let has_savepoints = passes == 1 && group.len() > 1;
            passes += 1;
            let (mut taken, messages) = (Taken::default(), group.len());
            // A commit may run application code too, such as projections in the transaction.
            let transacting =
                AssertUnwindSafe(self.transact(&mut works, &group, has_savepoints, &mut taken)).catch_unwind().await;
            let end = transacting.unwrap_or_else(|panic| self.panicked(&mut works, &group, panic_words(&*panic)));
            let held = taken.time().map(|time| (messages, time));
            if processed.held.map(|longest| longest.1) < held.map(|held| held.1) {
                processed.held = held;
            }
            match end {
                End::Committed => group.into_iter().for_each(|index| self.done(&mut works[index])),
                End::Failed if passes <= 2 || group.len() == 1 => groups.push_front(group),
                End::Failed | End::Split => {
                    processed.was_split |= matches!(end, End::Split);
                    groups.extend(group.into_iter().map(|index| vec![index]));
                }
                End::TooLong => break,
                End::Away(error) => {
                    processed.store_away = Some(error);
                    break;
                }
            }
        }
        for work in works {
            let Work { item, plan, step, .. } = work;
            match (step, plan) {
                (Step::Done, _) => processed.settled.push(Settled::Ack(item.receipt)),
                (Step::Rejected, Plan::Dead { reason, error }) => {
                    processed.settled.push(Settled::Reject { item: Box::new(item), reason, error });
                }
                _ => processed.left.push(item),
            }
        }
        processed
    }

    /// Runs one transaction over some messages. With savepoints, it continues after a message that fails.
    async fn transact(
        &self,
        works: &mut [Work<S::Unit>],
        group: &[usize],
        has_savepoints: bool,
        taken: &mut Taken,
    ) -> End {
        let needs_unit = |work: &Work<S::Unit>| !matches!(work.plan, Plan::Skip | Plan::Drop);
        if !group.iter().any(|index| needs_unit(&works[*index])) {
            let now = Some(Instant::now());
            *taken = Taken { from: now, until: now };
            return End::Committed;
        }
        let is_noted = |work: &Work<S::Unit>| needs_unit(work) && work.item.content.is_ok();
        let noted: Vec<usize> = group.iter().copied().filter(|index| is_noted(&works[*index])).collect();
        let keys: Vec<_> = noted.iter().map(|index| works[*index].item.inbox_key()).collect();
        let received = match keys.is_empty() {
            true => self.store.begin_unit().await.map(|unit| Received::new(unit, Vec::new())),
            false => self.store.receive(&self.name, &keys).await,
        };
        let (mut unit, novelty) = match received {
            Ok(Received { unit, novelty, .. }) => (unit, novelty),
            Err(error) => return End::Away(with_causes(&error)),
        };
        for (index, novelty) in noted.into_iter().zip(novelty) {
            works[index].novelty = novelty;
        }
        let started = *taken.from.insert(Instant::now());
        let mut has_failed = false;
        for (place, &index) in group.iter().enumerate() {
            let work = &works[index];
            // The message waits behind one of its key that has just failed.
            if work.step != Step::Open || work.novelty == Novelty::Known {
                continue;
            }
            if started.elapsed() > limits::MAX_BATCH_TIME && place > 0 {
                return match unit.rollback().await {
                    Ok(()) => End::TooLong,
                    Err(error) => End::Away(with_causes(&error)),
                };
            }
            if let Some((reason, error)) = work.dead() {
                let letter = work.item.dead_letter(&self.name, reason, error);
                if let Err(error) = unit.add_dead_letter(&letter).await {
                    return End::Away(with_causes(&error));
                }
                continue;
            }
            let result = match &work.plan {
                Plan::Handle { message, handler } => {
                    if has_savepoints && let Err(error) = unit.savepoint().await {
                        return End::Away(with_causes(&error));
                    }
                    self.call(&**handler, message, &mut unit).await
                }
                Plan::Skip | Plan::Drop | Plan::Failed(_) | Plan::Dead { .. } => Ok(()),
            };
            let Err(failure) = result else { continue };
            if matches!(failure, Failure::TooMuch(_)) && group.len() > 1 {
                return match unit.rollback().await {
                    Ok(()) => End::Split,
                    Err(error) => End::Away(with_causes(&error)),
                };
            }
            has_failed = true;
            if has_savepoints {
                if let Err(error) = unit.rollback_to().await {
                    return End::Away(with_causes(&error));
                }
                self.fail(works, index, failure);
            } else {
                // A lost connection is not the message's fault.
                return match unit.rollback().await {
                    Err(error) if error.is_transient() => End::Away(with_causes(&error)),
                    _ => {
                        self.fail(works, index, failure);
                        End::Failed
                    }
                };
            }
        }
        if has_failed {
            return match unit.rollback().await {
                Ok(()) => End::Failed,
                Err(error) => End::Away(with_causes(&error)),
            };
        }
        taken.until = Some(Instant::now());
        match unit.commit().await {
            Ok(_) => End::Committed,
            Err(error) if error.is_transient() => End::Away(with_causes(&error)),
            Err(error) => self.not_committed(works, group, &error),
        }
    }

    /// Handles a refused commit: an append or a handler's write was not accepted.
    fn not_committed(&self, works: &mut [Work<S::Unit>], group: &[usize], error: &StoreError) -> End {
        let [index] = *group else {
            tracing::debug!(error = with_causes(error), messages = group.len(), "one message a transaction");
            return End::Split;
        };
        let work = &mut works[index];
        match (&work.plan, error) {
            (Plan::Handle { .. }, StoreError::Conflict { .. }) if work.item.conflicts < limits::CONFLICT_RETRIES => {
                work.item.conflicts += 1;
            }
            (Plan::Handle { .. }, _) => self.fail(works, index, Failure::Failed(with_causes(error))),
            _ => return End::Away(with_causes(error)),
        }
        End::Failed
    }

    /// Handles a panic of the store, whose transaction is rolled back.
    fn panicked(&self, works: &mut [Work<S::Unit>], group: &[usize], panic: &str) -> End {
        let error = format!("the store, or what it runs in the transaction, panicked: {panic}");
        match *group {
            [index] if matches!(works[index].plan, Plan::Handle { .. }) => {
                self.fail(works, index, Failure::Failed(error));
                End::Failed
            }
            [_] => End::Away(error),
            _ => End::Split,
        }
    }

    /// Handles a failed message: it either waits, together with later messages of its key, or becomes a dead letter.
    fn fail(&self, works: &mut [Work<S::Unit>], index: usize, failure: Failure) {
        let work = &mut works[index];
        let item = &mut work.item;
        let error = failure.text().to_owned();
        self.consumer_state.set_error(error.clone());
        let wait = match failure {
            Failure::Transient(_) => {
                item.waits = item.waits.saturating_add(1);
                Some(wait_before(self.settings.backoff, item.waits))
            }
            Failure::Failed(_) | Failure::TooMuch(_) => {
                item.failures = item.failures.saturating_add(1);
                let is_last = item.attempts() >= self.settings.attempts;
                (!is_last).then(|| wait_before(self.settings.backoff, item.failures))
            }
            Failure::Never(..) => {
                item.failures = item.failures.saturating_add(1);
                None
            }
        };
        let (id, attempt) = (&*item.id, item.attempts());
        let Some(wait) = wait else {
            let reason = if let Failure::Never(reason, _) = failure { reason } else { DeadReason::Failed };
            tracing::warn!(consumer = %self.name, id, attempt, error, "a message becomes a dead letter");
            work.plan = Plan::Dead { reason, error };
            if self.settings.to_broker {
                work.step = Step::Rejected;
            }
            return;
        };
        tracing::warn!(consumer = %self.name, id, attempt, ?wait, error, "a message failed and will be tried again");
        self.consumer_state.count(Count::Retried);
        item.not_before = Some(Instant::now() + wait);
        work.step = Step::Left;
        let Some(key) = work.item.key().map(str::to_owned) else { return };
        for later in works.iter_mut().skip(index + 1) {
            if later.step == Step::Open && later.item.key() == Some(&key) {
                later.step = Step::Left;
            }
        }
    }

    /// Records that a message's transaction has committed.
    fn done(&self, work: &mut Work<S::Unit>) {
        if work.step != Step::Open {
            return;
        }
        work.step = Step::Done;
        match &work.plan {
            Plan::Skip => self.consumer_state.count(Count::Skipped),
            Plan::Drop => self.consumer_state.count(Count::Expired),
            _ if work.novelty == Novelty::Known => self.consumer_state.count(Count::Duplicate),
            plan => match (work.dead(), plan) {
                (Some((reason, _)), _) => self.consumer_state.count(Count::Dead(reason)),
                (None, Plan::Handle { message, .. }) => {
                    self.consumer_state.handled(message.recorded_at().or(message.time()));
                }
                (None, _) => {}
            },
        }
    }

    /// Stores a single message as a dead letter.
    ///
    /// # Errors
    /// Returns an error of the store.
    pub(crate) async fn put_aside(&self, item: &Item, reason: DeadReason, error: &str) -> Result<(), StoreError> {
        let keys: &[InboxKey<'_>] = if item.content.is_ok() { &[item.inbox_key()] } else { &[] };
        let Received { mut unit, novelty, .. } = self.store.receive(&self.name, keys).await?;
        if novelty.first() != Some(&Novelty::Known) {
            unit.add_dead_letter(&item.dead_letter(&self.name, reason, error)).await?;
        }
        unit.commit().await?;
        self.consumer_state.count(Count::Dead(reason));
        Ok(())
    }
}

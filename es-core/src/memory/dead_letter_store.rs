//! Dead letters in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{MemoryStore, lock};
use crate::{
    consumer_name::ConsumerName,
    dead_letter::{DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterTotals, DeadReason, NewDeadLetter},
    dead_letter_store::{DeadLetterStore, check_dead_letter_count, check_dead_letters},
    error::StoreError,
    operation::{NewOperation, OperationKind, OperatorRequest},
    parking::ParkFailure,
    raw_message::RawMessage,
    timestamp::to_stored_precision,
};

/// All dead letters, their earlier messages, and the total number ever stored.
#[derive(Debug, Clone, Default)]
pub(super) struct DeadLetters {
    by_id: BTreeMap<DeadLetterId, DeadLetter>,
    /// The ID of the dead letter of each consumer and identity.
    ids: BTreeMap<(ConsumerName, String), DeadLetterId>,
    edits: Vec<(DeadLetterId, RawMessage)>,
    ever: BTreeMap<ConsumerName, u64>,
}

impl DeadLetters {
    pub(super) fn add(&mut self, new: &NewDeadLetter) {
        let identity = new.identity();
        let known = self.ids.get(&(new.consumer.clone(), identity.clone()));
        if let Some(dead) = known.and_then(|id| self.by_id.get_mut(id)) {
            let letter = &mut dead.letter;
            (letter.reason, letter.error) = (new.reason, new.error.clone());
            letter.attempts = letter.attempts.max(new.attempts);
            return;
        }
        *self.ever.entry(new.consumer.clone()).or_default() += 1;
        let id = DeadLetterId::new(self.ever.values().sum());
        let since = to_stored_precision(OffsetDateTime::now_utc());
        self.by_id.insert(id, DeadLetter::new(id, since, false, new.clone()));
        self.ids.insert((new.consumer.clone(), identity), id);
    }

    /// Returns the dead letter, if it exists and still has the message that was read.
    fn unedited(&mut self, read: &DeadLetter) -> Option<&mut DeadLetter> {
        self.by_id.get_mut(&read.id).filter(|dead| dead.letter.message == read.letter.message)
    }

    pub(super) fn resolve(&mut self, published: &DeadLetter) -> bool {
        let was_there = self.unedited(published).is_some();
        if was_there {
            self.remove(|dead| dead.id == published.id);
        }
        was_there
    }

    fn remove(&mut self, is_gone: impl Fn(&DeadLetter) -> bool) {
        self.by_id.retain(|_, dead| !is_gone(dead));
        self.ids.retain(|_, id| self.by_id.contains_key(id));
    }

    fn fail(&mut self, tried: &DeadLetter, reason: DeadReason, error: &str) -> bool {
        let Some(dead) = self.unedited(tried) else { return false };
        (dead.letter.reason, dead.letter.error) = (reason, ParkFailure::new(error, 1).error);
        dead.letter.attempts = dead.letter.attempts.saturating_add(1);
        dead.is_retry_requested = false;
        true
    }

    /// Returns the matching dead letters.
    fn matching<'a>(&'a self, query: &'a DeadLetterQuery) -> impl Iterator<Item = &'a DeadLetter> {
        self.by_id.values().filter(|dead| query.matches(dead))
    }
}

/// Returns the operations to record, one for each consumer.
fn operations(
    kind: &OperationKind,
    matched: &[DeadLetter],
    one: Option<DeadLetterId>,
    request: &OperatorRequest,
) -> Vec<NewOperation> {
    let mut counts = BTreeMap::<&ConsumerName, u64>::new();
    for dead in matched {
        *counts.entry(&dead.letter.consumer).or_default() += 1;
    }
    let line = |(consumer, count): (&ConsumerName, u64)| {
        NewOperation::on_dead_letters(kind.clone(), consumer.clone(), one, count, request)
    };
    counts.into_iter().map(line).collect()
}

impl MemoryStore {
    /// Changes dead letters when no unit is open, and records the operations that `change` returns.
    async fn change_dead_letters<T>(&self, change: impl FnOnce(&mut DeadLetters) -> (T, Vec<NewOperation>)) -> T {
        let _tables = self.shared.tables.lock().await;
        let mut consumers = lock(&self.shared.consumers);
        let (result, operations) = change(&mut lock(&self.shared.dead_letters));
        for operation in operations {
            consumers.note(operation);
        }
        result
    }
}

#[async_trait]
impl DeadLetterStore for MemoryStore {
    async fn add_dead_letters(&self, letters: &[NewDeadLetter]) -> Result<(), StoreError> {
        check_dead_letters(letters)?;
        let add = |kept: &mut DeadLetters| (letters.iter().for_each(|letter| kept.add(letter)), Vec::new());
        self.change_dead_letters(add).await;
        Ok(())
    }

    async fn dead_letters(
        &self,
        query: &DeadLetterQuery,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        check_dead_letter_count(limit)?;
        let letters = lock(&self.shared.dead_letters);
        let matching = letters.matching(query).filter(|dead| after.is_none_or(|after| dead.id > after));
        Ok(matching.take(limit).cloned().collect())
    }

    async fn dead_letter_totals(&self) -> Result<Vec<DeadLetterTotals>, StoreError> {
        let letters = lock(&self.shared.dead_letters);
        let total = |(consumer, &ever): (&ConsumerName, &u64)| {
            let of_it = || letters.by_id.values().filter(|dead| dead.letter.consumer == *consumer);
            let oldest = of_it().map(|dead| dead.since).min();
            DeadLetterTotals::new(consumer.clone(), of_it().count() as u64, oldest, ever)
        };
        Ok(letters.ever.iter().map(total).collect())
    }

    async fn request_dead_letter_retries(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        let mark = |letters: &mut DeadLetters| {
            let matched: Vec<DeadLetter> = letters.matching(query).cloned().collect();
            for dead in letters.by_id.values_mut().filter(|dead| query.matches(dead)) {
                dead.is_retry_requested = true;
            }
            let noted = operations(&OperationKind::DEAD_LETTER_RETRY, &matched, query.id, request);
            (matched.len() as u64, noted)
        };
        Ok(self.change_dead_letters(mark).await)
    }

    async fn edit_dead_letter(
        &self,
        id: DeadLetterId,
        message: &RawMessage,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        request.check_reason()?;
        message.check()?;
        let edit = |letters: &mut DeadLetters| {
            let Some(dead) = letters.by_id.get_mut(&id) else { return (false, Vec::new()) };
            let before = std::mem::replace(&mut dead.letter.message, message.clone());
            dead.is_retry_requested = true;
            let noted = operations(&OperationKind::DEAD_LETTER_EDIT, std::slice::from_ref(dead), Some(id), request);
            letters.edits.push((id, before));
            (true, noted)
        };
        Ok(self.change_dead_letters(edit).await)
    }

    async fn dead_letter_edits(&self, id: DeadLetterId) -> Result<Vec<RawMessage>, StoreError> {
        let letters = lock(&self.shared.dead_letters);
        Ok(letters.edits.iter().filter(|(edited, _)| *edited == id).map(|(_, message)| message.clone()).collect())
    }

    async fn discard_dead_letters(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        request.check_reason()?;
        let discard = |letters: &mut DeadLetters| {
            let matched: Vec<DeadLetter> = letters.matching(query).cloned().collect();
            letters.remove(|dead| query.matches(dead));
            let noted = operations(&OperationKind::DEAD_LETTER_DISCARD, &matched, query.id, request);
            (matched.len() as u64, noted)
        };
        Ok(self.change_dead_letters(discard).await)
    }

    async fn resolve_dead_letter(&self, published: &DeadLetter) -> Result<bool, StoreError> {
        Ok(self.change_dead_letters(|letters| (letters.resolve(published), Vec::new())).await)
    }

    async fn fail_dead_letter(&self, tried: &DeadLetter, reason: DeadReason, error: &str) -> Result<bool, StoreError> {
        Ok(self.change_dead_letters(|letters| (letters.fail(tried, reason, error), Vec::new())).await)
    }
}

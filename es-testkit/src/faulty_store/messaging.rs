//! Calls about dead letters and the outbox, through [`FaultyStore::call`].

use async_trait::async_trait;
use es_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterStore, DeadLetterTotals, DeadReason, Fence, NewDeadLetter,
    OperatorRequest, OutboxCursor, OutboxEntry, OutboxStats, OutboxStore, RawMessage, StoreError,
};

use super::{FaultyStore, Operation};

#[async_trait]
impl<S: DeadLetterStore> DeadLetterStore for FaultyStore<S> {
    async fn add_dead_letters(&self, letters: &[NewDeadLetter]) -> Result<(), StoreError> {
        self.call(Operation::DeadLetter, self.store.add_dead_letters(letters)).await
    }

    async fn dead_letters(
        &self,
        query: &DeadLetterQuery,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.call(Operation::DeadLetter, self.store.dead_letters(query, after, limit)).await
    }

    async fn dead_letter_totals(&self) -> Result<Vec<DeadLetterTotals>, StoreError> {
        self.call(Operation::DeadLetter, self.store.dead_letter_totals()).await
    }

    async fn request_dead_letter_retries(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        self.call(Operation::DeadLetter, self.store.request_dead_letter_retries(query, request)).await
    }

    async fn edit_dead_letter(
        &self,
        id: DeadLetterId,
        message: &RawMessage,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.call(Operation::DeadLetter, self.store.edit_dead_letter(id, message, request)).await
    }

    async fn dead_letter_edits(&self, id: DeadLetterId) -> Result<Vec<RawMessage>, StoreError> {
        self.call(Operation::DeadLetter, self.store.dead_letter_edits(id)).await
    }

    async fn discard_dead_letters(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        self.call(Operation::DeadLetter, self.store.discard_dead_letters(query, request)).await
    }

    async fn resolve_dead_letter(&self, published: &DeadLetter) -> Result<bool, StoreError> {
        self.call(Operation::DeadLetter, self.store.resolve_dead_letter(published)).await
    }

    async fn fail_dead_letter(&self, tried: &DeadLetter, reason: DeadReason, error: &str) -> Result<bool, StoreError> {
        self.call(Operation::DeadLetter, self.store.fail_dead_letter(tried, reason, error)).await
    }
}

#[async_trait]
impl<S: OutboxStore> OutboxStore for FaultyStore<S> {
    async fn read_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.call(Operation::Outbox, self.store.read_outbox(limit)).await
    }

    async fn confirm_outbox(&self, fence: Fence, upto: &OutboxCursor) -> Result<(), StoreError> {
        self.call(Operation::Outbox, self.store.confirm_outbox(fence, upto)).await
    }

    async fn tidy_outbox(&self) -> Result<(), StoreError> {
        self.call(Operation::Outbox, self.store.tidy_outbox()).await
    }

    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        self.call(Operation::Outbox, self.store.outbox_stats()).await
    }
}

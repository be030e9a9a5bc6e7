//! A store in memory with one defect: dead letters and blobs.

use async_trait::async_trait;
use es_core::{
    BlobStore, DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterStore, DeadLetterTotals, DeadReason, NewDeadLetter,
    OperatorRequest, RawMessage, StoreError,
};
use time::OffsetDateTime;

use crate::{defect::Defect, store::BrokenStore};

impl BrokenStore {
    /// The dead letters of a message, whatever its content.
    async fn kept(&self, letter: &NewDeadLetter) -> Result<Vec<DeadLetter>, StoreError> {
        let mut kept = self.store.dead_letters(&DeadLetterQuery::of(letter.consumer.clone()), None, 1_000).await?;
        kept.retain(|dead| dead.letter.message_id == letter.message_id);
        Ok(kept)
    }
}

#[async_trait]
impl DeadLetterStore for BrokenStore {
    async fn add_dead_letters(&self, letters: &[NewDeadLetter]) -> Result<(), StoreError> {
        for letter in letters.iter().filter(|_| letters.len() <= 1_000) {
            match (self.defect, self.kept(letter).await?.pop()) {
                (Defect::KeepsTheFirstFailure, Some(kept)) if kept.letter.identity() == letter.identity() => {
                    return Ok(());
                }
                (Defect::KnowsDeadLettersByTheirIdAlone, Some(kept)) if kept.letter.identity() != letter.identity() => {
                    return Ok(());
                }
                (Defect::UndoesAnEditAtARedelivery, Some(kept))
                    if kept.is_retry_requested && kept.letter.message != letter.message =>
                {
                    let request = OperatorRequest::by("nobody")?.because("it came again")?;
                    self.store.edit_dead_letter(kept.id, &letter.message, &request).await?;
                }
                (Defect::ForgetsARetryAtARedelivery, Some(kept)) if kept.is_retry_requested => {
                    self.store.fail_dead_letter(&kept, letter.reason, &letter.error).await?;
                }
                _ => {}
            }
        }
        self.store.add_dead_letters(letters).await
    }

    async fn dead_letters(
        &self,
        query: &DeadLetterQuery,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut query = query.clone();
        if self.defect == Defect::LooksForAnyKey {
            query.key = None;
        }
        self.store.dead_letters(&query, after, limit).await
    }

    async fn dead_letter_totals(&self) -> Result<Vec<DeadLetterTotals>, StoreError> {
        let mut totals = self.store.dead_letter_totals().await?;
        if self.defect == Defect::ForgetsWhatWasDead {
            totals.iter_mut().for_each(|totals| totals.ever = totals.depth);
        }
        Ok(totals)
    }

    async fn request_dead_letter_retries(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        self.store.request_dead_letter_retries(query, request).await
    }

    async fn edit_dead_letter(
        &self,
        id: DeadLetterId,
        message: &RawMessage,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.store.edit_dead_letter(id, message, request).await
    }

    async fn dead_letter_edits(&self, id: DeadLetterId) -> Result<Vec<RawMessage>, StoreError> {
        let mut edits = self.store.dead_letter_edits(id).await?;
        if self.defect == Defect::KeepsTheLastEditAlone {
            edits.drain(..edits.len().saturating_sub(1));
        }
        Ok(edits)
    }

    async fn discard_dead_letters(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        match self.defect {
            Defect::DiscardsWithoutAReason if request.reason().is_none() => {
                self.store.discard_dead_letters(query, &request.clone().because("none")?).await
            }
            _ => self.store.discard_dead_letters(query, request).await,
        }
    }

    async fn resolve_dead_letter(&self, published: &DeadLetter) -> Result<bool, StoreError> {
        if self.defect == Defect::ForgetsAnEditMeanwhile {
            let kept = self.store.dead_letters(&DeadLetterQuery::one(published.id), None, 1).await?;
            return match kept.first() {
                Some(kept) => self.store.resolve_dead_letter(kept).await,
                None => Ok(false),
            };
        }
        let was_there = self.store.resolve_dead_letter(published).await?;
        Ok(was_there || self.defect == Defect::ResolvesWhatIsGone)
    }

    async fn fail_dead_letter(&self, tried: &DeadLetter, reason: DeadReason, error: &str) -> Result<bool, StoreError> {
        let was_there = self.store.fail_dead_letter(tried, reason, error).await?;
        if !was_there && self.defect == Defect::BringsBackWhatWasDiscarded {
            self.store.add_dead_letters(std::slice::from_ref(&tried.letter)).await?;
        }
        if self.defect == Defect::RetriesAgainAndAgain {
            self.store
                .request_dead_letter_retries(&DeadLetterQuery::one(tried.id), &OperatorRequest::by("nobody")?)
                .await?;
        }
        Ok(was_there)
    }
}

#[async_trait]
impl BlobStore for BrokenStore {
    async fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        match self.store.put_blob(name, bytes).await {
            Err(StoreError::Refused { .. }) if self.defect == Defect::TakesOtherBytes => Ok(()),
            result => result,
        }
    }

    async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.blob(name).await
    }

    async fn drop_blobs_before(&self, time: OffsetDateTime) -> Result<u64, StoreError> {
        let is_greedy = self.defect == Defect::DropsYoungBlobs;
        self.store.drop_blobs_before(if is_greedy { time + time::Duration::HOUR } else { time }).await
    }
}

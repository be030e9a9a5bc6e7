//! Where a consumer continues, and what it reads there.

use std::sync::Arc;

use es_core::{Bookmark, EventFilter, EventPage, PageSize, Position, StoreError};
use tokio::time::Instant;

use super::{StepFailure, Steps};
use crate::{
    consumer_state::Place,
    error::RunnerError,
    feed::{Fed, Feed},
    options::StartFrom,
    partition_slice::PartitionSlice,
    tail::Fetched,
};

impl Steps {
    pub(crate) async fn find_place(&mut self) -> Result<Place, StepFailure> {
        let mut checkpoint = self.find_partition().await?;
        if checkpoint == Bookmark::START
            && self.options.start_from.place().is_some_and(|start| start != Bookmark::START)
        {
            // The read model was cleared. Events that it never applied are not applied now either.
            let start = self.start().await?;
            let advance = self.advance(Position::ZERO, start.position()).having_seen(Some(start));
            self.store.move_checkpoint(&advance).await?;
            checkpoint = start;
        }
        // Verifies the furthest place that it depends on, because the log may have gone back without the checkpoint.
        let rests_on = self.partition_slice.rests_on().unwrap_or(checkpoint);
        self.store.verify(rests_on).await.map_err(|error| self.not_of_this_log(error))?;
        if let Some(known) = self.known.take().filter(|known| *known != checkpoint) {
            self.store.verify(known).await?;
        }
        self.is_placed_anew = true;
        self.parking_cache.forget();
        let place = Place { stored: checkpoint.position(), scanned: checkpoint };
        self.confirmed_at = Instant::now();
        self.consumer_state.note_found(place);
        Ok(place)
    }

    /// Converts the error for a checkpoint that does not belong to this log.
    fn not_of_this_log(&self, error: StoreError) -> StepFailure {
        let consumer = self.name();
        StepFailure::Fatal(match error {
            StoreError::LogWentBack { position: checkpoint, head: Some(head), .. } => {
                RunnerError::CheckpointBeyondHead { consumer, checkpoint, head }
            }
            StoreError::LogWentBack { .. } => RunnerError::LogWentBack { consumer, source: Arc::new(error) },
            error => return error.into(),
        })
    }

    /// Returns how far its partition has come. Creates the consumer's partitions if it has none.
    pub(super) async fn find_partition(&mut self) -> Result<Bookmark, StepFailure> {
        let generation = self.consumer.name();
        let wanted = self.options.partitions.filter(|_| !self.is_pinned);
        let mut all = self.store.partitions(generation).await?;
        if all.is_empty() {
            all = self.store.start_partitions(generation, wanted.unwrap_or(1), self.start().await?.position()).await?;
        }
        if let Some(wanted) = wanted.filter(|_| !self.has_declared && self.partition.index() == 0) {
            if all.len() != usize::from(wanted) {
                tracing::info!(
                    from = all.len(),
                    to = wanted,
                    "changing the number of partitions to what the options say"
                );
                all = self.store.repartition(generation, wanted).await?;
            }
            self.has_declared = true;
        }
        let count = u16::try_from(all.len()).unwrap_or(u16::MAX);
        match all.into_iter().find(|reached| reached.partition() == self.partition) {
            Some(own) => {
                (self.partition_slice, self.partition_epoch) = (PartitionSlice::of(&own), own.partition_epoch);
                Ok(own.bookmark())
            }
            None => Err(StepFailure::OtherPartitionEpoch(count)),
        }
    }

    /// Returns where it begins if it has not applied any events.
    async fn start(&self) -> Result<Bookmark, StepFailure> {
        let Some(place) = self.options.start_from.place() else {
            return Ok(match self.options.start_from {
                StartFrom::Now => self.store.head().await?.into(),
                _ => Bookmark::START,
            });
        };
        let consumer = self.consumer.name().clone();
        match self.store.verify(place).await {
            Ok(()) => Ok(place),
            Err(StoreError::LogWentBack { position: start, head: Some(head), .. }) => {
                Err(StepFailure::Fatal(RunnerError::StartBeyondHead { consumer, start, head }))
            }
            Err(error @ StoreError::LogWentBack { .. }) => {
                Err(StepFailure::Fatal(RunnerError::LogWentBack { consumer, source: Arc::new(error) }))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn read(&mut self, after: Bookmark) -> Result<EventPage, StepFailure> {
        if !self.partition_slice.is_everything() {
            return self.read_own(after).await;
        }
        let (filter, size) = (self.consumer.filter(), PageSize::new(self.pace.size())?);
        let page = match self.follows {
            true => self.tail.read(after, filter, size).await,
            false => self.read_from_store(after, filter, size).await,
        };
        let fetched = page.map_err(|error| match error {
            // The events before the damaged one can still be read.
            StoreError::Corrupt { position, .. } if self.pace.size() > 1 => {
                self.pace.narrow_to(self.pace.size() / 2);
                let position = Some(position).filter(|&position| position > Position::ZERO);
                self.consumer_state.note_failure(position, Arc::new(error.into()));
                StepFailure::Narrowed
            }
            error => error.into(),
        })?;
        self.read_at = fetched.read_at;
        Ok(fetched.page)
    }

    async fn read_from_store(
        &self,
        after: Bookmark,
        filter: &EventFilter,
        size: PageSize,
    ) -> Result<Fetched, StoreError> {
        let page = self.store.read_all(after.position(), filter, size).await?;
        page.check_continues(after)?;
        Ok(Fetched::now(page))
    }

    /// Reads a page of the partition's own events.
    async fn read_own(&mut self, after: Bookmark) -> Result<EventPage, StepFailure> {
        let feed = match &self.feed {
            Some(feed) => Arc::clone(feed),
            // It is the only partition but has slot offsets, because there were several partitions before.
            None => {
                let no_other =
                    || StepFailure::Fatal(RunnerError::NoGenerations { consumer: self.consumer.name().base() });
                let other = self.consumer.duplicate().ok_or_else(no_other)?;
                Arc::clone(self.feed.insert(Arc::new(Feed::new(Arc::clone(&self.tail), other))))
            }
        };
        match feed.read(after, self.pace.size(), &self.partition_slice).await? {
            Fed::Page(fetched) => {
                self.read_at = fetched.read_at;
                Ok(fetched.page)
            }
            Fed::NoKey { event, problem } => {
                let consumer = self.consumer.name().clone();
                Err(StepFailure::Fatal(RunnerError::PartitionKey { consumer, event, problem }))
            }
        }
    }
}

//! Where a consumer goes on, and what it reads there.

use std::sync::Arc;

use es_core::{EventPage, PageSize, Position, StoreError};
use tokio::time::Instant;

use super::{StepFailure, Steps};
use crate::{
    board::Place,
    error::RunnerError,
    feed::{Fed, Feed},
    options::StartFrom,
    share::Share,
};

impl Steps {
    pub(crate) async fn find_place(&mut self) -> Result<Place, StepFailure> {
        let checkpoint = self.find_partition().await?;
        let checkpoint = match self.options.start_from {
            // It was cleared: what it never applied it does not apply now.
            StartFrom::After(start) if checkpoint == Position::ZERO && start > Position::ZERO => {
                let start = self.start().await?;
                self.store.move_checkpoint(&self.advance(checkpoint, start)).await?;
                start
            }
            _ => checkpoint,
        };
        // Read after the checkpoint: it can only have grown since.
        let head = self.store.head().await?;
        if checkpoint > head {
            let consumer = self.name();
            return Err(StepFailure::Fatal(RunnerError::CheckpointBeyondHead { consumer, checkpoint, head }));
        }
        self.desk.forget();
        let place = Place { stored: checkpoint, scanned: checkpoint };
        self.confirmed_at = Instant::now();
        self.board.note_found(place);
        Ok(place)
    }

    /// How far its partition has come. The consumer is given its partitions if it has none.
    pub(super) async fn find_partition(&mut self) -> Result<Position, StepFailure> {
        let generation = self.consumer.name();
        let wanted = self.options.partitions.filter(|_| !self.is_pinned);
        let mut all = self.store.partitions(generation).await?;
        if all.is_empty() {
            all = self.store.start_partitions(generation, wanted.unwrap_or(1), self.start().await?).await?;
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
                (self.share, self.layout) = (Share::of(&own), own.layout);
                Ok(own.position)
            }
            None => Err(StepFailure::OtherLayout(count)),
        }
    }

    /// Where it begins if it has applied nothing.
    async fn start(&self) -> Result<Position, StepFailure> {
        match self.options.start_from {
            StartFrom::Beginning => Ok(Position::ZERO),
            StartFrom::Now => Ok(self.store.head().await?),
            StartFrom::After(start) => match self.store.head().await? {
                head if start <= head => Ok(start),
                head => {
                    let consumer = self.consumer.name().clone();
                    Err(StepFailure::Fatal(RunnerError::StartBeyondHead { consumer, start, head }))
                }
            },
        }
    }

    pub(crate) async fn read(&mut self, after: Position) -> Result<EventPage, StepFailure> {
        if !self.share.is_everything() {
            return self.read_own(after).await;
        }
        let (filter, size) = (self.consumer.filter(), PageSize::new(self.pace.size())?);
        let page = match self.follows {
            true => self.tail.read(after, filter, size).await,
            false => self.store.read_all(after, filter, size).await,
        };
        page.map_err(|error| match error {
            // Those before the damaged one can still be read.
            StoreError::Corrupt { position, .. } if self.pace.size() > 1 => {
                self.pace.narrow_to(self.pace.size() / 2);
                self.board.note_failure(Some(position), Arc::new(error.into()));
                StepFailure::Narrowed
            }
            error => error.into(),
        })
    }

    /// A page of what is the partition's own.
    async fn read_own(&mut self, after: Position) -> Result<EventPage, StepFailure> {
        let feed = match &self.feed {
            Some(feed) => Arc::clone(feed),
            // The only partition, after there were several: it has something ahead of its checkpoint.
            None => {
                let no_other =
                    || StepFailure::Fatal(RunnerError::NoGenerations { consumer: self.consumer.name().base() });
                let other = self.consumer.duplicate().ok_or_else(no_other)?;
                Arc::clone(self.feed.insert(Arc::new(Feed::new(Arc::clone(&self.tail), other))))
            }
        };
        match feed.read(after, self.pace.size(), &self.share).await? {
            Fed::Page(page) => Ok(page),
            Fed::NoKey { event, problem } => {
                let consumer = self.consumer.name().clone();
                Err(StepFailure::Fatal(RunnerError::PartitionKey { consumer, event, problem }))
            }
        }
    }
}

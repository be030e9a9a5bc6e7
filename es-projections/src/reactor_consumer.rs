//! Reactors as consumers: one event after the other, the checkpoint behind them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use es_core::{
    Advance, ConsumerName, Decoder, EventFilter, EventKey, EventPage, EventSet, Generation, InvalidName, Parking,
    Position, ProjectionError, Reactor, ReadModelCode, RecordedEvent, RunnerStore,
};
use tokio::time::Instant;

use crate::{
    consumer::{Applied, Consumer, PageFailure, within},
    limits,
    share::Share,
    status::ConsumerKind,
    stop::Stop,
};

pub(crate) struct ReactorConsumer<R: Reactor> {
    store: Arc<dyn RunnerStore>,
    name: ConsumerName,
    decoder: Decoder<R::Event>,
    reactor: Arc<R>,
    time_limit: Duration,
}

impl<R: Reactor> ReactorConsumer<R> {
    pub(crate) fn new(store: Arc<dyn RunnerStore>, reactor: R, time_limit: Duration) -> Result<Self, InvalidName> {
        let name = ConsumerName::new(reactor.name())?;
        Ok(Self { store, name, decoder: R::Event::decoder(), reactor: Arc::new(reactor), time_limit })
    }

    async fn react(&self, event: RecordedEvent) -> Result<(), ProjectionError> {
        let position = event.position();
        for part in self.decoder.decode(event)? {
            let reaction = async {
                let result = self.reactor.react(&part).await;
                result.map_err(|error| ProjectionError::handler(&self.name, error.or_at(position)))
            };
            within(self.time_limit, &self.name, reaction, || false).await?;
        }
        Ok(())
    }
}

/// How far a reactor has come within a page, and how much of that its checkpoint says.
struct Progress {
    /// From where the checkpoint is to where it was last moved.
    advance: Advance,
    done: Position,
    unsaved: usize,
    saved_at: Instant,
}

impl Progress {
    fn is_save_due(&self) -> bool {
        self.unsaved >= limits::REACTIONS_PER_CHECKPOINT
            || self.saved_at.elapsed() >= limits::REACTOR_CHECKPOINT_INTERVAL
    }
}

#[async_trait]
impl<R: Reactor> Consumer for ReactorConsumer<R> {
    fn name(&self) -> &ConsumerName {
        &self.name
    }

    fn in_generation(&self, _: Generation) -> Result<Option<Box<dyn Consumer>>, InvalidName> {
        Ok(None)
    }

    fn code(&self) -> Option<ReadModelCode> {
        None
    }

    fn kind(&self) -> ConsumerKind {
        ConsumerKind::Reactor
    }

    fn filter(&self) -> &EventFilter {
        self.decoder.filter()
    }

    async fn prepare(&self) -> Result<(), ProjectionError> {
        Ok(())
    }

    async fn apply(&self, advance: Advance, page: EventPage, _: &Share, stop: &Stop) -> Result<Applied, PageFailure> {
        // An effect elsewhere cannot be taken back if a crash of the database takes the event back.
        if let Some(last) = page.events.last().map(|event| event.position()).filter(|&last| last > page.durable_to) {
            self.store.wait_durable(last).await?;
        }
        let (end, from) = (advance.to, advance.from);
        let mut progress = Progress { advance, done: from, unsaved: 0, saved_at: Instant::now() };
        for event in page.events {
            if stop.is_requested() {
                self.save(&mut progress).await?;
                return Ok(Applied::UpTo(progress.done));
            }
            let position = event.position();
            if let Err(error) = self.react(event).await {
                // Those before it are not to be repeated.
                self.save(&mut progress).await?;
                return Err(PageFailure { alone: Some(position), error });
            }
            progress.done = position;
            progress.unsaved += 1;
            if progress.is_save_due() {
                self.save(&mut progress).await?;
            }
        }
        progress.done = end;
        self.save(&mut progress).await?;
        Ok(Applied::UpTo(progress.done))
    }

    fn duplicate(&self) -> Option<Box<dyn Consumer>> {
        let (store, name, reactor) = (Arc::clone(&self.store), self.name.clone(), Arc::clone(&self.reactor));
        Some(Box::new(Self { store, name, decoder: R::Event::decoder(), reactor, time_limit: self.time_limit }))
    }

    fn try_keys(&self, event: &RecordedEvent) -> Result<Vec<EventKey>, ProjectionError> {
        let parts = self.decoder.decode_events(std::slice::from_ref(event))?;
        let first = parts.first().map(|part| EventKey::of(&self.reactor.partition_key(part), event.stream()));
        Ok(first.into_iter().collect())
    }

    async fn apply_parked(&self, advance: Advance, event: RecordedEvent) -> Result<(), ProjectionError> {
        self.store.wait_durable(event.position()).await?;
        self.react(event).await?;
        Ok(self.store.move_checkpoint(&advance).await?)
    }

    async fn clear(&self) -> Result<(), ProjectionError> {
        Ok(())
    }
}

impl<R: Reactor> ReactorConsumer<R> {
    async fn save(&self, progress: &mut Progress) -> Result<(), ProjectionError> {
        if progress.done > progress.advance.from {
            progress.advance.to = progress.done;
            let parking = &mut progress.advance.parking;
            let later: Vec<_> = parking.park.extract_if(.., |park| park.position > progress.done).collect();
            self.store.move_checkpoint(&progress.advance).await?;
            progress.advance.from = progress.done;
            progress.advance.parking = Parking::of(later);
        }
        progress.unsaved = 0;
        progress.saved_at = Instant::now();
        Ok(())
    }
}

//! Reactors as consumers: they handle events in order, and the checkpoint follows.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use es_core::{
    Advance, Bookmark, ConsumerName, DecodeError, Decoder, EventFilter, EventKey, EventPage, EventSet, Generation,
    InvalidName, Parking, Position, ProjectionError, Reactor, ReadModelDefinition, RecordedEvent, RunnerStore,
};
use tokio::time::Instant;

use crate::{
    consumer::{Applied, Consumer, PageFailure, within},
    limits,
    partition_slice::PartitionSlice,
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

    /// Handles several events together.
    async fn react(&self, events: Vec<RecordedEvent>) -> Result<(), Undone> {
        let Some(first) = events.first().map(|event| event.position()) else { return Ok(()) };
        let (mut parts, mut unreadable) = (Vec::with_capacity(events.len()), None);
        for event in events {
            let position = event.position();
            if let Err(error) = self.decoder.decode_into(event, &mut parts) {
                unreadable = Some(Undone { from: position, error: error.into() });
                break;
            }
        }
        if !parts.is_empty() {
            let mut from = first;
            let reaction = async {
                self.reactor.react_page(&parts).await.map_err(|error| {
                    from = error.position().unwrap_or(first);
                    ProjectionError::handler(&self.name, error.or_at(first))
                })
            };
            let reacted = within(self.time_limit, &self.name, reaction, || false).await;
            reacted.map_err(|error| Undone { from, error })?;
        }
        unreadable.map_or(Ok(()), Err)
    }
}

/// Events of a page that did not take effect.
struct Undone {
    /// The position of the first of them.
    from: Position,
    error: ProjectionError,
}

/// How far a reactor has come within a page, and how much of that its checkpoint covers.
struct Progress {
    /// From the current checkpoint to the target of the last move.
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

    fn definition(&self) -> Option<ReadModelDefinition> {
        None
    }

    fn kind(&self) -> ConsumerKind {
        ConsumerKind::Reactor
    }

    fn filter(&self) -> &EventFilter {
        self.decoder.filter()
    }

    fn check(&self) -> Result<(), DecodeError> {
        self.decoder.check()
    }

    fn knows(&self, event: &RecordedEvent) -> bool {
        self.decoder.knows(event)
    }

    async fn prepare(&self) -> Result<(), ProjectionError> {
        Ok(())
    }

    async fn apply(
        &self,
        advance: Advance,
        page: EventPage,
        _: &PartitionSlice,
        stop: &Stop,
    ) -> Result<Applied, PageFailure> {
        // An external effect cannot be undone if a crash of the database removes the event.
        if let Some(last) = page.events.last().map(|event| event.position()).filter(|&last| last > page.durable_to) {
            self.store.wait_durable(last).await?;
        }
        let (end, from) = (advance.to, advance.from);
        let seen = advance.seen;
        let mut progress = Progress { advance, done: from, unsaved: 0, saved_at: Instant::now() };
        let mut looked_at = Instant::now();
        let (size, mut events) = (self.reactor.page_size().max(1), page.events.into_iter());
        while !events.as_slice().is_empty() {
            if stop.is_requested() {
                self.save(&mut progress).await?;
                return Ok(Applied::UpTo(progress.done));
            }
            if let Some(seen) = seen.filter(|_| looked_at.elapsed() > limits::REACTOR_LOOK_INTERVAL) {
                // The log may have gone back during a slow effect.
                self.store.verify(seen).await?;
                looked_at = Instant::now();
            }
            let together: Vec<RecordedEvent> = events.by_ref().take(size).collect();
            let positions: Vec<Position> = together.iter().map(|event| event.position()).collect();
            let undone = self.react(together).await.err();
            let done =
                positions.iter().take_while(|&&position| undone.as_ref().is_none_or(|undone| position < undone.from));
            progress.unsaved += done.clone().count();
            progress.done = done.last().copied().unwrap_or(progress.done);
            if let Some(Undone { from, error }) = undone {
                // The events before it must not be repeated.
                self.save(&mut progress).await?;
                return Err(PageFailure { alone: Some(from), error });
            }
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
        self.store.verify(Bookmark::of(&event)).await?;
        self.react(vec![event]).await.map_err(|undone| undone.error)?;
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

//! One step of a consumer: find the checkpoint, read a page, and apply it.

mod memory;
mod outcome;
mod place;
mod unknown;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use es_core::{
    Advance, Bookmark, ConsumerName, EventPage, Lease, PageSize, Parking, Partition, Position, ProjectionError,
    RunnerStore, StoreError, is_transient,
};
use tokio::time::Instant;

use memory::Ahead;

use crate::{
    consumer::{Applied, Consumer, PageFailure, catch_panic, within},
    consumer_state::{ConsumerStateCell, Place},
    error::RunnerError,
    failure_policy::event_of,
    feed::Feed,
    lease_session::NotOurs,
    limits,
    options::ConsumerOptions,
    pace::Pace,
    parking::ParkingCache,
    partition_slice::PartitionSlice,
    status::ConsumerKind,
    stop::{EndGuard, NO_END, Stop},
    tail::{Fetched, Tail},
};

pub(crate) use outcome::{Step, StepFailure, is_elsewhere};
use unknown::PassedOver;
pub(crate) use unknown::UnknownEvent;

/// A consumer, and what this runner keeps about it between two pages.
pub(crate) struct Steps {
    pub(crate) store: Arc<dyn RunnerStore>,
    pub(crate) consumer: Box<dyn Consumer>,
    options: ConsumerOptions,
    consumer_state: Arc<ConsumerStateCell>,
    is_prepared: bool,
    /// The lease under which it works, if it shares the work with other processes.
    lease: Option<Lease>,
    /// The partition that it works for.
    partition: Partition,
    /// The slice of the log that belongs to the partition, as of the last lookup of its place.
    pub(crate) partition_slice: PartitionSlice,
    /// The partition epoch at the last lookup of its place.
    partition_epoch: u64,
    /// The feed that the partitions read from, once there are several partitions.
    feed: Option<Arc<Feed>>,
    /// When the partition was last located.
    located_at: Option<Instant>,
    /// Whether the number of partitions in its options has been applied.
    has_declared: bool,
    /// Whether it stays with its generation, live or not.
    is_pinned: bool,
    /// No step goes beyond this position; [`NO_END`] if there is no such limit.
    end: Arc<AtomicU64>,
    /// Taken while it is used, so that after a failed or dropped step the next step looks it up again.
    pub(crate) place: Option<Place>,
    /// When the stored checkpoint was last known to match the place.
    confirmed_at: Instant,
    pub(crate) pace: Pace,
    /// The end of the log, shared by the consumers that follow it.
    tail: Arc<Tail>,
    /// Whether it has reached the end of the log, and therefore reads the shared tail.
    follows: bool,
    /// A page that was read while the previous one was applied, and the position after which it starts. Useless unless
    /// the previous page was applied completely.
    ahead: Option<Ahead>,
    /// How far the consumer had come when its place was last known. It outlives the place, so that a log that went back
    /// in between is detected.
    known: Option<Bookmark>,
    /// When the page to be applied next was read.
    read_at: Instant,
    /// Whether the place was looked up after the last verification against the log. If so, pages in memory may belong
    /// to a log that went back.
    is_placed_anew: bool,
    /// What is known about parked events.
    pub(crate) parking_cache: ParkingCache,
    /// The events of unknown types that were passed over.
    passed_over: PassedOver,
}

impl Steps {
    pub(crate) fn new(
        store: Arc<dyn RunnerStore>,
        consumer: Box<dyn Consumer>,
        options: ConsumerOptions,
        consumer_state: Arc<ConsumerStateCell>,
        tail: Arc<Tail>,
    ) -> Self {
        Self {
            store,
            consumer,
            options,
            consumer_state,
            is_prepared: false,
            lease: None,
            partition: Partition::UNPARTITIONED,
            partition_slice: PartitionSlice::everything(),
            partition_epoch: 0,
            feed: None,
            located_at: None,
            has_declared: false,
            is_pinned: false,
            end: Arc::new(NO_END.into()),
            place: None,
            confirmed_at: Instant::now(),
            pace: Pace::new(options.largest_page()),
            tail,
            follows: false,
            ahead: None,
            known: None,
            read_at: Instant::now(),
            is_placed_anew: true,
            parking_cache: ParkingCache::default(),
            passed_over: PassedOver::default(),
        }
    }

    /// Stays with the current generation, whether it is live or not.
    pub(crate) fn pin(&mut self) {
        self.is_pinned = true;
    }

    /// Finds the place of the next step. Returns the name of its checkpoint, which is that of the live generation.
    pub(crate) async fn locate(&mut self) -> Result<ConsumerName, StepFailure> {
        if self.place.is_none() {
            self.go_live().await?;
            // The assignment to processes depends on the number of partitions.
            self.find_partition().await?;
            self.located_at = Some(Instant::now());
        }
        Ok(self.name())
    }

    /// Returns whether it is time to check which generation is live and how many partitions it has. A working consumer
    /// finds out without this check.
    pub(crate) fn is_look_due(&self) -> bool {
        self.located_at.is_none_or(|at| at.elapsed() >= limits::CHECKPOINT_CHECK_INTERVAL)
    }

    /// Leaves the work to another process. With its place it would keep the number of partitions that it knew, and never
    /// look for another one.
    pub(crate) fn leave(&mut self, not_ours: NotOurs) -> StepFailure {
        self.forget_place();
        StepFailure::NotOurs(not_ours)
    }

    /// Returns the name of its checkpoint.
    fn name(&self) -> ConsumerName {
        self.consumer.name().in_partition(self.partition)
    }

    /// Returns the partition that it works for.
    pub(crate) fn partition(&self) -> Partition {
        self.partition
    }

    /// Switches to another partition.
    pub(crate) fn work_for(&mut self, partition: Partition, feed: Arc<Feed>) {
        (self.partition, self.feed, self.located_at) = (partition, Some(feed), None);
        self.forget_place();
    }

    /// Switches to a lease. A previous holder may have moved the checkpoint.
    pub(crate) fn work_under(&mut self, lease: Lease, is_new: bool) {
        self.lease = Some(lease);
        if is_new {
            self.forget_place();
        }
    }

    /// Returns the stored checkpoint.
    pub(crate) async fn stored(&self) -> Result<Position, StoreError> {
        let all = self.store.partitions(self.consumer.name()).await?;
        let own = all.iter().find(|reached| reached.partition() == self.partition);
        Ok(own.map_or(Position::ZERO, |reached| reached.position))
    }

    /// Goes no further than a position until the guard is dropped.
    pub(crate) fn end_at(&mut self, end: Position) -> EndGuard {
        self.end.store(end.get(), Ordering::SeqCst);
        self.forget_place();
        EndGuard::new(&self.end)
    }

    fn end(&self) -> Position {
        Position::new(self.end.load(Ordering::SeqCst))
    }

    /// Makes the next step look up the checkpoint, because another process may have moved it.
    pub(crate) fn forget_place(&mut self) {
        self.place = None;
        self.ahead = None;
        self.follows = false;
    }

    /// Records that the end of the log is reached, so that the next reads use the shared tail.
    pub(crate) fn follow(&mut self) {
        self.follows = true;
    }

    /// Empties the read model and starts over.
    pub(crate) async fn clear(&mut self) -> Result<Step, StepFailure> {
        self.forget_place();
        self.go_live().await?;
        self.prepare().await?;
        catch_panic(self.consumer.name(), self.consumer.clear()).await?;
        Ok(Step::Cleared)
    }

    /// Continues by one page. The checkpoint is always saved together with events that took effect; with `is_eager`, it
    /// is also saved after events that were only scanned.
    ///
    /// # Cancel safety
    /// If the future is dropped, the page has either been applied or not; the next step finds out.
    pub(crate) async fn next(&mut self, is_eager: bool, stop: &Stop) -> Result<Step, StepFailure> {
        let place = match self.place.take() {
            Some(place) => place,
            None => {
                self.go_live().await?;
                self.prepare().await?;
                self.find_place().await?
            }
        };
        let scanned = place.scanned.position();
        if scanned >= self.end() {
            self.place = Some(place);
            return Ok(Step::CaughtUp(scanned));
        }
        self.retry_requested(place, stop).await?;
        let page = match self.ahead.take().filter(|ahead| ahead.after == scanned) {
            Some(Ahead { fetched, .. }) => {
                fetched.page.check_continues(place.scanned)?;
                self.cut(fetched)
            }
            None => self.read(place.scanned).await?,
        };
        let page = self.cut_at_end(page);
        let page = self.see_to_unknown(page).map_err(StepFailure::UnknownType)?;
        if page.events.is_empty() {
            return self.pass_over(place, &page, is_eager).await;
        }
        let mut page = page;
        let parking = self.set_aside(scanned, &mut page).await?;
        self.apply(place, page, parking, stop).await
    }

    /// Switches to the live generation, if it is another one now.
    pub(crate) async fn go_live(&mut self) -> Result<(), StepFailure> {
        let Some(definition) = self.consumer.definition().filter(|_| !self.is_pinned) else { return Ok(()) };
        let live = self.store.live_generation(&self.consumer.name().base(), &definition).await?;
        let (live_version, own_version) = (live.definition.version, definition.version);
        if live_version != own_version {
            return Err(StepFailure::VersionMismatch { live: live.name, live_version, own_version });
        }
        if live.name != *self.consumer.name() {
            let other = self.consumer.in_generation(live.generation()).map_err(RunnerError::from);
            let no_generations = || RunnerError::NoGenerations { consumer: self.consumer.name().base() };
            let other = other.and_then(|other| other.ok_or_else(no_generations)).map_err(StepFailure::Fatal)?;
            tracing::info!(generation = %other.name(), "going on with the live generation");
            (self.consumer, self.is_prepared) = (other, false);
        }
        Ok(())
    }

    /// Creates what is created once after the whole history has been applied.
    pub(crate) async fn finish(&self) -> Result<(), ProjectionError> {
        catch_panic(self.consumer.name(), self.consumer.finish()).await
    }

    /// Saves the checkpoint after events that were only scanned.
    pub(crate) async fn save_scanned(&mut self) -> Result<(), StepFailure> {
        if let Some(Place { stored, scanned }) = self.place.take()
            && scanned.position() > stored
        {
            let advance = self.advance(stored, scanned.position()).having_seen(Some(scanned));
            self.store.move_checkpoint(&advance).await?;
        }
        Ok(())
    }

    pub(crate) async fn prepare(&mut self) -> Result<(), StepFailure> {
        if !self.is_prepared {
            catch_panic(self.consumer.name(), self.consumer.prepare()).await?;
            self.is_prepared = true;
        }
        Ok(())
    }

    /// Handles a page without events: the checkpoint moves, but it is not saved for every page.
    ///
    /// Events that are not durable may vanish in a crash of the database, and other events may take their positions. A
    /// checkpoint in the same database vanishes with them, but a position in memory would not.
    async fn pass_over(&mut self, before: Place, page: &EventPage, is_eager: bool) -> Result<Step, StepFailure> {
        let was = before.scanned.position();
        let scanned = page.scanned_to.min(page.durable_to.max(was));
        let place_of = |scanned| if scanned == was { before.scanned } else { page.place(scanned) };
        let mut place = Place { scanned: place_of(scanned), ..before };
        let unsaved = scanned.distance_from(place.stored);
        let unconfirmed_for = self.confirmed_at.elapsed();
        let is_save_due = is_eager
            // In this case, only the stored checkpoint can reveal that the log went back.
            || !place.scanned.is_verifiable()
            || unsaved >= limits::SCAN_CHECKPOINT_POSITIONS
            || unconfirmed_for >= limits::SCAN_CHECKPOINT_INTERVAL;
        if unsaved > 0 && is_save_due {
            let advance = self.advance(place.stored, scanned).having_seen(page.seen);
            self.store.move_checkpoint(&advance).await?;
            place.stored = scanned;
            self.confirmed_at = Instant::now();
        }
        self.advance_to(place);
        if scanned > was {
            return Ok(Step::Advanced(scanned));
        }
        if unconfirmed_for >= limits::CHECKPOINT_CHECK_INTERVAL {
            // A rebuild that was then killed may have moved the checkpoint back. Nothing else would reveal that.
            self.place = None;
        }
        self.follow();
        Ok(Step::CaughtUp(scanned))
    }

    pub(crate) async fn apply(
        &mut self,
        place: Place,
        page: EventPage,
        parking: Parking,
        stop: &Stop,
    ) -> Result<Step, StepFailure> {
        // Includes the events that are set aside, because the page is narrowed by number of events.
        let aside = parking.park.iter().map(|park| park.position);
        let positions: BTreeSet<Position> = page.events.iter().map(|event| event.position()).chain(aside).collect();
        let positions: Vec<Position> = positions.into_iter().collect();
        if self.consumer.kind() == ConsumerKind::Reactor {
            self.look(&page).await?;
        }
        let (from, next) = (place.stored, page.scanned_to);
        let places: Vec<Bookmark> = std::iter::once(page.end()).chain(page.events.iter().map(Bookmark::of)).collect();
        let consumer_state = Arc::clone(&self.consumer_state);
        let _applying = consumer_state.enter_page();
        let advance = self.advance(from, next).with_parking(parking).having_seen(page.seen);
        let applying = self.consumer.apply(advance, page, &self.partition_slice, stop);
        let limit = self.options.page_time_limit(self.consumer.kind());
        let applying = within(limit, self.consumer.name(), applying, || consumer_state.is_waiting_on_database());
        let result =
            if positions.len() < self.pace.size() || self.ahead.is_some() || !self.partition_slice.is_everything() {
                applying.await
            } else {
                // The page is full and more will follow, so read the next one concurrently. If that fails, the next
                // step reports it.
                self.follows = false;
                let reading = self.store.read_all(next, self.consumer.filter(), PageSize::new(self.pace.size())?);
                let (result, ahead) = tokio::join!(applying, reading);
                // An empty page is not kept: it may soon be outdated, and would look like the end of the log.
                let ahead = ahead.ok().filter(|page| !page.events.is_empty());
                self.ahead = ahead.map(|page| Ahead { after: next, fetched: Fetched::now(page) });
                result
            };
        match result {
            Ok(Applied::UpTo(reached)) => {
                self.pace.applied(positions.len(), self.consumer.held_for());
                self.confirmed_at = Instant::now();
                self.consumer_state.note_applied(positions.iter().filter(|&&position| position <= reached).count());
                let scanned = places.into_iter().find(|place| place.position() == reached);
                self.advance_to(Place { stored: reached, scanned: scanned.unwrap_or(reached.into()) });
                tracing::debug!(from = from.get(), to = reached.get(), events = positions.len(), "page applied");
                Ok(Step::Advanced(reached))
            }
            Ok(Applied::TooLarge) => {
                self.pace.narrow_to(positions.len() / 2);
                self.place = Some(place);
                Ok(Step::Advanced(place.scanned.position()))
            }
            Err(failure) => Err(self.narrow(from, &positions, failure)),
        }
    }

    /// Finds the event that failed. If it is not known yet, the next page ends before it or is half as long.
    fn narrow(&mut self, from: Position, positions: &[Position], failure: PageFailure) -> StepFailure {
        let PageFailure { alone, error } = failure;
        if let ProjectionError::Store(error @ StoreError::LogWentBack { .. }) = error {
            return StepFailure::WentBack(error);
        }
        if matches!(&error, ProjectionError::Store(error) if is_elsewhere(error)) {
            return StepFailure::MovedByOther;
        }
        if let Some(event) = alone {
            self.pace.narrow_to(1);
            return StepFailure::Failed { event: Some(event), error };
        }
        let is_store_down = is_transient(&error);
        let named = event_of(&error).and_then(|event| positions.iter().position(|&position| position == event));
        match (positions, named) {
            _ if is_store_down => StepFailure::Failed { event: None, error },
            (&[event], _) => {
                self.pace.narrow_to(1);
                StepFailure::Failed { event: Some(event), error }
            }
            _ => {
                self.pace.narrow_to(named.unwrap_or(positions.len() / 2));
                let event = named.map(|index| positions[index]);
                tracing::debug!(from = from.get(), events = positions.len(), next = self.pace.size(), "page narrowed");
                self.consumer_state.note_failure(event, Arc::new(error));
                StepFailure::Narrowed
            }
        }
    }

    /// Returns the name under which its events are parked.
    pub(crate) fn queue(&self) -> ConsumerName {
        self.advance(Position::ZERO, Position::ZERO).queue()
    }

    pub(crate) fn advance(&self, from: Position, to: Position) -> Advance {
        Advance::new(&self.name(), from, to).under(self.lease).in_partition_epoch(self.partition_epoch)
    }

    fn advance_to(&mut self, place: Place) {
        self.place = Some(place);
        self.known = Some(place.scanned);
        self.consumer_state.note_advanced(place);
    }
}

//! The events of a store as a stream: first the existing events, then each new one, without gaps or duplicates.

mod builder;
mod error;
mod status;

use std::{collections::VecDeque, sync::Arc};

use es_core::{
    Bookmark, DecodeError, EventFilter, EventPage, EventStore, EventStream, PageSize, Position, RecordedEvent,
    StoreError, Wakeups,
};
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep_until};

use crate::{backoff::Backoff, error::Chain, limits};

pub use builder::SubscriptionBuilder;
pub use error::SubscriptionError;
use status::{Notes, Phase};
pub use status::{SubscriptionFailure, SubscriptionMonitor, SubscriptionState, SubscriptionStatus};

/// Appends to a list what a subscriber receives for a stored event: zero, one, or several items.
type Unpack<T> = dyn Fn(RecordedEvent, &mut Vec<T>) -> Result<(), DecodeError> + Send + Sync;

/// The events of a store as a stream that never ends on its own: first the existing events, page by page, then each new
/// event as soon as it is stored. It is meant for code that keeps its own position in the log, such as a live page, a
/// cache, or a bridge to another system. If the store should keep the position, use a [`Reactor`](es_core::Reactor) in
/// a [`Runner`](crate::Runner).
///
/// - **No gaps, no duplicates.** Events arrive in the order of their positions, each exactly once. See
///   [`position`](Self::position) for what is repeated after a restart.
/// - **Only durable events.** The subscription returns an event only when it survives a crash of the database (G6),
///   because the subscriber's effects cannot be undone.
/// - **At the subscriber's pace.** The subscription reads the next page when the subscriber has taken the last event of
///   the current page and asks for another one. It does not work in the background, and keeps at most one page in
///   memory.
/// - **No silent stall.** If the store is busy or unreachable, the subscription retries with increasing waits for as
///   long as necessary. The [`monitor`](Self::monitor) and a `tracing` warning report the wait. It is not an item of
///   the stream, because a subscriber could do nothing about it, and `?` or `try_for_each` would give up at the first
///   hiccup. Any other error is the last item of the stream.
///
/// The subscription notices new events through hints of the store ([`EventStore::wakeups`]), or otherwise by polling
/// every [`limits::POLL_INTERVAL`].
///
/// ```
/// use es_core::{DomainEvent, MemoryStore, Repository};
/// # use es_core::Aggregate;
/// use es_projections::{StartFrom, Subscription};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent {
///     Deposited { cents: i64 },
/// }
///
/// impl DomainEvent for AccountEvent {
///     const CATEGORY: &'static str = "account";
/// }
/// # #[derive(Clone, Default)]
/// # struct Account;
/// # struct Deposit { cents: i64 }
/// # impl Aggregate for Account {
/// #     type Event = AccountEvent;
/// #     type Command = Deposit;
/// #     type Error = std::convert::Infallible;
/// #     fn handle(&self, deposit: &Deposit) -> Result<Vec<AccountEvent>, Self::Error> {
/// #         Ok(vec![AccountEvent::Deposited { cents: deposit.cents }])
/// #     }
/// #     fn apply(&mut self, _: &AccountEvent) {}
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let accounts = Repository::<Account>::new(&store);
/// let mut deposits = Subscription::builder(&store).start_from(StartFrom::Now).subscribe_to::<AccountEvent>().await?;
///
/// accounts.execute("ann", Deposit { cents: 100 }).await?;
/// let Some(deposit) = deposits.next().await.transpose()? else { return Ok(()) };
/// let AccountEvent::Deposited { cents } = deposit.event;
/// assert_eq!((deposit.stream().id(), cents), ("ann", 100));
///
/// // Save this position after handling the event, and continue from it after a restart:
/// let place = deposits.position();
/// let mut deposits =
///     Subscription::builder(&store).start_from(StartFrom::After(place)).subscribe_to::<AccountEvent>().await?;
/// # accounts.execute("bob", Deposit { cents: 1 }).await?;
/// # assert_eq!(deposits.next().await.unwrap()?.stream().id(), "bob");
/// # Ok(())
/// # }
/// ```
pub struct Subscription<T = RecordedEvent> {
    store: Arc<dyn EventStore>,
    filter: EventFilter,
    unpack: Box<Unpack<T>>,
    page_size: usize,
    backoff: Backoff,
    wakeups: Wakeups,
    /// The number of events to request for the next page. Smaller than `page_size` while approaching a damaged event.
    size: usize,
    /// Everything up to here has been scanned and is durable.
    scanned: Bookmark,
    /// The events found up to there that have not been returned yet.
    page: VecDeque<RecordedEvent>,
    /// The remaining parts of the event at `unpacked_at`, in reverse order.
    parts: Vec<T>,
    unpacked_at: Bookmark,
    before_reading: Wait,
    failures: u32,
    has_ended: bool,
    notes: Arc<Notes>,
}

/// What to wait for before the next page is read. It contains a point in time instead of a duration, so that a call
/// that is dropped and repeated does not wait longer.
#[derive(Debug, Clone, Copy)]
enum Wait {
    Nothing,
    /// A wakeup, or at the latest this time.
    ForNews(Instant),
    /// The store has failed; the next attempt is at this time.
    ForStore(Instant),
}

impl<T> std::fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { filter, .. } = self;
        f.debug_struct("Subscription")
            .field("filter", filter)
            .field("status", &self.notes.status())
            .finish_non_exhaustive()
    }
}

impl Subscription {
    /// Returns a builder for a subscription to a store, which is cloned. An `Arc<dyn EventStore>` is also a store.
    pub fn builder<S: EventStore + Clone + 'static>(store: &S) -> SubscriptionBuilder {
        SubscriptionBuilder::new(Arc::new(store.clone()))
    }
}

impl<T: Send + Sync + 'static> Subscription<T> {
    /// Returns the next event, and waits until there is one. Returns `None` only after an error, which is the last
    /// item.
    ///
    /// # Errors
    /// Returns [`SubscriptionError::Store`] if the store fails in a way that waiting cannot resolve,
    /// [`SubscriptionError::Decode`] if an event cannot be read, and [`SubscriptionError::PositionBeyondHead`] or
    /// [`SubscriptionError::LogWentBack`] if the log was restored to an earlier state. All events before the error have
    /// been delivered. Fix the cause, and subscribe again after [`position`](Self::position).
    ///
    /// # Cancel safety
    /// Safe: the next call returns an event that this call did not return. If a page is being read when the future is
    /// dropped, the next call reads it again, so every call needs at least the time of one read.
    pub async fn next(&mut self) -> Option<Result<T, SubscriptionError>> {
        while !self.has_ended {
            match self.take_buffered() {
                Ok(Some(item)) => return Some(Ok(item)),
                Ok(None) => {}
                Err(error) => return Some(Err(self.end(error))),
            }
            if let Err(error) = self.read_on().await {
                return Some(Err(self.end(error)));
            }
        }
        None
    }

    /// Returns the events as a [`Stream`](futures_util::Stream) that borrows the subscription; see
    /// [`next`](Self::next).
    pub fn stream(&mut self) -> EventStream<'_, T, SubscriptionError> {
        Box::pin(unfold(self, async |subscription| subscription.next().await.map(|item| (item, subscription))))
    }

    /// Converts the subscription into a [`Stream`](futures_util::Stream); see [`next`](Self::next). To observe its
    /// status, create a [`monitor`](Self::monitor) before the conversion.
    pub fn into_stream(self) -> EventStream<'static, T, SubscriptionError> {
        Box::pin(unfold(self, async |mut subscription| subscription.next().await.map(|item| (item, subscription))))
    }

    /// Returns the position from which to continue after a restart: every wanted event up to here has been returned,
    /// and no later one. The position moves with each event. It also moves past unwanted events, so that a subscriber
    /// of rare events does not scan everything again. The position survives a crash of the database.
    ///
    /// Save it *after* handling an event. A crash in between then repeats that event, and no event is lost. If an
    /// upcaster splits an event, the position moves with the last part.
    pub fn position(&self) -> Position {
        self.notes.position().position()
    }

    /// Returns the [`position`](Self::position) together with the event at that position. Prefer to save the bookmark,
    /// and start again with [`StartFrom::AfterBookmark`](crate::StartFrom::AfterBookmark): if the log went back in
    /// between, the subscription then detects it instead of passing over events.
    pub fn bookmark(&self) -> Bookmark {
        self.notes.position()
    }

    /// Returns a monitor that shows the position of the subscription and what it waits for, also while
    /// [`next`](Self::next) waits.
    pub fn monitor(&self) -> SubscriptionMonitor {
        SubscriptionMonitor::new(Arc::clone(&self.notes))
    }

    /// Returns the next item without asking the store.
    fn take_buffered(&mut self) -> Result<Option<T>, SubscriptionError> {
        loop {
            if let Some(item) = self.parts.pop() {
                let reached = if self.parts.is_empty() { Some(self.reached(self.unpacked_at)) } else { None };
                self.notes.given_out(self.unpacked_at.position(), reached);
                return Ok(Some(item));
            }
            let Some(event) = self.page.pop_front() else { return Ok(None) };
            let place = Bookmark::of(&event);
            (self.unpack)(event, &mut self.parts)?;
            self.parts.reverse();
            self.unpacked_at = place;
            if self.parts.is_empty() {
                self.notes.passed_over(self.reached(place));
            }
        }
    }

    /// Returns the place that the subscription reaches with an event. After the last event of a page, this is the end
    /// of the scanned range.
    fn reached(&self, event: Bookmark) -> Bookmark {
        if self.page.is_empty() { self.scanned } else { event }
    }

    /// Waits as required and then reads a page. Until the page has been read, nothing changes except that a completed
    /// wait is not repeated.
    async fn read_on(&mut self) -> Result<(), SubscriptionError> {
        match self.before_reading {
            Wait::Nothing => {}
            Wait::ForNews(poll_at) => {
                self.notes.enter(Phase::CaughtUp);
                wait_for_news(&mut self.wakeups, self.scanned.position(), poll_at).await;
            }
            Wait::ForStore(next_try) => sleep_until(next_try).await,
        }
        self.before_reading = Wait::Nothing;
        let page = match self.read().await {
            Ok(page) => page,
            Err(error) => return self.judge(error),
        };
        self.take(page);
        Ok(())
    }

    async fn read(&self) -> Result<EventPage, StoreError> {
        let after = self.scanned.position();
        let page = self.store.read_all(after, &self.filter, PageSize::new(self.size)?).await?;
        page.check_continues(self.scanned)?;
        // This also waits for events that were only scanned: if a crash removed them, other events would take their
        // positions. If the wait fails, the page is read again, because such a crash may have happened.
        if page.scanned_to > after.max(page.durable_to) {
            self.store.wait_durable(page.scanned_to).await?;
        }
        Ok(page)
    }

    fn take(&mut self, page: EventPage) {
        let has_news = page.scanned_to > self.scanned.position();
        if has_news {
            self.scanned = page.end();
        }
        self.page = page.events.into();
        self.failures = 0;
        self.size = self.size.saturating_mul(2).min(self.page_size);
        // According to the wakeups this is the head, so there is no need to look for more.
        let is_at_head = !has_news || self.scanned.position() == self.wakeups.latest();
        if is_at_head {
            self.before_reading = Wait::ForNews(Instant::now() + limits::POLL_INTERVAL);
        }
        self.notes.enter(if is_at_head && self.page.is_empty() { Phase::CaughtUp } else { Phase::CatchingUp });
        if self.page.is_empty() {
            self.notes.passed_over(self.scanned);
        }
    }

    /// Decides what to do about a failure of the store: try again later, or give up.
    fn judge(&mut self, error: StoreError) -> Result<(), SubscriptionError> {
        if matches!(error, StoreError::Corrupt { .. }) && self.size > 1 {
            // The events before the damaged one can still be read.
            self.size /= 2;
            return Ok(());
        }
        if !error.is_transient() {
            return Err(error.into());
        }
        self.failures = self.failures.saturating_add(1);
        let (attempt, wait) = (self.failures, self.backoff.wait(self.failures));
        tracing::warn!(attempt, ?wait, error = %Chain(&error), "waiting for the store");
        let next_try = Instant::now() + wait;
        self.before_reading = Wait::ForStore(next_try);
        self.notes.store_failed(attempt, next_try, Arc::new(error));
        Ok(())
    }

    fn end(&mut self, error: SubscriptionError) -> SubscriptionError {
        tracing::error!(error = %Chain(&error), "subscription ended");
        self.has_ended = true;
        self.page = VecDeque::new();
        self.notes.enter(Phase::Ended(error.clone()));
        error
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.notes.dropped();
    }
}

/// Waits until there may be events after `scanned`: for a wakeup, or at the latest until `poll_at`.
async fn wait_for_news(wakeups: &mut Wakeups, scanned: Position, poll_at: Instant) {
    tokio::select! {
        () = wakeups.news(scanned) => {}
        () = sleep_until(poll_at) => {}
    }
}

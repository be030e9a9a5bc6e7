//! The events of a store as a stream: first those that are there, then each new one, without a gap and without a repeat.

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

/// Adds what a subscriber is given of a stored event to a list: nothing, one item or several.
type Unpack<T> = dyn Fn(RecordedEvent, &mut Vec<T>) -> Result<(), DecodeError> + Send + Sync;

/// The events of a store as a stream that never ends by itself: first those that are there, page by page, then each new
/// one as soon as it is stored. For code that keeps its own place in the log: a live page, a cache, a bridge to another system.
/// Where the place shall be kept by the store, use a [`Reactor`](es_core::Reactor) in a [`Runner`](crate::Runner).
///
/// - **No gap, no repeat.** Events come in the order of their positions, each once (but see
///   [`position`](Self::position) for what is given again after a restart).
/// - **Only what lasts.** An event is given out when it survives a crash of the database (G6), since what a subscriber does
///   with it cannot be taken back.
/// - **At the subscriber's pace.** The next page is read when the last event of this one was taken and another one is
///   asked for. Nothing works in the background, and at most one page is in memory.
/// - **No silent stall.** A store that is busy or away is asked again, with growing waits, for as long as it takes. Meanwhile
///   the [`monitor`](Self::monitor) says so, and a warning of `tracing`. It is no item of the stream: there is nothing that
///   each subscriber could do about it, and `?` or `try_for_each` would give up at the first hiccup. Any other error is
///   the stream's last item.
///
/// New events are noticed by hints of the store ([`EventStore::wakeups`]), or else every
/// [`limits::POLL_INTERVAL`].
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
/// // Keep this once the event is dealt with, and go on from it after a restart:
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
    /// How many events the next page asks for: fewer than `page_size` on the way to a damaged one.
    size: usize,
    /// Everything up to here was looked at, and is durable.
    scanned: Bookmark,
    /// What was found there and is not given out yet.
    page: VecDeque<RecordedEvent>,
    /// What is left of the event at `unpacked_at`, the last part first.
    parts: Vec<T>,
    unpacked_at: Bookmark,
    before_reading: Wait,
    failures: u32,
    has_ended: bool,
    notes: Arc<Notes>,
}

/// What must come before the next page is read. A point in time, not a length: a call that is dropped and made again does not
/// wait longer.
#[derive(Debug, Clone, Copy)]
enum Wait {
    Nothing,
    /// A hint, or this time for want of one.
    ForNews(Instant),
    /// The store has failed: this time.
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
    /// Starts to put a subscription to a store together; `&store` is cloned. An `Arc<dyn EventStore>` is a store too.
    pub fn builder<S: EventStore + Clone + 'static>(store: &S) -> SubscriptionBuilder {
        SubscriptionBuilder::new(Arc::new(store.clone()))
    }
}

impl<T: Send + Sync + 'static> Subscription<T> {
    /// The next event. It waits until there is one; `None` only after an error, which is the last item.
    ///
    /// # Errors
    /// [`SubscriptionError::Store`] if the store fails in a way that waiting does not mend,
    /// [`SubscriptionError::Decode`] if an event cannot be read, [`SubscriptionError::PositionBeyondHead`] or
    /// [`SubscriptionError::LogWentBack`] if the log was restored to an earlier state. Everything before it was delivered; fix the cause and subscribe again after
    /// [`position`](Self::position).
    ///
    /// # Cancel safety
    /// Safe: an event that was not returned is returned by the next call. A page that was being read is read again, so
    /// a call must be given the time of one read at least.
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

    /// The events as a [`Stream`](futures_util::Stream), for as long as it is borrowed; see [`next`](Self::next).
    pub fn stream(&mut self) -> EventStream<'_, T, SubscriptionError> {
        Box::pin(unfold(self, async |subscription| subscription.next().await.map(|item| (item, subscription))))
    }

    /// The events as a [`Stream`](futures_util::Stream) of its own; see [`next`](Self::next). A
    /// [`monitor`](Self::monitor) taken before says where it stands.
    pub fn into_stream(self) -> EventStream<'static, T, SubscriptionError> {
        Box::pin(unfold(self, async |mut subscription| subscription.next().await.map(|item| (item, subscription))))
    }

    /// Where to go on after a restart: every wanted event up to here has been given out, and none after it. It moves with each
    /// event, and also past events that are not wanted, so that a subscriber of rare events does not look at
    /// everything again. It survives a crash of the database.
    ///
    /// Keep it *after* an event was dealt with: then a crash in between gives that event again, and none is lost. Of an
    /// event that an upcaster splits, it moves with the last part.
    pub fn position(&self) -> Position {
        self.notes.position().position()
    }

    /// The same with the event that stands there. Keep this rather than the position, and start again with
    /// [`StartFrom::AfterBookmark`](crate::StartFrom::AfterBookmark): then a log that went back in between is noticed, instead of events
    /// being passed over.
    pub fn bookmark(&self) -> Bookmark {
        self.notes.position()
    }

    /// Tells where the subscription stands and what it waits for, also while [`next`](Self::next) waits.
    pub fn monitor(&self) -> SubscriptionMonitor {
        SubscriptionMonitor::new(Arc::clone(&self.notes))
    }

    /// The next item without asking the store.
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

    /// How far the subscription has come with an event: after the last one of a page, as far as that looked.
    fn reached(&self, event: Bookmark) -> Bookmark {
        if self.page.is_empty() { self.scanned } else { event }
    }

    /// Waits for what must come first, and reads a page. Nothing changes before the page is there, but for what need not be
    /// waited for again.
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
        // Also for what was only looked at: if a crash took it away, other events would stand in its positions. If this
        // fails, the page is read again, since the crash may have been.
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
        // A hint says that this is the head: no need to look whether there is more.
        let is_at_head = !has_news || self.scanned.position() == self.wakeups.latest();
        if is_at_head {
            self.before_reading = Wait::ForNews(Instant::now() + limits::POLL_INTERVAL);
        }
        self.notes.enter(if is_at_head && self.page.is_empty() { Phase::CaughtUp } else { Phase::CatchingUp });
        if self.page.is_empty() {
            self.notes.passed_over(self.scanned);
        }
    }

    /// What to do about a failure of the store: try again later, or give up.
    fn judge(&mut self, error: StoreError) -> Result<(), SubscriptionError> {
        if matches!(error, StoreError::Corrupt { .. }) && self.size > 1 {
            // Those before the damaged one can still be read.
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

/// Waits until there may be events after `scanned`: a hint, or a point in time for want of one.
async fn wait_for_news(wakeups: &mut Wakeups, scanned: Position, poll_at: Instant) {
    tokio::select! {
        () = wakeups.news(scanned) => {}
        () = sleep_until(poll_at) => {}
    }
}

//! Puts a subscription together.

use std::{collections::VecDeque, sync::Arc};

use es_core::{EventFilter, EventSet, EventStore, PageSize, Position, Recorded, RecordedEvent};
use tokio::time::Instant;

use super::{Notes, Subscription, SubscriptionError, Unpack, Wait};
use crate::{backoff::Backoff, options::StartFrom};

/// Puts a [`Subscription`] together: where it begins, what it wants, how much at a time.
#[must_use = "a builder does nothing until it subscribes"]
pub struct SubscriptionBuilder {
    store: Arc<dyn EventStore>,
    start_from: StartFrom,
    filter: Option<EventFilter>,
    page_size: PageSize,
    backoff: Backoff,
}

impl std::fmt::Debug for SubscriptionBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { start_from, filter, page_size, backoff, store: _ } = self;
        f.debug_struct("SubscriptionBuilder")
            .field("start_from", start_from)
            .field("filter", filter)
            .field("page_size", page_size)
            .field("backoff", backoff)
            .finish_non_exhaustive()
    }
}

impl SubscriptionBuilder {
    pub(super) fn new(store: Arc<dyn EventStore>) -> Self {
        let (page_size, backoff) = (PageSize::default(), Backoff::default());
        Self { store, start_from: StartFrom::Beginning, filter: None, page_size, backoff }
    }

    /// Where it begins: with the first event of the log, if not said; after a position, such as one that a former
    /// subscription has [told](Subscription::position); or with the first event that is appended after the subscription was
    /// returned.
    pub fn start_from(mut self, start_from: StartFrom) -> Self {
        self.start_from = start_from;
        self
    }

    /// Which events it wants; all of them (or all of the event type that it is for), if not said.
    pub fn filter(mut self, filter: EventFilter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Most events that are read, and so in memory, at a time; [`DEFAULT_PAGE_EVENTS`](es_core::limits::DEFAULT_PAGE_EVENTS)
    /// if not said. A page ends early at [`MAX_PAGE_BYTES`](es_core::limits::MAX_PAGE_BYTES).
    pub fn page_size(mut self, page_size: PageSize) -> Self {
        self.page_size = page_size;
        self
    }

    /// How long it waits before it asks a store again that was busy or away; [`Backoff::default`] if not said.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Subscribes to events as they are stored.
    ///
    /// # Errors
    /// [`SubscriptionError::PositionBeyondHead`] if it is to begin after a position that the log has not reached.
    /// [`SubscriptionError::Store`] if the filter cannot be used, or if the store does not tell its head. That is given back
    /// even if it is [transient](es_core::StoreError::is_transient), since nobody could see yet what it waits for.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn subscribe(self) -> Result<Subscription, SubscriptionError> {
        let filter = self.filter.clone().unwrap_or_default();
        self.begin(
            filter,
            Box::new(|event, out: &mut Vec<RecordedEvent>| {
                out.push(event);
                Ok(())
            }),
        )
        .await
    }

    /// Subscribes to the events of an enum, or of several; see [`EventSet`]. With a [`filter`](Self::filter) it gives those of
    /// them that pass the filter.
    ///
    /// # Errors
    /// As for [`subscribe`](Self::subscribe).
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn subscribe_to<E: EventSet>(self) -> Result<Subscription<Recorded<E>>, SubscriptionError> {
        let decoder = E::decoder();
        let filter = self.filter.clone().unwrap_or_else(|| decoder.filter().clone());
        let unpack = move |event: RecordedEvent, out: &mut Vec<Recorded<E>>| {
            // The filter may pass what the enum does not know.
            if decoder.filter().matches(event.stream(), event.event_type()) {
                decoder.decode_into(event, out)?;
            }
            Ok(())
        };
        self.begin(filter, Box::new(unpack)).await
    }

    async fn begin<T>(self, filter: EventFilter, unpack: Box<Unpack<T>>) -> Result<Subscription<T>, SubscriptionError> {
        let Self { store, start_from, page_size, backoff, filter: _ } = self;
        filter.check()?;
        // From before the head is read, so that no hint is missed.
        let wakeups = store.wakeups();
        let start = start_position(&*store, start_from).await?;
        Ok(Subscription {
            store,
            filter,
            unpack,
            page_size: page_size.get(),
            backoff,
            wakeups,
            size: page_size.get(),
            scanned: start,
            page: VecDeque::new(),
            parts: Vec::new(),
            unpacked_at: start,
            before_reading: Wait::Nothing,
            failures: 0,
            head_checked_at: Instant::now(),
            has_ended: false,
            notes: Arc::new(Notes::new(start)),
        })
    }
}

async fn start_position(store: &dyn EventStore, start_from: StartFrom) -> Result<Position, SubscriptionError> {
    match start_from {
        StartFrom::Beginning => Ok(Position::ZERO),
        StartFrom::After(position) => match store.head().await? {
            head if position <= head => Ok(position),
            head => Err(SubscriptionError::PositionBeyondHead { position, head }),
        },
        StartFrom::Now => {
            let head = store.head().await?;
            // If a crash took the last ones away, later events would stand in their positions and be passed over.
            store.wait_durable(head).await?;
            Ok(head)
        }
    }
}

//! Puts a subscription together.

use std::{collections::VecDeque, sync::Arc};

use es_core::{Bookmark, EventFilter, EventSet, EventStore, PageSize, Recorded, RecordedEvent};

use super::{Notes, Subscription, SubscriptionError, Unpack, Wait};
use crate::{
    backoff::Backoff,
    options::{StartFrom, UnknownEventTypes},
};

/// Puts a [`Subscription`] together: where it begins, what it wants, how much at a time.
#[must_use = "a builder does nothing until it subscribes"]
pub struct SubscriptionBuilder {
    store: Arc<dyn EventStore>,
    start_from: StartFrom,
    filter: Option<EventFilter>,
    page_size: PageSize,
    backoff: Backoff,
    unknown_event_types: UnknownEventTypes,
}

impl std::fmt::Debug for SubscriptionBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { start_from, filter, page_size, backoff, unknown_event_types, store: _ } = self;
        f.debug_struct("SubscriptionBuilder")
            .field("start_from", start_from)
            .field("filter", filter)
            .field("page_size", page_size)
            .field("backoff", backoff)
            .field("unknown_event_types", unknown_event_types)
            .finish_non_exhaustive()
    }
}

impl SubscriptionBuilder {
    pub(super) fn new(store: Arc<dyn EventStore>) -> Self {
        let (page_size, backoff) = (PageSize::default(), Backoff::default());
        let (start_from, unknown_event_types) = (StartFrom::Beginning, UnknownEventTypes::Suspend);
        Self { store, start_from, filter: None, page_size, backoff, unknown_event_types }
    }

    /// Where it begins: with the first event of the log, if not said; after a place, such as one that a former
    /// subscription has [told](Subscription::bookmark); or with the first event that is appended after the subscription was
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

    /// What it does when it meets an event whose type the enum that it is for does not know, in a category of which that is to
    /// know [every type](es_core::Coverage::Whole): ends with [`SubscriptionError::Decode`] before the event, if not said, or
    /// passes over it.
    pub fn unknown_event_types(mut self, policy: UnknownEventTypes) -> Self {
        self.unknown_event_types = policy;
        self
    }

    /// Subscribes to events as they are stored.
    ///
    /// # Errors
    /// [`SubscriptionError::PositionBeyondHead`] if it is to begin after a position that the log has not reached,
    /// [`SubscriptionError::LogWentBack`] if the log holds another event there than the bookmark names.
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
        decoder.check()?;
        let filter = self.filter.clone().unwrap_or_else(|| decoder.filter().clone());
        let policy = self.unknown_event_types;
        let unpack = move |event: RecordedEvent, out: &mut Vec<Recorded<E>>| {
            // The filter may pass what is not the enum's.
            let is_its_own = decoder.filter().matches(event.stream(), event.event_type());
            if is_its_own && (policy == UnknownEventTypes::Suspend || decoder.knows(&event)) {
                decoder.decode_into(event, out)?;
            }
            Ok(())
        };
        self.begin(filter, Box::new(unpack)).await
    }

    async fn begin<T>(self, filter: EventFilter, unpack: Box<Unpack<T>>) -> Result<Subscription<T>, SubscriptionError> {
        let Self { store, start_from, page_size, backoff, .. } = self;
        filter.check()?;
        // From before the head is read, so that no hint is missed.
        let wakeups = store.wakeups();
        let start = start_place(&*store, start_from).await?;
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
            has_ended: false,
            notes: Arc::new(Notes::new(start)),
        })
    }
}

async fn start_place(store: &dyn EventStore, start_from: StartFrom) -> Result<Bookmark, SubscriptionError> {
    if let Some(place) = start_from.place() {
        store.verify(place).await?;
        return Ok(place);
    }
    let StartFrom::Now = start_from else { return Ok(Bookmark::START) };
    let head = store.head().await?;
    // If a crash took the last ones away, later events would stand in their positions and be passed over.
    store.wait_durable(head).await?;
    Ok(head.into())
}

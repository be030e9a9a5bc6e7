//! Builds a subscription.

use std::{collections::VecDeque, sync::Arc};

use es_core::{Bookmark, EventFilter, EventSet, EventStore, PageSize, Recorded, RecordedEvent};

use super::{Notes, Subscription, SubscriptionError, Unpack, Wait};
use crate::{
    backoff::Backoff,
    options::{StartFrom, UnknownEventTypes},
};

/// Builds a [`Subscription`]: where it begins, which events it returns, and how many it reads at a time.
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

    /// Sets where the subscription begins: at the first event of the log (the default), after a place such as the
    /// [bookmark](Subscription::bookmark) of an earlier subscription, or at the first event appended after the
    /// subscription was returned.
    pub fn start_from(mut self, start_from: StartFrom) -> Self {
        self.start_from = start_from;
        self
    }

    /// Sets which events the subscription returns. By default, it returns all events, or all events of the types that
    /// it decodes.
    pub fn filter(mut self, filter: EventFilter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Sets the maximum number of events that are read, and therefore in memory, at a time. The default is
    /// [`DEFAULT_PAGE_EVENTS`](es_core::limits::DEFAULT_PAGE_EVENTS). A page ends early at
    /// [`MAX_PAGE_BYTES`](es_core::limits::MAX_PAGE_BYTES).
    pub fn page_size(mut self, page_size: PageSize) -> Self {
        self.page_size = page_size;
        self
    }

    /// Sets how long to wait before retrying a store that is busy or unreachable. The default is [`Backoff::default`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets what the subscription does with an event of a type that its enum does not know, in a category of which the
    /// enum claims to know [every type](es_core::Coverage::Whole). By default, it ends with
    /// [`SubscriptionError::Decode`] before the event. It can also pass over the event.
    pub fn unknown_event_types(mut self, policy: UnknownEventTypes) -> Self {
        self.unknown_event_types = policy;
        self
    }

    /// Subscribes to events in their stored form.
    ///
    /// # Errors
    /// Returns [`SubscriptionError::PositionBeyondHead`] if the subscription is to begin after a position that the log
    /// has not reached, and [`SubscriptionError::LogWentBack`] if the log holds another event there than the bookmark
    /// names. Returns [`SubscriptionError::Store`] if the filter is invalid, or if the store does not return its head.
    /// This method returns the error even if it is [transient](es_core::StoreError::is_transient), because there is no
    /// monitor yet that could show the wait.
    ///
    /// # Cancel safety
    /// Safe: this method changes nothing.
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

    /// Subscribes to the events of one or several enums; see [`EventSet`]. With a [`filter`](Self::filter), the
    /// subscription returns only those of the events that pass the filter.
    ///
    /// # Errors
    /// Same as [`subscribe`](Self::subscribe).
    ///
    /// # Cancel safety
    /// Safe: this method changes nothing.
    pub async fn subscribe_to<E: EventSet>(self) -> Result<Subscription<Recorded<E>>, SubscriptionError> {
        let decoder = E::decoder();
        decoder.check()?;
        let filter = self.filter.clone().unwrap_or_else(|| decoder.filter().clone());
        let policy = self.unknown_event_types;
        let unpack = move |event: RecordedEvent, out: &mut Vec<Recorded<E>>| {
            // The filter may also pass events that do not belong to the enum.
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
        // Created before the head is read, so that no wakeup is missed.
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
    // If a crash removed the last events, later events would take their positions and be passed over.
    store.wait_durable(head).await?;
    Ok(head.into())
}

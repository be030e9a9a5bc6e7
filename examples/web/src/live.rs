//! Live updates: server-sent events, fed by a subscription for each client.
//!
//! An update's id is its place in the log: its position and its event's id, so that a position is never taken for one of a
//! log that was restored in between. A browser that reconnects sends the last one as `Last-Event-ID` by itself, and
//! goes on after it, without a gap and without a repeat.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderName},
    response::sse::{Event, KeepAlive, Sse},
};
use es_core::{Bookmark, BoxError, EventFilter, InvalidName, PageSize, Recorded, StreamId};
use es_projections::{StartFrom, Subscription};
use futures_util::{Stream, StreamExt};
use serde::Serialize;

use crate::{Service, domain::AccountEvent, error::Problem, http::bookmark_in};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Most events in memory for one client. It is read ahead no further, however slow the client is.
const PAGE_EVENTS: usize = 100;

/// An update's `data`; its `event` is the type.
#[derive(Serialize)]
struct Update<'a> {
    account: &'a str,
    event: &'a AccountEvent,
}

type Updates = Sse<axum::response::sse::KeepAliveStream<UpdateStream>>;
type UpdateStream = std::pin::Pin<Box<dyn Stream<Item = Result<Event, BoxError>> + Send>>;

/// What happens to all accounts, from now on or after `Last-Event-ID`.
pub(crate) async fn events(State(service): State<Service>, headers: HeaderMap) -> Result<Updates, Problem> {
    updates(service, &headers, None).await
}

/// What happens to one account.
pub(crate) async fn events_of_account(
    State(service): State<Service>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Updates, Problem> {
    let stream = StreamId::new("account", &id).map_err(|error: InvalidName| Problem::bad_request(error))?;
    updates(service, &headers, Some(EventFilter::all().or_stream(stream))).await
}

async fn updates(service: Service, headers: &HeaderMap, filter: Option<EventFilter>) -> Result<Updates, Problem> {
    let start_from = bookmark_in(headers, &LAST_EVENT_ID)?.map_or(StartFrom::Now, StartFrom::AfterBookmark);
    let mut builder =
        Subscription::builder(&service.store).start_from(start_from).page_size(PageSize::new(PAGE_EVENTS)?);
    if let Some(filter) = filter {
        builder = builder.filter(filter);
    }
    let subscription = builder.subscribe_to::<AccountEvent>().await?;
    // An error ends the response, and the client comes back; the subscription has logged it.
    let updates = subscription.into_stream().map(|next| Ok(update(&next?)?));
    // Otherwise a shutdown would wait for clients that never hang up.
    let updates: UpdateStream = Box::pin(updates.take_until(service.stopped()));
    Ok(Sse::new(updates).keep_alive(KeepAlive::default()))
}

fn update(recorded: &Recorded<AccountEvent>) -> Result<Event, axum::Error> {
    let update = Update { account: recorded.stream().id(), event: &recorded.event };
    let bookmark = Bookmark::new(recorded.position(), recorded.id());
    Event::default().id(bookmark.to_string()).event(recorded.event_type()).json_data(update)
}

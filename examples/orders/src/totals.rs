//! What each side has done, counted from its log.

use std::{collections::HashMap, fmt};

use es_core::{DomainEvent, EventSet, EventStore, PageSize, Position};

use crate::{Error, order::OrderEvent, shipment::ShipmentEvent};

/// Orders, or shipments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events.
    pub events: u64,
    /// Different orders.
    pub orders: u64,
    pub cents: i64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, orders, cents } = self;
        write!(f, "{orders} orders, {cents} cents, {events} events")
    }
}

/// The orders that were placed.
pub async fn placed(store: &dyn EventStore) -> Result<Totals, Error> {
    count(store, |event: OrderEvent| {
        let OrderEvent::Placed { cents, .. } = event;
        cents
    })
    .await
}

/// The orders that were shipped.
pub async fn shipped(store: &dyn EventStore) -> Result<Totals, Error> {
    count(store, |event: ShipmentEvent| {
        let ShipmentEvent::Shipped { cents, .. } = event;
        cents
    })
    .await
}

async fn count<E: DomainEvent>(store: &dyn EventStore, cents: impl Fn(E) -> i64) -> Result<Totals, Error> {
    let decoder = E::decoder();
    let (mut totals, mut after, mut seen) = (Totals::default(), Position::ZERO, HashMap::<String, u64>::new());
    loop {
        let page = store.read_all(after, decoder.filter(), PageSize::new(1_000)?).await?;
        let is_end = page.scanned_to == after;
        after = page.scanned_to;
        for event in decoder.decode_page(page.events)? {
            totals.events += 1;
            *seen.entry(event.stream().id().to_owned()).or_default() += 1;
            totals.cents += cents(event.event);
        }
        if is_end {
            totals.orders = seen.len() as u64;
            return Ok(totals);
        }
    }
}

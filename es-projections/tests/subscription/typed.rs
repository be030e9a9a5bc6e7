use es_core::{Decoder, DomainEvent, EventFilter, EventSet, EventStore, StreamId, Upcasters};
use es_projections::{StartFrom, Subscription};
use es_testkit::bank::AccountEvent;
use serde::{Deserialize, Serialize};

use crate::{support::*, watched_store::WatchedStore};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum OrderEvent {
    Placed { what: String },
    Paid { cents: i64 },
}

impl DomainEvent for OrderEvent {
    const CATEGORY: &'static str = "order";

    fn upcasters() -> Upcasters<Self> {
        Upcasters::none()
            .retire("Printed")
            .split("PlacedAndPaid", |old: Old| vec![Self::Placed { what: old.what }, Self::Paid { cents: old.cents }])
    }
}

#[derive(Deserialize)]
struct Old {
    what: String,
    cents: i64,
}

#[derive(Debug, PartialEq)]
enum ShopEvent {
    Order(OrderEvent),
    Account(AccountEvent),
}

impl EventSet for ShopEvent {
    fn decoder() -> Decoder<Self> {
        Decoder::new().with(ShopEvent::Order).with(ShopEvent::Account)
    }
}

async fn some_orders() -> WatchedStore {
    let store = WatchedStore::new();
    noise(&store, 1).await;
    append(&store, "order", "1", vec![event("PlacedAndPaid", r#"{"what":"tea","cents":3}"#)]).await;
    append(&store, "order", "1", vec![event("Printed", "{}")]).await;
    deposits(&store, 1).await;
    append(&store, "order", "2", vec![event("Paid", r#"{"cents":4}"#)]).await;
    append(&store, "order", "2", vec![event("Printed", "{}")]).await;
    store
}

fn placed() -> OrderEvent {
    OrderEvent::Placed { what: "tea".to_owned() }
}

async fn next<E: Send + Sync + 'static>(subscription: &mut Subscription<es_core::Recorded<E>>) -> (u64, u32, E) {
    let recorded = subscription.next().await.unwrap().unwrap();
    (recorded.position().get(), recorded.ordinal(), recorded.event)
}

#[tokio::test(start_paused = true)]
async fn the_events_of_an_enum_come_as_its_values_and_a_split_one_in_its_parts() {
    let store = some_orders().await;
    let mut orders = builder(&store).subscribe_to::<OrderEvent>().await.unwrap();
    assert_eq!(next(&mut orders).await, (2, 0, placed()));
    assert_eq!(orders.position(), position(0), "only half of the event was given");
    assert_eq!(next(&mut orders).await, (2, 1, OrderEvent::Paid { cents: 3 }));
    assert_eq!(orders.position(), position(2));
    assert_eq!(next(&mut orders).await, (5, 0, OrderEvent::Paid { cents: 4 }));
    assert_nothing_comes(&mut orders).await;
    assert_eq!(orders.position(), position(6), "past the retired one");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_which_a_part_was_given_is_given_again_whole() {
    let store = some_orders().await;
    let mut orders = builder(&store).subscribe_to::<OrderEvent>().await.unwrap();
    next(&mut orders).await;
    let resumed = StartFrom::After(orders.position());
    let mut orders = builder(&store).start_from(resumed).subscribe_to::<OrderEvent>().await.unwrap();
    assert_eq!(next(&mut orders).await, (2, 0, placed()));
    assert_eq!(next(&mut orders).await, (2, 1, OrderEvent::Paid { cents: 3 }));
}

#[tokio::test(start_paused = true)]
async fn several_enums_come_in_the_order_of_the_log() {
    let store = some_orders().await;
    let mut shop = builder(&store).subscribe_to::<ShopEvent>().await.unwrap();
    let mut given = Vec::new();
    for _ in 0..4 {
        given.push(next(&mut shop).await);
    }
    let expected = [
        (2, 0, ShopEvent::Order(placed())),
        (2, 1, ShopEvent::Order(OrderEvent::Paid { cents: 3 })),
        (4, 0, ShopEvent::Account(AccountEvent::Deposited { cents: 1 })),
        (5, 0, ShopEvent::Order(OrderEvent::Paid { cents: 4 })),
    ];
    assert_eq!(given, expected);
}

#[tokio::test(start_paused = true)]
async fn a_filter_narrows_an_enum_to_a_stream_and_what_the_enum_does_not_know_is_passed_over() {
    let store = some_orders().await;
    let one = EventFilter::all().or_stream(StreamId::new("order", "2").unwrap()).or_category("weather");
    let mut orders = builder(&store).filter(one).subscribe_to::<OrderEvent>().await.unwrap();
    assert_eq!(next(&mut orders).await, (5, 0, OrderEvent::Paid { cents: 4 }));
    assert_nothing_comes(&mut orders).await;
    assert_eq!(orders.position(), store.inner.intact().head().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn any_store_will_do_also_one_whose_type_is_not_known() {
    let store: std::sync::Arc<dyn EventStore> = std::sync::Arc::new(some_orders().await);
    let mut orders = Subscription::builder(&store).subscribe_to::<OrderEvent>().await.unwrap();
    assert_eq!(next(&mut orders).await.0, 2);
}

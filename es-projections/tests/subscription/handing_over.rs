use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use es_core::{EventFilter, EventStore, EventStoreExt, Position, RecordedEvent};
use es_projections::{StartFrom, limits};
use es_testkit::{FaultPlan, SeededRng};
use futures_util::TryStreamExt;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{support::*, watched_store::WatchedStore};

const ROUNDS: u64 = 30;
const WRITERS: u64 = 3;
const SUBSCRIBERS: u64 = 4;
/// Longer than all waits for the store together.
const LONG: Duration = Duration::from_secs(120);

fn random_filter(random: &SeededRng) -> EventFilter {
    match random.below(3) {
        0 => EventFilter::all(),
        1 => accounts(),
        _ => EventFilter::all().or_category("nobody").or_category("weather"),
    }
}

/// Appends now and then, up to two events at a time.
async fn write(store: WatchedStore, random: Arc<SeededRng>) {
    for _ in 0..20 + random.below(40) {
        for _ in 0..random.below(8) {
            tokio::task::yield_now().await;
        }
        match random.below(2) {
            0 => deposits(&store, 1).await,
            _ => noise(&store, 1 + random.below(2)).await,
        };
    }
}

/// Subscribes while the writers work and takes events until none comes any more; drops calls half way. Gives the filter, between
/// which positions it must have begun, what it was given, and its position in the end.
async fn subscribe(
    store: WatchedStore,
    random: Arc<SeededRng>,
) -> (EventFilter, (Position, Position), Vec<Position>, Position) {
    for _ in 0..random.below(300) {
        tokio::task::yield_now().await;
    }
    let before = store.inner.intact().head().await.unwrap();
    let start_from = match random.below(3) {
        0 => StartFrom::Beginning,
        1 => StartFrom::After(Position::new(random.below(before.get() + 1))),
        _ => StartFrom::Now,
    };
    let filter = random_filter(&random);
    let mut subscription = loop {
        let builder = paged(&store, 1 + random.below(20) as usize).filter(filter.clone()).start_from(start_from);
        match builder.subscribe().await {
            Ok(subscription) => break subscription,
            Err(error) => println!("subscribing again: {error}"),
        }
    };
    let after = store.inner.intact().head().await.unwrap();
    let start = match start_from {
        StartFrom::Beginning => (Position::ZERO, Position::ZERO),
        StartFrom::After(position) => (position, position),
        _ => (before, after),
    };
    let mut given = Vec::new();
    loop {
        let next = async {
            match random.percent(30) {
                true => drop_after(1 + random.below(12), subscription.next()).await,
                false => Some(subscription.next().await),
            }
        };
        match timeout(LONG, next).await {
            Ok(Some(next)) => given.push(next.expect("it goes on").expect("no error").position()),
            Ok(None) => {}
            // The time of the test stands still as long as somebody works: the writers have ended.
            Err(_) => return (filter, start, given, subscription.position()),
        }
        for _ in 0..random.below(6) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn subscribers_who_come_while_others_write_miss_nothing_and_are_given_nothing_twice() {
    let random = Arc::new(SeededRng::from_env());
    for round in 0..ROUNDS {
        let plan = FaultPlan::seeded(random.next()).delays(40).lost_requests(3).lost_answers(3).busy(3);
        let store = WatchedStore::with(plan);
        store.seen.is_silent.store(random.percent(25), Ordering::SeqCst);
        deposits(&store, random.below(30)).await;
        let mut writers = JoinSet::new();
        let mut subscribers = JoinSet::new();
        for _ in 0..WRITERS {
            writers.spawn(write(store.clone(), Arc::clone(&random)));
        }
        for _ in 0..SUBSCRIBERS {
            subscribers.spawn(subscribe(store.clone(), Arc::clone(&random)));
        }
        writers.join_all().await;
        let all = EventFilter::all();
        let log: Vec<RecordedEvent> =
            store.inner.intact().all_events(Position::ZERO, &all).try_collect().await.unwrap();
        let head = log.last().unwrap().position();
        for (filter, (earliest, latest), given, reached) in subscribers.join_all().await {
            let wanted = |after: Position| -> Vec<Position> {
                let wanted = log.iter().filter(|event| filter.matches(event.stream(), event.event_type()));
                wanted.map(|event| event.position()).filter(|&position| position > after).collect()
            };
            let first = given.first().map_or(latest, |first| Position::new(first.get() - 1));
            let start = if earliest == latest { latest } else { first.min(latest) };
            assert!(start >= earliest, "round {round}: {given:?} begins before {earliest}");
            assert_eq!(given, wanted(start), "round {round}: from {start}, {filter:?}");
            assert_eq!(reached, head, "round {round}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_begins_where_it_is_told_to() {
    let store = WatchedStore::new();
    deposits(&store, 10).await;
    let mut from_the_beginning = builder(&store).subscribe().await.unwrap();
    let mut after = builder(&store).start_from(StartFrom::After(position(7))).subscribe().await.unwrap();
    let mut from_now = builder(&store).start_from(StartFrom::Now).subscribe().await.unwrap();
    assert_eq!(from_now.position(), position(10));
    deposits(&store, 2).await;
    assert_eq!(take(&mut from_the_beginning, 12).await, (1..=12).collect::<Vec<_>>());
    assert_eq!(take(&mut after, 5).await, [8, 9, 10, 11, 12]);
    assert_eq!(take(&mut from_now, 2).await, [11, 12]);
}

#[tokio::test(start_paused = true)]
async fn a_new_event_is_given_at_once_and_read_once() {
    let store = WatchedStore::new();
    deposits(&store, 3).await;
    let mut subscription = builder(&store).subscribe().await.unwrap();
    take(&mut subscription, 3).await;
    let start = Instant::now();
    assert!(poll_once(Box::pin(subscription.next()).as_mut()).await.is_pending());
    assert_eq!(store.reads(), 1, "a hint at what is known already is none");
    for number in 4..=50 {
        let before = store.reads();
        let (_, given) = tokio::join!(deposits(&store, 1), take(&mut subscription, 1));
        assert_eq!(given, [number]);
        assert!(store.reads() - before <= 1, "event {number}");
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody waited for a poll");
}

#[tokio::test(start_paused = true)]
async fn without_hints_a_new_event_is_given_with_the_next_poll() {
    let store = WatchedStore::new();
    store.seen.is_silent.store(true, Ordering::SeqCst);
    let mut subscription = builder(&store).start_from(StartFrom::Now).subscribe().await.unwrap();
    assert_nothing_comes(&mut subscription).await;
    for number in 1..=10 {
        deposits(&store, 1).await;
        let start = Instant::now();
        assert_eq!(take(&mut subscription, 1).await, [number]);
        assert!(start.elapsed() <= limits::POLL_INTERVAL, "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_subscription_asks_the_store_no_more_often_than_the_poll_interval_says() {
    let store = WatchedStore::new();
    deposits(&store, 3).await;
    let mut subscription = builder(&store).subscribe().await.unwrap();
    take(&mut subscription, 3).await;
    let before = store.reads();
    assert_nothing_comes(&mut subscription).await;
    let polls = Duration::from_secs(60).div_duration_f64(limits::POLL_INTERVAL) as usize;
    let reads = store.reads() - before;
    assert!((polls - 2..=polls + 1).contains(&reads), "{reads} reads");
}

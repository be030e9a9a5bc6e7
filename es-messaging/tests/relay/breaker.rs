//! A broker that is away, slow, or asks for patience.

use std::{sync::Arc, time::Duration};

use es_core::{MemoryStore, Position};
use es_messaging::{BreakerState, RateLimit, limits};
use tokio::time::{Instant, sleep};

use crate::{
    publisher::{Behaviour, Scripted},
    support::{arrival, builder, checkpoint, deposits, expected, request, runner},
};

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_left_alone_and_nothing_is_lost() {
    let store = MemoryStore::new();
    deposits(&store, 300).await;
    let publisher = Scripted::new(Behaviour { is_down: true, ..Behaviour::default() });
    let (runner, monitor) = runner(&store, &publisher, builder());
    let done = async {
        sleep(Duration::from_secs(3_600)).await;
        let status = monitor.status();
        assert!(matches!(status.breaker, BreakerState::Open { .. }), "{status:?}");
        assert!(
            status.since.elapsed() > Duration::from_secs(3_590) || status.since.elapsed() < Duration::from_secs(10)
        );
        assert!(status.last_error.unwrap().error.contains("it is away"));
        // A try every 8 seconds at the most, and each half that time at the least.
        assert!((400..1_000).contains(&publisher.calls()), "{} calls", publisher.calls());
        // After the first few, each is of one message.
        let calls = publisher.seen.lock().unwrap().calls.clone();
        assert!(calls.iter().skip(4).all(|(_, messages)| *messages == 1), "{calls:?}");
        assert_eq!(checkpoint(&store, "bank_out").await.get(), 0);
        publisher.set(|behaviour| behaviour.is_down = false);
        let back = Instant::now();
        arrival(&store, Position::new(300)).await;
        // The breaker's longest wait, what a page waits, and what the runner waits between two.
        assert!(back.elapsed() < Duration::from_secs(8) + limits::RELAY_RUNNER_BACKOFF * 2, "{:?}", back.elapsed());
        assert_eq!(monitor.status().breaker, BreakerState::Closed);
    };
    runner.run(done).await.unwrap();
    assert_eq!(publisher.first_by_key(), expected(&store).await);
    assert_eq!(monitor.status().published, 300);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_asks_for_patience_gets_it() {
    let store = MemoryStore::new();
    deposits(&store, 10).await;
    let throttles = Some(Duration::from_secs(60));
    let publisher = Scripted::new(Behaviour { throttles, ..Behaviour::default() });
    let (runner, _) = runner(&store, &publisher, builder());
    runner.run(sleep(Duration::from_secs(3_600))).await.unwrap();
    assert!((55..=61).contains(&publisher.calls()), "{} calls", publisher.calls());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_answers_is_given_up_for_the_time_being() {
    let store = MemoryStore::new();
    deposits(&store, 10).await;
    let publisher = Scripted::new(Behaviour { hangs: true, ..Behaviour::default() });
    let (runner, monitor) = runner(&store, &publisher, builder());
    let done = async {
        sleep(limits::PUBLISH_TIMEOUT - Duration::from_secs(1)).await;
        assert_eq!(monitor.status().in_flight, 10);
        sleep(Duration::from_secs(300)).await;
        assert!(monitor.status().last_error.unwrap().error.contains("no answer within"));
        publisher.set(|behaviour| behaviour.hangs = false);
        arrival(&store, Position::new(10)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!(publisher.first_by_key(), expected(&store).await);
    assert_eq!(monitor.status().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_too_slow_for_a_batch_gets_smaller_ones_until_it_is_quicker() {
    let store = MemoryStore::new();
    deposits(&store, 2_000).await;
    // A batch of 500 would take 50 seconds.
    let publisher = Scripted::new(Behaviour { each: Duration::from_millis(100), ..Behaviour::default() });
    let (runner, monitor) = runner(&store, &publisher, builder());
    let begun = Instant::now();
    let done = async {
        arrival(&store, Position::new(1_000)).await;
        assert!(begun.elapsed() < Duration::from_secs(180), "{:?}", begun.elapsed());
        publisher.set(|behaviour| behaviour.each = Duration::ZERO);
        arrival(&store, Position::new(2_000)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!(publisher.first_by_key(), expected(&store).await);
    let again = publisher.again().len();
    assert!(again <= 300, "{again} were published again");
    let largest = publisher.seen.lock().unwrap().calls.iter().rev().take(3).map(|(_, messages)| *messages).max();
    assert!(largest > Some(125), "{largest:?}");
    assert_eq!(monitor.status().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn no_more_messages_go_than_the_rate_limit_allows() {
    let store = MemoryStore::new();
    deposits(&store, 1_000).await;
    let publisher = Scripted::confirming();
    let (runner, monitor) = runner(&store, &publisher, builder().rate_limit(RateLimit::per_second(10).burst(20)));
    let begun = Instant::now();
    let done = async {
        arrival(&store, Position::new(1_000)).await;
    };
    runner.run(done).await.unwrap();
    let took = begun.elapsed().as_secs_f64();
    assert!((97.0..101.0).contains(&took), "{took}");
    assert_eq!((monitor.status().unconfirmed, publisher.kept().len()), (0, 1_000));
    let calls = publisher.seen.lock().unwrap().calls.clone();
    for (at, _) in &calls {
        let second = calls.iter().filter(|(other, _)| *other >= *at && *other < *at + Duration::from_secs(1));
        assert!(second.map(|(_, messages)| messages).sum::<usize>() <= 31);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_a_shutdown_do_not_wait_for_a_broker_that_is_away() {
    let store = MemoryStore::new();
    deposits(&store, 10).await;
    let publisher = Scripted::new(Behaviour { is_down: true, ..Behaviour::default() });
    let (runner, _) = runner(&store, &publisher, builder());
    let other = runner.clone();
    let stop = Arc::new(tokio::sync::Notify::new());
    let stopped = Arc::clone(&stop);
    let task = tokio::spawn(async move { other.run(stopped.notified()).await });
    sleep(Duration::from_secs(100)).await;
    runner.pause("bank_out", &request()).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let calls = publisher.calls();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(publisher.calls(), calls);
    runner.resume("bank_out", &request()).await.unwrap();
    sleep(Duration::from_secs(100)).await;
    assert!(publisher.calls() > calls);
    let asked = Instant::now();
    stop.notify_one();
    task.await.unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(3));
}

//! Several runners share the work. The store's clock is the machine's, so these tests run in real time, with short leases.

use std::{sync::atomic::Ordering, time::Duration};

use es_core::{HandlerError, LeaseStore, Reactor, Recorded};
use es_projections::{ConsumerState, Runner, RunnerError, limits};
use es_testkit::bank::AccountEvent;

use crate::{spy_store::SpyStore, support::*};

const LEASE: Duration = Duration::from_millis(400);

/// A mailer by another name.
struct Named(String, Mailer);

impl Reactor for Named {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        &self.0
    }

    async fn react(&self, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.1.react(event).await
    }
}

fn runner_of(store: &SpyStore, mailers: &[Mailer]) -> Runner {
    let builder = Runner::builder(store).lease_time(LEASE);
    let named = mailers.iter().enumerate().map(|(n, mailer)| Named(format!("mailer_{n}"), mailer.clone()));
    named.fold(builder, |builder, mailer| builder.reactor(mailer)).build().unwrap()
}

/// How many consumers a runner works for at the moment.
async fn share(runner: &Runner) -> usize {
    let status = runner.status().await.unwrap();
    let works = |state: &ConsumerState| matches!(state, ConsumerState::CaughtUp | ConsumerState::CatchingUp);
    status.iter().filter(|status| works(&status.state)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_share_the_consumers_evenly_as_they_come_and_go_and_each_event_is_reacted_to_once() {
    let (store, mailers) = (SpyStore::default(), [(); 6].map(|()| Mailer::new()));
    let runners = [(); 3].map(|()| runner_of(&store, &mailers));
    let first = Running::start(&runners[0]);
    until("one runner does it all", async || share(&runners[0]).await == 6).await;
    deposits(&store, 10).await;
    let (second, third) = (Running::start(&runners[1]), Running::start(&runners[2]));
    until("three runners share", async || {
        [share(&runners[0]).await, share(&runners[1]).await, share(&runners[2]).await] == [2, 2, 2]
    })
    .await;
    deposits(&store, 10).await;
    for n in 0..6 {
        runners[0].wait_for(&format!("mailer_{n}"), position(20), STALL).await.unwrap();
    }
    first.stop().await.unwrap();
    until("two runners share", async || [share(&runners[1]).await, share(&runners[2]).await] == [3, 3]).await;
    deposits(&store, 10).await;
    for n in 0..6 {
        runners[1].wait_for(&format!("mailer_{n}"), position(30), STALL).await.unwrap();
    }
    second.stop().await.unwrap();
    third.stop().await.unwrap();
    for mailer in &mailers {
        assert_eq!(mailer.sent(), (1..=30).collect::<Vec<_>>());
    }
    assert_eq!(store.leases().await.unwrap(), [], "whoever stops gives everything back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reactor_whose_lease_may_have_run_out_stops_in_the_middle_of_its_page() {
    let store = SpyStore::default();
    deposits(&store, 10).await;
    let mailer = Mailer::with(Trouble::gate_before(4));
    let asleep = Runner::builder(&store).lease_time(LEASE).reactor(mailer.clone()).build().unwrap();
    let running = Running::start(&asleep);
    until("it is at the fourth event", async || mailer.trouble.tries() == 1).await;
    // It is not heard of for longer than its lease.
    store.seen.is_mute.store(true, Ordering::SeqCst);
    tokio::time::sleep(LEASE + LEASE / 2).await;
    let other = Mailer { sent: mailer.sent.clone(), ..Mailer::new() };
    let successor = Runner::builder(&store).lease_time(LEASE).reactor(other).build().unwrap();
    successor.catch_up().await.unwrap();
    assert_eq!(mailer.sent(), [1, 2, 3].into_iter().chain(1..=10).collect::<Vec<_>>(), "its last events are repeated");
    mailer.trouble.open();
    store.seen.is_mute.store(false, Ordering::SeqCst);
    asleep.wait_for("mailer", position(10), STALL).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(mailer.sent().len(), 14, "only the event at which it slept: {:?}", mailer.sent());
    assert_eq!(mailer.sent().last(), Some(&4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catch_up_waits_for_the_process_that_has_the_lease_and_says_whom_it_waits_for() {
    let store = SpyStore::default();
    deposits(&store, 10).await;
    let (trouble, mailer) = (Trouble::gate_before(5), Mailer::new());
    let works = Runner::builder(&store).lease_time(LEASE).reactor(Mailer::with(trouble.clone())).build().unwrap();
    let running = Running::start(&works);
    until("it is at the fifth event", async || trouble.tries() == 1).await;
    let waits = Runner::builder(&store).lease_time(LEASE).reactor(mailer.clone()).build().unwrap();
    let waiting = tokio::spawn({
        let waits = waits.clone();
        async move { waits.catch_up().await }
    });
    until("it says whom it waits for", async || {
        let state = status_of(&waits, "mailer").await.state;
        let text = state.to_string();
        matches!(state, ConsumerState::WaitingForLease { .. }) && text.contains("waiting for the lease that")
    })
    .await;
    trouble.open();
    waiting.await.unwrap().unwrap();
    assert_eq!(mailer.sent(), Vec::<u64>::new(), "the other one did it");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_stopped_in_one_process_is_left_to_another() {
    let store = SpyStore::default();
    let (broken, whole) = (Mailer::with(Trouble::at(3, How::Error)), Mailer::new());
    let of = |mailer: &Mailer| {
        let options = es_projections::ConsumerOptions::default().on_failure(es_projections::FailurePolicy::Stop);
        Runner::builder(&store).lease_time(LEASE).reactor_with(mailer.clone(), options).build().unwrap()
    };
    let (first, second) = (of(&broken), of(&whole));
    let running = Running::start(&first);
    until("it runs", async || share(&first).await == 1).await;
    deposits(&store, 5).await;
    assert!(matches!(running.ended().await, Err(RunnerError::Consumer { .. })));
    let running = Running::start(&second);
    second.wait_for("mailer", position(5), STALL).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!((broken.sent(), whole.sent()), (vec![1, 2], vec![3, 4, 5]));
}

#[test]
fn a_lease_has_bounds() {
    for time in [Duration::ZERO, limits::MAX_LEASE_TIME + Duration::from_millis(1)] {
        let error = Runner::builder(&SpyStore::default()).lease_time(time).build().unwrap_err();
        assert!(matches!(error, RunnerError::LeaseTime { .. }), "{error:?}");
        assert!(error.to_string().contains("ask for"), "{error}");
    }
}

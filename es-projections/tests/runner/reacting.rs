use std::{
    io,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use es_core::{HandlerError, Reactor, Recorded};
use es_projections::{Runner, RunnerError, limits};
use es_testkit::bank::AccountEvent;

use crate::{spy_store::SpyStore, support::*};

#[tokio::test(start_paused = true)]
async fn a_reactor_is_given_each_event_in_order_and_a_failing_one_again_but_none_before_it() {
    let store = SpyStore::default();
    deposits(&store, 20).await;
    let mailer = Mailer::with(Trouble::at(13, How::Error));
    let runner = Runner::builder(&store).reactor_with(mailer.clone(), retries(4)).build().unwrap();
    let error = runner.catch_up().await.unwrap_err();
    assert!(matches!(error, RunnerError::Consumer { event: Some(event), attempts: 5, .. } if event == position(13)));
    assert_eq!(mailer.sent(), (1..=12).collect::<Vec<_>>());
    assert_eq!(checkpoint(&store, "mailer").await, Some(12));
    assert_eq!(mailer.trouble.tries(), 5);
    mailer.trouble.mend();
    runner.catch_up().await.unwrap();
    assert_eq!(mailer.sent(), (1..=20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_reactor_that_panics_fails_like_any_other() {
    let store = SpyStore::default();
    deposits(&store, 20).await;
    let mailer = Mailer::with(Trouble::at(7, How::Panic));
    let runner = Runner::builder(&store).reactor_with(mailer.clone(), retries(1)).build().unwrap();
    let error = runner.catch_up().await.unwrap_err();
    assert!(matches!(error, RunnerError::Consumer { event: Some(event), attempts: 2, .. } if event == position(7)));
    assert_eq!(checkpoint(&store, "mailer").await, Some(6));
}

#[tokio::test(start_paused = true)]
async fn each_event_has_its_own_attempts() {
    let store = SpyStore::default();
    deposits(&store, 20).await;
    let mailer = Mailer::with(Trouble::stumble(3));
    let ledger = Ledger::with(Trouble::stumble(3));
    let runner = Runner::builder(&store).reactor_with(mailer.clone(), retries(3)).projection_with(ledger, retries(3));
    runner.build().unwrap().catch_up().await.unwrap();
    assert_eq!(mailer.sent(), (1..=20).collect::<Vec<_>>());
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=20));
}

#[tokio::test(start_paused = true)]
async fn after_a_hard_stop_a_reactor_is_given_again_only_what_came_after_its_checkpoint() {
    let store = SpyStore::default();
    let step = limits::REACTIONS_PER_CHECKPOINT as u64;
    deposits(&store, 3 * step).await;
    let mailer = Mailer::with(Trouble::gate_before(2 * step + 11));
    let runner = Runner::builder(&store).reactor(mailer.clone()).build().unwrap();
    let catching_up = tokio::time::timeout(Duration::from_millis(1), runner.catch_up());
    catching_up.await.unwrap_err();
    assert_eq!(mailer.sent(), (1..=2 * step + 10).collect::<Vec<_>>());
    assert_eq!(checkpoint(&store, "mailer").await, Some(2 * step));

    mailer.trouble.open();
    runner.catch_up().await.unwrap();
    let again = (2 * step + 1..=2 * step + 10).chain(2 * step + 1..=3 * step);
    assert_eq!(mailer.sent(), (1..=2 * step).chain(again).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reactor_saves_its_checkpoint_about_every_second() {
    let store = SpyStore::default();
    deposits(&store, 50).await;
    let mailer = Mailer { time_per_mail: Duration::from_millis(300), ..Mailer::new() };
    let runner = Runner::builder(&store).reactor(mailer.clone()).build().unwrap();
    let catching_up = tokio::time::timeout(Duration::from_secs(10), runner.catch_up());
    catching_up.await.unwrap_err();
    let (sent, saved) = (mailer.sent().len() as u64, checkpoint(&store, "mailer").await.unwrap());
    assert!(sent == 33 && sent - saved <= 4, "{sent} sent, {saved} saved");
}

#[tokio::test(start_paused = true)]
async fn a_reactor_waits_until_its_events_survive_a_crash_and_read_models_do_not() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    deposits(&store, 10).await;
    store.seen.durable_to.store(4, Ordering::SeqCst);
    let runner = Runner::builder(&store).projection(Ledger::new()).reactor_with(mailer.clone(), pages_of(4)).build();
    let runner = runner.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(*store.seen.waited_durable.lock().unwrap(), [8, 10]);
    assert_eq!(mailer.sent().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_reactor_has_nothing_to_rebuild() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    deposits(&store, 3).await;
    let runner = Runner::builder(&store).reactor(mailer.clone()).build().unwrap();
    runner.catch_up().await.unwrap();
    let error = runner.rebuild("mailer", |_| {}).await.unwrap_err();
    assert!(matches!(error, RunnerError::NoReadModel { .. }), "{error:?}");
    assert_eq!(checkpoint(&store, "mailer").await, Some(3));
    assert_eq!(mailer.sent(), [1, 2, 3]);
}

/// Sends pages of mails; what is in its way fails once.
struct Mailbag {
    bags: Arc<Mutex<Vec<Vec<u64>>>>,
    failing: Arc<Mutex<Vec<u64>>>,
}

impl Reactor for Mailbag {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "mailbag"
    }

    fn page_size(&self) -> usize {
        4
    }

    async fn react(&self, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.react_page(std::slice::from_ref(event)).await
    }

    async fn react_page(&self, events: &[Recorded<AccountEvent>]) -> Result<(), HandlerError> {
        let positions: Vec<u64> = events.iter().map(|event| event.position().get()).collect();
        let mut failing = self.failing.lock().unwrap();
        let failed = failing.iter().position(|at| positions.contains(at)).map(|index| failing.remove(index));
        let done = positions.into_iter().take_while(|&at| failed != Some(at)).collect();
        self.bags.lock().unwrap().push(done);
        failed.map_or(Ok(()), |at| Err(HandlerError::at(position(at), io::Error::other("lost in the mail"))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_reactor_of_pages_is_given_again_what_follows_the_first_event_that_it_did_not_manage() {
    let store = SpyStore::default();
    deposits(&store, 10).await;
    let mailbag = Mailbag { bags: Arc::default(), failing: Arc::new(Mutex::new(vec![7])) };
    let bags = Arc::clone(&mailbag.bags);
    let runner = Runner::builder(&store).reactor_with(mailbag, retries(0)).build().unwrap();
    let error = runner.catch_up().await.unwrap_err();
    assert!(matches!(error, RunnerError::Consumer { event: Some(event), .. } if event == position(7)), "{error:?}");
    assert_eq!(checkpoint(&store, "mailbag").await, Some(6));
    runner.catch_up().await.unwrap();
    // After a failure pages are small for a while.
    assert_eq!(*bags.lock().unwrap(), [vec![1, 2, 3, 4], vec![5, 6], vec![7], vec![8], vec![9, 10]]);
    assert_eq!(checkpoint(&store, "mailbag").await, Some(10));
}

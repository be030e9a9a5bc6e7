use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use es_core::{
    ConsumerStoreExt, DocumentAction, EventKey, HandlerError, InvalidName, MemoryTables, OperatorRequest, ParkedEdit,
    ParkedTotals, ParkingStore, Payload, Projection, Reactor, Recorded, TableNames, View,
};
use es_projections::{
    Backoff, ConsumerOptions, ConsumerState, FailurePolicy, RebuildOptions, Retried, Runner, RunnerError, Verification,
};
use es_testkit::bank::AccountEvent;
use serde::{Deserialize, Serialize};

use crate::{spy_store::SpyStore, support::*};

/// Positions at which handlers fail, until they are mended.
#[derive(Debug, Clone, Default)]
struct Bad(Arc<Mutex<HashMap<u64, How>>>);

impl Bad {
    fn at(positions: impl IntoIterator<Item = u64>) -> Self {
        let bad = Self::default();
        bad.0.lock().unwrap().extend(positions.into_iter().map(|position| (position, How::Error)));
        bad
    }

    fn mend(&self) {
        self.0.lock().unwrap().clear();
    }

    fn meet(&self, position: u64) -> Result<(), HandlerError> {
        let how = self.0.lock().unwrap().get(&position).copied();
        match how {
            None => Ok(()),
            Some(How::Panic) => panic!("lost my head at {position}"),
            Some(How::Transient) => Err(HandlerError::transient(std::io::Error::other("not now"))),
            Some(_) => Err(std::io::Error::other("no room").into()),
        }
    }
}

/// Notes the positions of each account's events in the order in which they take effect, and the cents.
#[derive(Debug, Clone)]
struct Notes {
    bad: Bad,
    table: String,
    /// One key for accounts that begin with the same letter, instead of one for each stream.
    by_letter: bool,
}

impl Notes {
    fn new(bad: &Bad) -> Self {
        Self { bad: bad.clone(), table: "notes".to_owned(), by_letter: false }
    }
}

impl Projection for Notes {
    type Connection = MemoryTables;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "notes"
    }

    fn partition_key<'a>(&'a self, event: &'a Recorded<AccountEvent>) -> Cow<'a, str> {
        match self.by_letter {
            true => event.stream().id()[..1].into(),
            false => event.stream().as_str().into(),
        }
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(Some(Self { table: names.table("notes")?, ..self.clone() }))
    }

    async fn apply(&self, tables: &mut MemoryTables, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let AccountEvent::Deposited { cents } = event.event else { return Ok(()) };
        let noted = tables.table(&self.table).entry(event.stream().id().to_owned()).or_insert_with(|| "".into());
        *noted = format!("{} {}:{cents}", noted.as_str().unwrap(), event.position()).trim().into();
        // After it has written, so that an undone page shows.
        self.bad.meet(event.position().get())
    }

    async fn clear(&self, tables: &mut MemoryTables) -> Result<(), HandlerError> {
        tables.table(&self.table).clear();
        Ok(())
    }
}

impl Reactor for Notes {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "caller"
    }

    async fn react(&self, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.bad.meet(event.position().get())
    }
}

async fn notes(store: &SpyStore) -> BTreeMap<String, String> {
    let mut tables = store.inner.tables().await;
    tables.table("notes").iter().map(|(account, noted)| (account.clone(), noted.as_str().unwrap().to_owned())).collect()
}

/// What must be noted of deposits of one cent by `deposits`, without some accounts.
fn all_noted(events: u64, is_wanted: impl Fn(&str, u64) -> bool) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for position in 1..=events {
        let account = format!("a{}", (position - 1) % 7);
        if is_wanted(&account, position) {
            let noted = all.entry(account).or_default();
            *noted = format!("{noted} {position}:1").trim().to_owned();
        }
    }
    all
}

fn parks(retries: u32) -> ConsumerOptions {
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(40));
    ConsumerOptions::default().on_failure(FailurePolicy::park_after(retries).with_backoff(backoff))
}

fn account(id: &str) -> EventKey {
    EventKey::Stream(format!("account/{id}").parse().unwrap())
}

fn document(key: &str) -> EventKey {
    EventKey::document(key).unwrap()
}

fn ann() -> OperatorRequest {
    OperatorRequest::by("ann").unwrap().because("fixed").unwrap()
}

async fn parked(store: &SpyStore, consumer: &str, key: &EventKey) -> Vec<u64> {
    let events = store.inner.parked_events(&name(consumer), key, position(0), 1_000).await.unwrap();
    events.iter().map(|event| event.position.get()).collect()
}

async fn retry(runner: &Runner, consumer: &str, key: &EventKey) -> Retried {
    runner.retry_parked(consumer, key, &ann(), Duration::from_secs(60)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failing_key_is_parked_and_all_others_complete_whatever_the_kind_of_failure() {
    for how in [How::Error, How::UnnamedError, How::Panic] {
        for page in [1, 7, 64, 1_000] {
            let (store, bad) = (SpyStore::default(), Bad::default());
            bad.0.lock().unwrap().insert(10, how);
            deposits(&store, 200).await;
            let options = parks(2).page_size(es_core::PageSize::new(page).unwrap());
            let runner = Runner::builder(&store).projection_with(Notes::new(&bad), options).build().unwrap();
            runner.catch_up().await.unwrap();
            assert_eq!(notes(&store).await, all_noted(200, |id, at| id != "a2" || at < 10), "{how:?} {page}");
            let waiting: Vec<u64> = (10..=200).step_by(7).collect();
            assert_eq!(parked(&store, "notes", &account("a2")).await, waiting);
            let status = status_of(&runner, "notes").await;
            assert_eq!(status.parked, ParkedTotals { keys: 1, events: waiting.len() as u64 });
            assert!(status.to_string().contains("; 1 parked key(s) with 28 event(s)"), "{status}");
            let queue = runner.parked("notes", None, 10).await.unwrap().remove(0);
            assert_eq!((queue.key, queue.attempts), (account("a2"), 3));
            assert!(queue.first_error.starts_with("notes failed on the event at position"), "{}", queue.first_error);

            let still = retry(&runner, "notes", &account("a2")).await;
            let Retried::StillParked(queue) = still else { panic!("{still:?}") };
            assert_eq!((queue.attempts, queue.events, queue.retry), (4, 28, None));
            bad.mend();
            assert_eq!(retry(&runner, "notes", &account("a2")).await, Retried::Freed);
            assert_eq!(retry(&runner, "notes", &account("a2")).await, Retried::NotParked);
            deposits(&store, 7).await;
            runner.catch_up().await.unwrap();
            let mut all = all_noted(200, |_, _| true);
            for (n, noted) in all.values_mut().enumerate() {
                *noted = format!("{noted} {}:1", 201 + n);
            }
            assert_eq!(notes(&store).await, all, "{how:?} {page}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_stops_at_the_first_event_that_fails_and_keeps_the_order() {
    let (store, bad) = (SpyStore::default(), Bad::at([3, 17]));
    deposits(&store, 30).await;
    let runner = Runner::builder(&store).projection_with(Notes::new(&bad), parks(0)).build().unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(parked(&store, "notes", &account("a2")).await, [3, 10, 17, 24]);
    bad.0.lock().unwrap().remove(&3);
    let still = retry(&runner, "notes", &account("a2")).await;
    assert!(matches!(&still, Retried::StillParked(queue) if queue.last_error.contains("position 17")), "{still:?}");
    assert_eq!(notes(&store).await["a2"], "3:1 10:1");
    deposits(&store, 30).await;
    runner.catch_up().await.unwrap();
    assert_eq!(parked(&store, "notes", &account("a2")).await, [17, 24, 33, 40, 47, 54]);
    bad.mend();
    assert_eq!(retry(&runner, "notes", &account("a2")).await, Retried::Freed);
    assert_eq!(notes(&store).await["a2"], "3:1 10:1 17:1 24:1 33:1 40:1 47:1 54:1");
}

#[tokio::test(start_paused = true)]
async fn an_edited_event_takes_effect_with_its_new_content_and_a_discarded_one_not_at_all() {
    let (store, bad) = (SpyStore::default(), Bad::default());
    deposits(&store, 1).await;
    let unreadable = unreadable(&store).await;
    deposits(&store, 8).await;
    let runner = Runner::builder(&store).projection_with(Notes::new(&bad), parks(1)).build().unwrap();
    runner.catch_up().await.unwrap();
    // An event that cannot be read has no key but its stream.
    assert_eq!(parked(&store, "notes", &account("a0")).await, [2, 3, 10]);
    let edit = |json: &str| ParkedEdit::new(unreadable, Payload::from_json(json).unwrap());
    let time = Duration::from_secs(60);
    let nobody = OperatorRequest::by("ann").unwrap();
    assert!(runner.edit_parked("notes", &account("a0"), &edit(r#"{"cents":5}"#), &nobody, time).await.is_err());
    let still = runner.edit_parked("notes", &account("a0"), &edit(r#"{"cents":"few"}"#), &ann(), time).await.unwrap();
    assert!(matches!(still, Retried::StillParked(_)), "{still:?}");
    let freed = runner.edit_parked("notes", &account("a0"), &edit(r#"{"cents":5}"#), &ann(), time).await.unwrap();
    assert_eq!(freed, Retried::Freed);
    assert_eq!(notes(&store).await["a0"], "1:1 2:5 3:1 10:1");

    bad.0.lock().unwrap().insert(11, How::Error);
    deposits(&store, 8).await;
    runner.catch_up().await.unwrap();
    assert_eq!(parked(&store, "notes", &account("a0")).await, [11, 18]);
    assert_eq!(runner.discard_parked("notes", &account("a0"), Some(position(11)), &ann()).await.unwrap(), 1);
    assert_eq!(retry(&runner, "notes", &account("a0")).await, Retried::Freed);
    assert_eq!(notes(&store).await["a0"], "1:1 2:5 3:1 10:1 18:1");
    let history = store.inner.parking_history(&name("notes"), 0, 10).await.unwrap();
    let said: Vec<_> = history.iter().map(|record| (record.action.as_str(), record.by.as_str())).collect();
    assert_eq!(said, ["edit", "retry", "edit", "retry", "discard", "retry"].map(|action| (action, "ann")));
}

#[tokio::test(start_paused = true)]
async fn past_the_limit_of_parked_keys_a_consumer_stops_and_says_so() {
    let (store, bad) = (SpyStore::default(), Bad::at([1, 2, 3]));
    deposits(&store, 20).await;
    let policy = FailurePolicy::park_after(0).with_limit(2);
    let options = ConsumerOptions::default().on_failure(policy);
    let runner = Runner::builder(&store).projection_with(Notes::new(&bad), options).build().unwrap();
    let error = runner.run(std::future::pending()).await.unwrap_err();
    assert!(matches!(&error, RunnerError::ParkedLimit { event, limit: 2, .. } if event.get() == 3), "{error}");
    let status = status_of(&runner, "notes").await;
    assert!(matches!(status.state, ConsumerState::ParkedLimit { .. }));
    assert!(status.to_string().contains("stopped at the limit of parked keys"), "{status}");
    assert!(status.to_string().ends_with("no room; 2 parked key(s) with 2 event(s)"), "{status}");
    assert_eq!(checkpoint(&store, "notes").await, Some(2));
    assert_eq!(runner.discard_parked("notes", &account("a0"), None, &ann()).await.unwrap(), 1);
    runner.catch_up().await.unwrap();
    assert_eq!(notes(&store).await, all_noted(20, |id, at| at > 1 && id != "a1" && id != "a2"));

    let too_many = ConsumerOptions::default().on_failure(FailurePolicy::park_after(0).with_limit(10_001));
    let refused = Runner::builder(&store).projection_with(Notes::new(&bad), too_many).build().unwrap_err();
    assert!(matches!(refused, RunnerError::TooManyParkedKeys { asked: 10_001, limit: 10_000, .. }));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_or_another_service_cannot_do_at_the_moment_parks_nothing() {
    let (store, bad) = (SpyStore::default(), Bad::default());
    deposits(&store, 20).await;
    bad.0.lock().unwrap().insert(5, How::Transient);
    let runner = Runner::builder(&store)
        .projection_with(Notes::new(&bad), parks(1))
        .reactor_with(Notes::new(&bad), parks(1))
        .build()
        .unwrap();
    assert!(runner.catch_up().await.is_err());
    let running = Running::start(&runner);
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.seen.is_down.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.seen.is_down.store(false, Ordering::SeqCst);
    assert_eq!(store.inner.parked_totals().await.unwrap(), []);
    bad.mend();
    for consumer in ["notes", "caller"] {
        runner.wait_for(consumer, position(20), Duration::from_secs(90)).await.unwrap();
    }
    running.stop().await.unwrap();
    assert_eq!(notes(&store).await, all_noted(20, |_, _| true));
}

#[tokio::test(start_paused = true)]
async fn a_running_consumer_does_what_somebody_elsewhere_asks_for_and_goes_on_meanwhile() {
    let (store, bad) = (SpyStore::default(), Bad::at([3]));
    deposits(&store, 10).await;
    let runner = Runner::builder(&store)
        .projection_with(Notes::new(&bad), parks(1))
        .reactor_with(Notes::new(&bad), parks(1))
        .build()
        .unwrap();
    let running = Running::start(&runner);
    for consumer in ["notes", "caller"] {
        runner.wait_for(consumer, position(10), Duration::from_secs(9)).await.unwrap();
        assert_eq!(parked(&store, consumer, &account("a2")).await, [3, 10]);
    }
    bad.mend();
    let elsewhere = Runner::builder(&store).build().unwrap();
    for consumer in ["notes", "caller"] {
        let start = tokio::time::Instant::now();
        assert_eq!(retry(&elsewhere, consumer, &account("a2")).await, Retried::Freed);
        assert!(start.elapsed() <= Duration::from_millis(1_700), "{:?}", start.elapsed());
    }
    deposits(&store, 10).await;
    runner.wait_for("notes", position(20), Duration::from_secs(9)).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(notes(&store).await["a2"], "3:1 10:1 13:1 20:1");
    let nobody = elsewhere.retry_parked("notes", &account("a2"), &ann(), Duration::from_secs(1)).await.unwrap();
    assert_eq!(nobody, Retried::NotParked);

    bad.0.lock().unwrap().insert(21, How::Error);
    deposits(&store, 1).await;
    runner.catch_up().await.unwrap();
    let nobody = elsewhere.retry_parked("notes", &account("a0"), &ann(), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(nobody, RunnerError::RetryTimeout { .. }), "{nobody}");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_without_parked_events_asks_for_none() {
    let (store, bad) = (SpyStore::default(), Bad::at([30]));
    deposits(&store, 20).await;
    let runner = Runner::builder(&store).projection_with(Notes::new(&bad), parks(1)).build().unwrap();
    let running = Running::start(&runner);
    for last in 21..=29 {
        deposits(&store, 1).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        runner.wait_for("notes", position(last), Duration::from_secs(9)).await.unwrap();
    }
    let asked = || (store.count(|seen| &seen.parked_lookups), store.count(|seen| &seen.request_lookups));
    assert_eq!(asked(), (0, 0));
    // From the first parked event on, at most once a second and once a page.
    deposits(&store, 2).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (looked, retries) = asked();
    assert!(looked <= 8 && (9..=12).contains(&retries), "{looked}, {retries}");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_tries_parked_events_again_in_place_and_beside() {
    let (store, bad) = (SpyStore::default(), Bad::at([3]));
    deposits(&store, 20).await;
    let runner = Runner::builder(&store).projection_with(Notes::new(&bad), parks(0)).build().unwrap();
    runner.catch_up().await.unwrap();
    // The code is as it was: the event is parked again, once.
    runner.rebuild("notes", |_| {}).await.unwrap();
    assert_eq!(parked(&store, "notes", &account("a2")).await, [3, 10, 17]);
    assert_eq!(notes(&store).await, all_noted(20, |id, _| id != "a2"));

    let options = || RebuildOptions::by("ann").verify(Verification::Skip);
    runner.rebuild_beside("notes", options(), |_| {}).await.unwrap();
    let all = store.inner.parked_totals().await.unwrap();
    let all: Vec<_> = all.iter().map(|(name, totals)| (name.as_str(), totals.keys, totals.events)).collect();
    assert_eq!(all, [("notes", 1, 3), ("notes@2", 1, 3)]);
    assert_eq!(status_of(&runner, "notes").await.parked.events, 3);

    bad.mend();
    runner.rebuild_beside("notes", options(), |_| {}).await.unwrap();
    assert_eq!(status_of(&runner, "notes").await.parked.events, 0);
    assert_eq!(notes(&store).await, all_noted(20, |_, _| true));
    runner.drop_retired("notes").await.unwrap();
    assert_eq!(store.inner.parked_totals().await.unwrap(), []);
    bad.0.lock().unwrap().insert(4, How::Error);
    runner.rebuild("notes", |_| {}).await.unwrap();
    bad.mend();
    runner.rebuild("notes", |_| {}).await.unwrap();
    assert_eq!(store.inner.parked_totals().await.unwrap(), []);
    assert_eq!(notes(&store).await, all_noted(20, |_, _| true));
}

/// What each party to a payment has got: two documents for each event. `MENDED` is the next release of it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Party<const MENDED: bool> {
    seen: Vec<u64>,
}

impl<const MENDED: bool> View for Party<MENDED> {
    const NAME: &'static str = "party";
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned(), "all".to_owned()]
    }

    fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
        let AccountEvent::Deposited { cents } = event.event else { return DocumentAction::Keep };
        assert!(MENDED || cents != 666 || self.seen.len() > 2, "the beast");
        self.seen.push(event.position().get());
        DocumentAction::Keep
    }
}

async fn parties(store: &SpyStore) -> BTreeMap<String, Vec<u64>> {
    let all = store.view::<Party<true>>().list(None, 100).await.unwrap();
    all.into_iter().map(|(key, party)| (key, party.seen)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_view_is_put_aside_for_the_document_that_fails_alone() {
    let store = SpyStore::default();
    for (account, cents) in [("ann", 1), ("bob", 1), ("bob", 2), ("ann", 666), ("ann", 1), ("bob", 1), ("eve", 1)] {
        deposit(&store, account, cents).await;
    }
    let broken = Runner::builder(&store).view_with::<Party<false>>(parks(1)).build().unwrap();
    broken.catch_up().await.unwrap();
    let sees = |seen: &[(&str, &[u64])]| -> BTreeMap<String, Vec<u64>> {
        seen.iter().map(|(key, seen)| ((*key).to_owned(), seen.to_vec())).collect()
    };
    let all: &[u64] = &[1, 2, 3, 4, 5, 6, 7];
    assert_eq!(parties(&store).await, sees(&[("all", all), ("ann", &[1]), ("bob", &[2, 3, 6]), ("eve", &[7])]));
    assert_eq!(parked(&store, "party", &document("ann")).await, [4, 5]);
    assert!(matches!(retry(&broken, "party", &document("ann")).await, Retried::StillParked(_)));

    // One that cannot be read is parked with its whole stream, for all documents.
    let unreadable = unreadable(&store).await;
    deposit(&store, "a0", 1).await;
    deposit(&store, "bob", 1).await;
    broken.catch_up().await.unwrap();
    assert_eq!(parked(&store, "party", &account("a0")).await, [8, 9]);
    let mended = Runner::builder(&store).view_with::<Party<true>>(parks(1)).build().unwrap();
    assert_eq!(retry(&mended, "party", &document("ann")).await, Retried::Freed);
    let edit = ParkedEdit::new(unreadable, Payload::from_json(r#"{"cents":1}"#).unwrap());
    let freed = mended.edit_parked("party", &account("a0"), &edit, &ann(), Duration::from_secs(9)).await.unwrap();
    assert_eq!(freed, Retried::Freed);
    let all: &[u64] = &[1, 2, 3, 4, 5, 6, 7, 10, 8, 9];
    let own: [(&str, &[u64]); 4] = [("a0", &[8, 9]), ("ann", &[1, 4, 5]), ("bob", &[2, 3, 6, 10]), ("eve", &[7])];
    assert_eq!(parties(&store).await, sees(&[own[0], ("all", all), own[1], own[2], own[3]]));
}

#[tokio::test(start_paused = true)]
async fn an_event_freed_from_its_stream_waits_on_behind_a_parked_key_of_its_own() {
    let (store, bad) = (SpyStore::default(), Bad::at([2]));
    let unreadable = unreadable(&store).await;
    for account in ["anton", "a0", "a0", "bob"] {
        deposit(&store, account, 1).await;
    }
    let by_letter = Notes { by_letter: true, ..Notes::new(&bad) };
    let runner = Runner::builder(&store).projection_with(by_letter, parks(0)).build().unwrap();
    runner.catch_up().await.unwrap();
    let letter = EventKey::partition("a").unwrap();
    assert_eq!(parked(&store, "notes", &account("a0")).await, [1, 3, 4]);
    assert_eq!(parked(&store, "notes", &letter).await, [2]);
    let edit = ParkedEdit::new(unreadable, Payload::from_json(r#"{"cents":1}"#).unwrap());
    let freed = runner.edit_parked("notes", &account("a0"), &edit, &ann(), Duration::from_secs(9)).await.unwrap();
    assert_eq!(freed, Retried::Freed);
    assert_eq!(parked(&store, "notes", &letter).await, [1, 2, 3, 4]);
    assert_eq!(notes(&store).await.into_keys().collect::<Vec<_>>(), ["bob"]);
}

#[tokio::test(start_paused = true)]
async fn however_a_retry_is_cut_off_each_event_takes_effect_once_and_in_order() {
    for polls in 0..60 {
        let (store, bad) = (SpyStore::default(), Bad::at([3]));
        deposits(&store, 40).await;
        let runner = Runner::builder(&store).projection_with(Notes::new(&bad), parks(0)).build().unwrap();
        runner.catch_up().await.unwrap();
        bad.mend();
        drop_after(polls, retry(&runner, "notes", &account("a2"))).await;
        let noted = notes(&store).await.get("a2").map_or(0, |noted| noted.split(' ').count());
        assert_eq!(parked(&store, "notes", &account("a2")).await.len() + noted, 6, "after {polls} polls");
        deposits(&store, 7).await;
        runner.catch_up().await.unwrap();
        retry(&runner, "notes", &account("a2")).await;
        assert_eq!(notes(&store).await["a2"], "3:1 10:1 17:1 24:1 31:1 38:1 43:1", "after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn two_runners_that_park_and_retry_at_once_apply_each_event_once_and_in_order() {
    let (store, bad) = (SpyStore::default(), Bad::at([3, 19, 40]));
    deposits(&store, 60).await;
    let runner = || Runner::builder(&store).projection_with(Notes::new(&bad), parks(1)).build().unwrap();
    let (one, two) = (runner(), runner());
    let running = [Running::start(&one), Running::start(&two)];
    for round in 0..20 {
        deposits(&store, 7).await;
        if round == 10 {
            bad.mend();
        }
        for queue in one.parked("notes", None, 10).await.unwrap() {
            let (one, two) = tokio::join!(retry(&one, "notes", &queue.key), retry(&two, "notes", &queue.key));
            assert!(round < 10 || one == Retried::Freed || two == Retried::Freed, "{one:?} {two:?}");
        }
    }
    for (runner, running) in [&one, &two].into_iter().zip(running) {
        runner.wait_for("notes", position(200), Duration::from_secs(90)).await.unwrap();
        running.stop().await.unwrap();
    }
    assert_eq!(store.inner.parked_totals().await.unwrap(), []);
    let mut all = all_noted(60, |_, _| true);
    for round in 0..20 {
        for (n, noted) in all.values_mut().enumerate() {
            *noted = format!("{noted} {}:1", 61 + 7 * round + n);
        }
    }
    assert_eq!(notes(&store).await, all);
}

//! Messages take effect once: what their handlers write, append and publish, and the note that they were handled, are one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use es_core::{
    ConsumerName, DeadLetterQuery, DeadLetterStore, DeadReason, EventStore, InboxKey, InboxStore, MessageUnit,
    NewDeadLetter, Novelty, OutboxMessage, OutboxStore, PageProjection, Projector, RawMessage, RecordedEvent,
    StoreError, limits,
};
use tokio::task::yield_now;

use super::{
    checkpoints::consumer,
    concurrency::{dropped_after, dropped_at_random},
    projections::ledger,
    projections::some_history,
    support::*,
};
use crate::{harness::StoreHarness, rng::SeededRng};

/// A unit for some messages, and which of them are new.
pub(super) async fn receive<S: InboxStore>(store: &S, consumer: &ConsumerName, ids: &[&str]) -> (S::Unit, Vec<bool>) {
    let keys: Vec<_> = ids.iter().map(|&id| InboxKey::new(id, 0)).collect();
    let (unit, novelty) = receive_keys(store, consumer, &keys).await;
    assert!(!novelty.contains(&Novelty::IdReused), "{novelty:?} of messages without content");
    (unit, novelty.into_iter().map(Novelty::is_new).collect())
}

async fn receive_keys<S: InboxStore>(
    store: &S,
    consumer: &ConsumerName,
    keys: &[InboxKey<'_>],
) -> (S::Unit, Vec<Novelty>) {
    let received = ok(patiently!(store.receive(consumer, keys)));
    assert_eq!(received.novelty.len(), keys.len());
    (received.unit, received.novelty)
}

/// Which messages are new, without noting it.
async fn are_new<S: InboxStore>(store: &S, consumer: &ConsumerName, ids: &[&str]) -> Vec<bool> {
    let (unit, is_new) = receive(store, consumer, ids).await;
    ok(unit.rollback().await);
    is_new
}

pub(super) fn dead(consumer: &ConsumerName, id: &str) -> NewDeadLetter {
    let message = RawMessage::new("text/plain", id.as_bytes());
    NewDeadLetter::new(consumer.clone(), id, "orders", DeadReason::Failed, "no room: disk full", message)
}

pub(super) async fn dead_letters_of<S: DeadLetterStore>(store: &S) -> Vec<String> {
    let letters = ok(store.dead_letters(&DeadLetterQuery::default(), None, limits::MAX_DEAD_LETTERS_PER_READ).await);
    letters.into_iter().map(|dead| dead.letter.message_id).collect()
}

fn publish(topic: &str) -> OutboxMessage {
    OutboxMessage::new(topic, RawMessage::new("text/plain", topic.as_bytes()))
}

/// Where the messages are to go that the outbox gives.
async fn topics_of<S: OutboxStore>(store: &S) -> Vec<String> {
    let entries = ok(patiently!(store.read_outbox(100)));
    entries.into_iter().map(|entry| entry.message.topic).collect()
}

/// A store whose handlers write rows of a ledger, one for each event of some history.
struct Shop<H: StoreHarness> {
    store: H::Store,
    ledger: Projector<H::Ledger>,
    events: Vec<RecordedEvent>,
    name: ConsumerName,
}

impl<H: StoreHarness> Shop<H> {
    async fn open(harness: &H) -> Self {
        let store = harness.fresh().await;
        some_history(&store).await;
        let ledger = ledger(harness, &store, "ledger").await;
        let events = whole_stream(&store, &stream("ann")).await;
        Self { store, ledger, events, name: consumer("shop") }
    }

    /// What a handler writes: a row for the event at a position.
    async fn write(&self, unit: &mut H::Unit, position: u64) {
        let event = self.events.iter().find(|event| event.position().get() == position);
        let event = some(event, "an event of ann's");
        ok(self.ledger.apply_page(unit.connection(), std::slice::from_ref(event)).await);
    }

    async fn rows(&self, harness: &H) -> Vec<u64> {
        harness.ledger_rows(&self.store, "ledger").await.iter().map(|row| row.position).collect()
    }
}

/// A message is new until a unit that has received it commits; for each consumer by itself, and for all handles.
pub async fn a_message_that_was_handled_is_not_new_again<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("shop");
    // Names, and nothing else.
    let odd = ["a", "A", "a ", "ä", "'; --", "%", "_", "01890a5d-ac96-774b-bcce-b302099a8057"];
    let (unit, is_new) = receive(&store, &name, &odd).await;
    assert_eq!(is_new, [true; 8]);
    ok(unit.commit().await);
    let (unit, is_new) = receive(&store, &name, &["new", "A", "b"]).await;
    assert_eq!(is_new, [true, false, true]);
    ok(unit.commit().await);
    let other = harness.reopened(&store).await;
    assert_eq!(are_new(&other, &name, &odd).await, [false; 8]);
    assert_eq!(are_new(&other, &name, &["b", "c", "new"]).await, [false, true, false]);
    assert_eq!(are_new(&other, &consumer("other"), &["a", "b"]).await, [true, true]);
    assert_eq!(are_new(&other, &name, &[]).await, [false; 0]);
    assert!(ok(store.inbox_stats().await).bytes > 0);
}

/// A batch may hold a message several times.
pub async fn of_several_messages_with_one_id_the_first_is_new<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("shop");
    let (unit, is_new) = receive(&store, &name, &["b", "a", "b", "b", "c", "a"]).await;
    assert_eq!(is_new, [true, true, false, false, true, false]);
    ok(unit.commit().await);
    assert_eq!(are_new(&store, &name, &["d", "c", "d", "c"]).await, [true, false, false, false]);
}

/// What was not committed did not happen.
pub async fn a_unit_that_is_rolled_back_or_dropped_leaves_its_messages_new<H: StoreHarness>(harness: &H) {
    let shop = Shop::open(harness).await;
    for is_dropped in [false, true] {
        let (mut unit, is_new) = receive(&shop.store, &shop.name, &["a"]).await;
        assert_eq!(is_new, [true]);
        shop.write(&mut unit, 1).await;
        match is_dropped {
            true => drop(unit),
            false => ok(unit.rollback().await),
        }
    }
    assert_eq!(are_new(&shop.store, &shop.name, &["a"]).await, [true]);
    assert_eq!(shop.rows(harness).await, [0; 0]);
}

/// Whoever receives a message that is being handled waits, and handles it only if the other one gives up.
pub async fn of_units_at_once_with_one_message_one_handles_it<H: StoreHarness>(harness: &H) {
    let shop = Arc::new(Shop::open(harness).await);
    let others = [harness.reopened(&shop.store).await, harness.reopened(&shop.store).await];
    for round in 0..5 {
        let has_given_up = Arc::new(AtomicBool::new(false));
        let handled = together(6, |task| {
            let (shop, has_given_up) = (Arc::clone(&shop), Arc::clone(&has_given_up));
            let store = others.get(task % 3).unwrap_or(&shop.store).clone();
            async move {
                // In opposite orders.
                let mut ids = [format!("{round} a"), format!("{round} b"), format!("{round} c")];
                if task % 2 == 0 {
                    ids.reverse();
                }
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                loop {
                    let (mut unit, is_new) = receive(&store, &shop.name, &ids).await;
                    assert!(is_new.iter().all(|new| *new == is_new[0]), "{is_new:?} of a unit that is whole");
                    if !is_new[0] {
                        ok(unit.rollback().await);
                        return 0;
                    }
                    shop.write(&mut unit, 1).await;
                    if has_given_up.swap(true, Ordering::SeqCst) {
                        ok(unit.commit().await);
                        return 1;
                    }
                    ok(unit.rollback().await);
                }
            }
        });
        assert_eq!(handled.await.into_iter().sum::<i32>(), 1);
        assert_eq!(shop.rows(harness).await.len(), round + 1);
    }
}

/// Wherever a handler is dropped, its message was handled with everything that it wrote, or is new.
pub async fn a_dropped_unit_happened_or_not<H: StoreHarness>(harness: &H) {
    let shop = Shop::open(harness).await;
    let rng = SeededRng::from_env();
    for round in 0..60_u64 {
        let id = format!("message {round}");
        let account = stream(&id);
        let handling = async {
            let (mut unit, is_new) = receive(&shop.store, &shop.name, &[&id]).await;
            assert_eq!(is_new, [true]);
            yield_now().await;
            shop.write(&mut unit, 1).await;
            ok(unit.append(append_to(&account, NoStream, vec![opened("Ann")])));
            yield_now().await;
            ok(unit.commit().await);
        };
        let rows = shop.rows(harness).await.len();
        // A store in memory has few moments, which chance may miss.
        let ended = match round {
            0..16 => dropped_after(round, handling).await.is_some(),
            _ => dropped_at_random(&rng, handling).await.is_some(),
        };
        let was_handled = !are_new(&shop.store, &shop.name, &[&id]).await[0];
        assert!(was_handled || !ended, "a unit that was committed is forgotten");
        assert_eq!(shop.rows(harness).await.len() - rows, usize::from(was_handled));
        assert_eq!(version_of(&shop.store, &account).await, u64::from(was_handled));
    }
}

/// Rows, appends, dead letters and the note: nobody sees one of them before the commit, and all after it.
pub async fn everything_in_a_unit_happens_or_nothing<H: StoreHarness>(harness: &H) {
    let shop = Shop::open(harness).await;
    let store = &shop.store;
    let other = harness.reopened(store).await;
    ok(patiently!(store.add_dead_letters(&[dead(&shop.name, "old")])));
    let old = &ok(store.dead_letters(&DeadLetterQuery::default(), None, 1).await)[0];
    let head = head_of(store).await;
    for is_committed in [false, true] {
        let (mut unit, is_new) = receive(store, &shop.name, &["a", "b"]).await;
        assert_eq!(is_new, [true, true]);
        shop.write(&mut unit, 1).await;
        ok(unit.append(append_to(&stream("eve"), NoStream, vec![opened("Eve"), deposited(1)])));
        shop.write(&mut unit, 2).await;
        // Builds on the one before it.
        ok(unit.append(append_to(&stream("eve"), exactly(2), deposits(1))));
        ok(unit.add_dead_letter(&dead(&shop.name, "new")).await);
        ok(unit.enqueue(&publish("shipped")).await);
        assert!(ok(unit.resolve_dead_letter(old).await));
        assert!(!ok(unit.resolve_dead_letter(old).await), "resolved twice in one unit");
        assert_eq!(head_of(&other).await, head, "seen before the commit");
        assert_eq!(dead_letters_of(&other).await, ["old"], "seen before the commit");
        assert_eq!(topics_of(&other).await, [""; 0], "seen before the commit");
        if !is_committed {
            ok(unit.rollback().await);
            assert_eq!((head_of(&other).await, dead_letters_of(&other).await), (head, vec!["old".to_owned()]));
            assert_eq!((shop.rows(harness).await, topics_of(&other).await), (Vec::new(), Vec::new()));
            continue;
        }
        let appended = ok(unit.commit().await);
        let places: Vec<_> = appended.iter().map(|it| (it.first_position.get(), it.last_position.get())).collect();
        assert_eq!(places, [(head + 1, head + 2), (head + 3, head + 3)]);
    }
    assert_eq!(are_new(&other, &shop.name, &["a", "b"]).await, [false, false]);
    assert_eq!(shop.rows(harness).await, [1, 2]);
    assert_eq!(dead_letters_of(&other).await, ["new"]);
    assert_eq!(topics_of(&other).await, ["shipped"]);
    assert_eq!(version_of(&other, &stream("eve")).await, 3);
    assert_whole(&other).await;
    // One that notes nothing.
    let mut unit = ok(patiently!(store.begin_unit()));
    shop.write(&mut unit, 3).await;
    assert_eq!(ok(unit.commit().await), []);
    assert_eq!(shop.rows(harness).await, [1, 2, 3]);
}

/// An append that is refused takes the whole unit with it.
pub async fn a_conflict_of_an_append_rolls_everything_back<H: StoreHarness>(harness: &H) {
    let shop = Shop::open(harness).await;
    let head = head_of(&shop.store).await;
    let (mut unit, _) = receive(&shop.store, &shop.name, &["a"]).await;
    shop.write(&mut unit, 1).await;
    ok(unit.append(append_under("key", &stream("eve"), NoStream, vec![opened("Eve")])));
    ok(unit.append(append_to(&stream("bob"), exactly(1), deposits(1))));
    ok(unit.add_dead_letter(&dead(&shop.name, "b")).await);
    ok(unit.enqueue(&publish("shipped")).await);
    assert_conflict(unit.commit().await, &stream("bob"), 3);
    assert_eq!((head_of(&shop.store).await, version_of(&shop.store, &stream("eve")).await), (head, 0));
    assert_eq!(ok(shop.store.find_append(&key_of("key")).await), None);
    assert_eq!((shop.rows(harness).await, dead_letters_of(&shop.store).await), (Vec::new(), Vec::new()));
    assert_eq!(topics_of(&shop.store).await, [""; 0]);
    assert_eq!(are_new(&shop.store, &shop.name, &["a"]).await, [true]);
    append(&shop.store, &stream("eve"), vec![opened("Eve")]).await;
    assert_whole(&shop.store).await;
}

/// The appends of a unit are stored as if one after the other, in the order of adding, whichever of them share streams, ids or a key.
pub async fn appends_of_a_unit_are_as_one_after_the_other<H: StoreHarness>(harness: &H) {
    let (store, rng) = (harness.fresh().await, SeededRng::from_env());
    let (mut unit, _) = receive(&store, &consumer("shop"), &["a"]).await;
    let (mut versions, mut expected, mut head) = ([0; 8], Vec::new(), 0);
    for _ in 0..60 {
        let (which, count) = (rng.below(8), 1 + rng.below(3));
        let version = &mut versions[which as usize];
        let expects = match (rng.below(2), *version) {
            (0, _) => Any,
            (_, 0) => NoStream,
            (_, version) => exactly(version),
        };
        ok(unit.append(append_to(&stream(&which.to_string()), expects, deposits(count as usize))));
        *version += count;
        expected.push((head + 1, head + count, false));
        head += count;
    }
    // Twice the same: the second is known by its key and its ids, though both are new to the store.
    let once = append_under("key", &stream("once"), NoStream, deposits(2));
    ok(unit.append(once.clone()));
    ok(unit.append(append_to(&stream("between"), NoStream, deposits(1))));
    ok(unit.append(once));
    expected.extend([(head + 1, head + 2, false), (head + 3, head + 3, false), (head + 1, head + 2, true)]);
    let appended = ok(unit.commit().await);
    let places = appended.iter().map(|it| (it.first_position.get(), it.last_position.get(), it.repeated));
    assert_eq!(places.collect::<Vec<_>>(), expected, "seed {}", rng.seed());
    for (which, version) in versions.iter().enumerate() {
        assert_eq!(version_of(&store, &stream(&which.to_string())).await, *version, "seed {}", rng.seed());
    }
    assert_whole(&store).await;
}

/// A rollback to the savepoint takes back rows, appends, dead letters and what a failed statement broke; what was
/// before it stays.
pub async fn a_rollback_takes_back_what_came_after_the_savepoint<H: StoreHarness>(harness: &H) {
    let shop = Shop::open(harness).await;
    let (mut unit, _) = receive(&shop.store, &shop.name, &["a", "b", "c"]).await;
    let refused = unit.rollback_to().await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "without a savepoint: {refused:?}");
    let deposit = || append_to(&stream("ann"), Any, deposits(1));
    shop.write(&mut unit, 1).await;
    ok(unit.append(deposit()));
    ok(unit.add_dead_letter(&dead(&shop.name, "kept")).await);
    ok(unit.enqueue(&publish("kept")).await);
    ok(unit.savepoint().await);
    // Again and again to the same savepoint.
    for _ in 0..2 {
        shop.write(&mut unit, 2).await;
        ok(unit.append(append_to(&stream("ann"), NoStream, deposits(1))));
        ok(unit.add_dead_letter(&dead(&shop.name, "gone")).await);
        ok(unit.enqueue(&publish("gone")).await);
        harness.failing_statement(unit.connection()).await;
        ok(unit.rollback_to().await);
    }
    shop.write(&mut unit, 3).await;
    // To the last savepoint, not to the one before.
    ok(unit.savepoint().await);
    ok(unit.append(deposit()));
    ok(unit.savepoint().await);
    ok(unit.append(append_to(&stream("ann"), NoStream, deposits(1))));
    shop.write(&mut unit, 2).await;
    ok(unit.rollback_to().await);
    assert_eq!(ok(unit.commit().await).len(), 2);
    assert_eq!(shop.rows(harness).await, [1, 3]);
    assert_eq!(
        (dead_letters_of(&shop.store).await, topics_of(&shop.store).await),
        (vec!["kept".to_owned()], vec!["kept".to_owned()])
    );
    assert_eq!(are_new(&shop.store, &shop.name, &["a", "b", "c"]).await, [false; 3]);
}

/// A message that comes again is told from another one under the same id, also within a batch, by content of any number.
pub async fn another_message_under_a_known_id_is_told<H: StoreHarness>(harness: &H) {
    use Novelty::{IdReused, Known, New};
    let store = harness.fresh().await;
    let name = consumer("shop");
    let key = InboxKey::new;
    let first = [key("a", 1), key("a", 2), key("b", u64::MAX), key("a", 1), key("c", 0)];
    let (unit, novelty) = receive_keys(&store, &name, &first).await;
    assert_eq!(novelty, [New, IdReused, New, Known, New]);
    ok(unit.commit().await);
    let second = [key("a", 2), key("a", 1), key("b", u64::MAX), key("d", 4), key("c", 1 << 63), key("d", 5)];
    for _ in 0..2 {
        let (unit, novelty) = receive_keys(&store, &name, &second).await;
        assert_eq!(novelty, [IdReused, Known, Known, New, IdReused, IdReused]);
        ok(unit.rollback().await);
    }
    let (unit, novelty) = receive_keys(&store, &consumer("other"), &second[..1]).await;
    assert_eq!(novelty, [New], "of another consumer");
    ok(unit.rollback().await);
}

/// The limits of a unit are reached, and hold.
pub async fn the_most_messages_and_appends_are_taken_and_more_are_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("shop");
    let most = limits::MAX_MESSAGES_PER_UNIT;
    let ids: Vec<String> = (0..=most).map(|number| format!("{number:0$}", limits::MAX_MESSAGE_ID_BYTES)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let keys: Vec<_> = ids.iter().map(|&id| InboxKey::new(id, 0)).collect();
    assert_limit(store.receive(&name, &keys).await.map(|_| ()), most, most + 1);
    let (mut unit, is_new) = receive(&store, &name, &ids[1..]).await;
    assert_eq!(is_new, vec![true; most]);
    for _ in 0..limits::MAX_APPENDS_PER_UNIT {
        ok(unit.append(append_to(&stream("ann"), Any, deposits(1))));
    }
    let one_more = unit.append(append_to(&stream("ann"), Any, deposits(1)));
    assert_limit(one_more, limits::MAX_APPENDS_PER_UNIT, limits::MAX_APPENDS_PER_UNIT + 1);
    ok(unit.rollback().await);
    let (unit, _) = receive(&store, &name, &ids[1..]).await;
    ok(unit.commit().await);
    assert_eq!(are_new(&store, &name, &ids[..most]).await.iter().filter(|new| **new).count(), 1);
    let too_long = "x".repeat(limits::MAX_MESSAGE_ID_BYTES + 1);
    for id in [too_long.as_str(), "", "a\0b"] {
        let keys = ["a", id].map(|id| InboxKey::new(id, 0));
        let refused = store.receive(&name, &keys).await.map(|_| ());
        assert!(matches!(refused, Err(StoreError::InvalidName(_))), "{id:?}: {refused:?}");
    }
    assert_eq!(are_new(&store, &name, &["a"]).await, [true]);
}

//! The outbox: what a committed transaction wrote is given until it is confirmed, and nothing is skipped.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use es_core::{
    Enqueue, Fence, InboxStore, LeaseStore, Leased, MessageUnit, OutboxEntry, OutboxMessage, OutboxStore, RawMessage,
    StoreError, limits, outbox_consumer,
};
use time::OffsetDateTime;
use tokio::task::yield_now;

use super::support::*;
use crate::{
    harness::{OpenTransaction, StoreHarness},
    rng::SeededRng,
};

/// Nothing in a case takes so long.
const LONG: Duration = Duration::from_secs(600);
/// How long a delayed message waits.
const DELAY: Duration = Duration::from_millis(300);
/// How late it may come on a busy machine.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

fn message(text: &str) -> OutboxMessage {
    OutboxMessage::new("orders", RawMessage::new("text/plain", text))
}

fn text(entry: &OutboxEntry) -> String {
    String::from_utf8_lossy(&entry.message.message.body).into_owned()
}

fn texts(entries: &[OutboxEntry]) -> Vec<String> {
    entries.iter().map(text).collect()
}

/// Writes messages in a transaction and commits it.
async fn put<H: StoreHarness>(harness: &H, store: &H::Store, messages: &[OutboxMessage]) {
    let mut transaction = harness.begin(store).await;
    for message in messages {
        ok(store.enqueue(transaction.connection(), message).await);
    }
    transaction.commit().await;
}

async fn put_texts<H: StoreHarness>(harness: &H, store: &H::Store, texts: &[&str]) {
    let messages: Vec<_> = texts.iter().map(|text| message(text)).collect();
    put(harness, store, &messages).await;
}

/// The fence of the relay's lease.
async fn fence<S: LeaseStore>(store: &S, owner: &str, time: Duration) -> Fence {
    match ok(patiently!(store.claim_lease(&ok(outbox_consumer()), owner, time))) {
        Leased::Yours(lease) => lease.fence,
        Leased::Taken(holder) => panic!("{} has the lease", holder.owner),
    }
}

async fn read<S: OutboxStore>(store: &S, limit: usize) -> Vec<OutboxEntry> {
    let entries = ok(patiently!(store.read_outbox(limit)));
    assert!(entries.len() <= limit, "{} messages for {limit}", entries.len());
    entries
}

async fn confirm<S: OutboxStore>(store: &S, fence: Fence, entries: &[OutboxEntry]) {
    if let Some(last) = entries.last() {
        ok(patiently!(store.confirm_outbox(fence, &last.cursor)));
    }
}

/// Everything that can be published now, confirmed batch by batch.
async fn drain<S: OutboxStore>(store: &S, fence: Fence, limit: usize) -> Vec<OutboxEntry> {
    let mut all = Vec::new();
    loop {
        let entries = read(store, limit).await;
        if entries.is_empty() {
            return all;
        }
        confirm(store, fence, &entries).await;
        all.extend(entries);
    }
}

/// A message is given with everything that was written, once its transaction has committed, and never if it has not.
pub async fn a_message_is_given_if_its_transaction_commits<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    assert_eq!(read(&store, 10).await, []);
    let mut gone = harness.begin(&store).await;
    ok(store.enqueue(gone.connection(), &message("gone")).await);
    assert_eq!(texts(&read(&other, 10).await), Vec::<String>::new(), "given before the commit");
    gone.rollback().await;
    let mut raw = RawMessage::new("application/json", vec![0, 255, 1]);
    raw.headers.insert("ce-id".to_owned(), "1 \"ü\" {}".to_owned());
    let whole = OutboxMessage::new("orders.Placed", raw).with_key("ann's");
    let before = OffsetDateTime::now_utc() - LONG;
    put(harness, &store, &[whole.clone(), message("")]).await;
    let entries = read(&other, 10).await;
    let given: Vec<_> = entries.iter().map(|entry| entry.message.clone()).collect();
    assert_eq!(given, [whole, message("")]);
    assert!(entries.iter().all(|entry| entry.enqueued_at > before && entry.enqueued_at < before + 2 * LONG));
    assert_ne!(entries[0].cursor, entries[1].cursor);
    let fence = fence(&store, "relay", LONG).await;
    assert_eq!(drain(&store, fence, 10).await.len(), 2);
}

/// What was read and not confirmed comes again, the same in the same order, to every handle; what was confirmed does not, and
/// half a batch can be confirmed.
pub async fn a_batch_comes_again_until_it_is_confirmed<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    put_texts(harness, &store, &["a", "b", "c"]).await;
    put_texts(harness, &store, &["d", "e"]).await;
    let first = read(&store, 4).await;
    assert_eq!(texts(&first), ["a", "b", "c", "d"]);
    assert_eq!(read(&store, 4).await, first);
    assert_eq!(read(&other, 4).await, first);
    assert_eq!(read(&other, 2).await, first[..2]);
    let fence = fence(&store, "relay", LONG).await;
    confirm(&other, fence, &first[..3]).await;
    put_texts(harness, &store, &["f"]).await;
    assert_eq!(read(&store, 1).await, first[3..]);
    assert_eq!(texts(&drain(&other, fence, 4).await), ["d", "e", "f"]);
    assert_eq!(read(&store, 4).await, []);
}

/// Confirming what was confirmed before brings nothing back, and passes nothing that came since.
pub async fn confirming_goes_forward_only<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    put_texts(harness, &store, &["a", "b", "c"]).await;
    let fence = fence(&store, "relay", LONG).await;
    let first = read(&store, 10).await;
    confirm(&store, fence, &first[..2]).await;
    confirm(&store, fence, &first[..1]).await;
    assert_eq!(texts(&read(&store, 10).await), ["c"]);
    confirm(&store, fence, &first).await;
    put_texts(harness, &store, &["d", "e"]).await;
    let second = read(&store, 10).await;
    confirm(&store, fence, &second[..1]).await;
    confirm(&store, fence, &first).await;
    assert_eq!(texts(&read(&store, 10).await), ["e"]);
    for nonsense in ["", "nonsense", "999999999"] {
        let refused = patiently!(store.confirm_outbox(fence, &es_core::OutboxCursor::new(nonsense)));
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{nonsense:?}: {refused:?}");
    }
    assert_eq!(texts(&read(&store, 10).await), ["e"]);
}

/// A relay that slept through the end of its lease confirms nothing.
pub async fn a_relay_that_lost_its_lease_confirms_nothing<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    put_texts(harness, &store, &["a"]).await;
    let entries = read(&store, 10).await;
    let old = fence(&store, "ann", Duration::ZERO).await;
    let new = fence(&store, "bob", LONG).await;
    let lost = patiently!(store.confirm_outbox(old, &entries[0].cursor));
    assert!(matches!(lost, Err(StoreError::LeaseLost { .. })), "{lost:?}");
    assert_eq!(read(&store, 10).await, entries);
    confirm(&store, new, &entries).await;
    assert_eq!(read(&store, 10).await, []);
}

/// Of two transactions the one that wrote first commits last, after the other's messages were read and confirmed: its own come
/// then. Whoever saw the other's commit comes after it.
pub async fn a_late_commit_is_not_skipped<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let fence = fence(&store, "relay", LONG).await;
    if !H::CONCURRENT_TRANSACTIONS {
        put_texts(harness, &store, &["first"]).await;
        put_texts(harness, &store, &["second"]).await;
        assert_eq!(texts(&drain(&store, fence, 10).await), ["first", "second"]);
        return;
    }
    for limit in [1, 10] {
        let mut early = harness.begin(&store).await;
        ok(store.enqueue(early.connection(), &message("early 1")).await);
        put_texts(harness, &store, &["a", "b"]).await;
        let mut gone = harness.begin(&store).await;
        ok(store.enqueue(gone.connection(), &message("gone")).await);
        assert_eq!(texts(&drain(&store, fence, limit).await), ["a", "b"]);
        ok(store.enqueue(early.connection(), &message("early 2")).await);
        put_texts(harness, &store, &["c"]).await;
        // Seen by a batch that is open while it commits.
        let open = read(&store, limit).await;
        early.commit().await;
        gone.rollback().await;
        put_texts(harness, &store, &["d"]).await;
        assert_eq!(texts(&open), ["c"]);
        let mut rest = texts(&drain(&store, fence, limit).await);
        assert_eq!(rest.iter().position(|text| text == "c"), Some(0), "{rest:?}");
        let place = |text: &str| rest.iter().position(|other| other == text);
        assert!(place("early 1") < place("early 2") && place("early 1").is_some(), "{rest:?}");
        rest.sort_unstable();
        assert_eq!(rest, ["c", "d", "early 1", "early 2"]);
    }
}

/// The youngest of several transactions is open while another's messages are read and confirmed: its own, with numbers between or
/// before those, come at its commit.
pub async fn the_youngest_open_transaction_is_not_skipped<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let fence = fence(&store, "relay", LONG).await;
    if !H::CONCURRENT_TRANSACTIONS {
        return;
    }
    for round in 0..5 {
        let mut older = harness.begin(&store).await;
        ok(store.enqueue(older.connection(), &message("older 1")).await);
        let mut youngest = harness.begin(&store).await;
        ok(store.enqueue(youngest.connection(), &message("youngest 1")).await);
        ok(store.enqueue(older.connection(), &message("older 2")).await);
        older.commit().await;
        assert_eq!(texts(&drain(&store, fence, 10).await), ["older 1", "older 2"], "in round {round}");
        ok(store.enqueue(youngest.connection(), &message("youngest 2")).await);
        youngest.commit().await;
        assert_eq!(texts(&drain(&store, fence, 10).await), ["youngest 1", "youngest 2"], "in round {round}");
    }
}

/// While one transaction is held open, all others are given, confirmed and cleared away, again and again; storage stays bounded,
/// and the held message comes at its commit.
pub async fn a_held_transaction_loses_nothing_and_keeps_nothing_else<H: StoreHarness>(harness: &H) {
    const ROUNDS: usize = 60;
    const MESSAGES: usize = 32;
    const BODY_BYTES: usize = 32 * 1_024;
    /// Less than half of what passes through.
    const MOST_BYTES: u64 = 28 * 1_024 * 1_024;

    let store = harness.fresh().await;
    let fence = fence(&store, "relay", LONG).await;
    put_texts(harness, &store, &["before"]).await;
    let mut held = None;
    if H::CONCURRENT_TRANSACTIONS {
        let mut transaction = harness.begin(&store).await;
        ok(store.enqueue(transaction.connection(), &message("held").with_key("held")).await);
        held = Some(transaction);
    }
    assert_eq!(texts(&drain(&store, fence, 100).await), ["before"]);
    let rng = SeededRng::new(7);
    for round in 0..ROUNDS {
        let body: Vec<u8> = (0..BODY_BYTES).map(|_| rng.below(256) as u8).collect();
        let messages = (0..MESSAGES).map(|number| {
            let raw = RawMessage::new("application/octet-stream", body.clone());
            OutboxMessage::new(format!("{round}.{number}"), raw)
        });
        let messages: Vec<_> = messages.collect();
        put(harness, &store, &messages).await;
        let given = drain(&store, fence, 10).await;
        let topics: Vec<_> = given.iter().map(|entry| entry.message.topic.clone()).collect();
        let expected: Vec<_> = messages.iter().map(|message| message.topic.clone()).collect();
        assert_eq!(topics, expected, "in round {round}");
        ok(patiently!(store.tidy_outbox()));
        let stats = ok(patiently!(store.outbox_stats()));
        assert_eq!(stats.waiting, 0, "{stats:?}");
        assert!(stats.bytes < MOST_BYTES, "{stats:?} in round {round}");
    }
    if let Some(held) = held {
        held.commit().await;
        assert_eq!(texts(&read(&store, 10).await), ["held"]);
        ok(patiently!(store.tidy_outbox()));
        assert_eq!(texts(&drain(&store, fence, 10).await), ["held"]);
    }
    ok(patiently!(store.tidy_outbox()));
    put_texts(harness, &store, &["after"]).await;
    assert_eq!(texts(&drain(&store, fence, 10).await), ["after"]);
}

/// A message that is to wait comes at its time by the store's clock, not before, in the place that it has then.
pub async fn a_delayed_message_comes_at_its_time<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let fence = fence(&store, "relay", LONG).await;
    let now = es_core::timestamp::to_stored_precision(OffsetDateTime::now_utc());
    let (soon, later) = (now + DELAY, now + 2 * DELAY);
    let messages = [
        message("much later").available_at(now + LONG),
        message("later").available_at(later).with_key("k"),
        message("soon").available_at(soon).with_key("k"),
        message("long due").available_at(now - LONG),
        message("at once"),
    ];
    put(harness, &store, &messages).await;
    let mut gone = harness.begin(&store).await;
    ok(store.enqueue(gone.connection(), &message("gone").available_at(soon)).await);
    gone.rollback().await;
    let first = drain(&store, fence, 10).await;
    if OffsetDateTime::now_utc() < soon {
        assert_eq!(texts(&first), ["long due", "at once"]);
        let stats = ok(patiently!(store.outbox_stats()));
        assert!(stats.delayed >= 1 && stats.delayed <= 3, "{stats:?}");
    }
    let mut all = first;
    while all.len() < 4 {
        let entries = drain(&store, fence, 10).await;
        let now = OffsetDateTime::now_utc();
        assert!(now < later + LONGEST_WAIT, "{:?} alone came in time", texts(&all));
        for entry in &entries {
            assert!(entry.message.available_at.is_none_or(|time| time <= now), "{} is early", text(entry));
            assert!(entry.message.available_at.is_none_or(|time| entry.enqueued_at >= time), "{entry:?}");
        }
        all.extend(entries);
        yield_now().await;
    }
    assert_eq!(texts(&all), ["long due", "at once", "soon", "later"]);
    assert_eq!(all[2].message, messages[2]);
    assert_eq!(ok(patiently!(store.outbox_stats())).delayed, 1);
}

/// The largest message is kept, one byte more is refused, and so are long names and reads of too many; a batch ends at the most
/// bytes.
pub async fn the_limits_of_the_outbox_are_reached<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let fence = fence(&store, "relay", LONG).await;
    let of_bytes = |bytes| OutboxMessage::new("large", RawMessage { body: vec![7; bytes], ..RawMessage::default() });
    let longest = OutboxMessage::new("t".repeat(limits::MAX_TOPIC_BYTES), RawMessage::default())
        .with_key("k".repeat(limits::MAX_MESSAGE_KEY_BYTES));
    let largest = of_bytes(limits::MAX_RAW_MESSAGE_BYTES);
    put(harness, &store, &[largest.clone(), longest.clone()]).await;
    let mut transaction = harness.begin(&store).await;
    for (refused, limit) in [
        (of_bytes(limits::MAX_RAW_MESSAGE_BYTES + 1), limits::MAX_RAW_MESSAGE_BYTES),
        (OutboxMessage::new("t".repeat(limits::MAX_TOPIC_BYTES + 1), RawMessage::default()), limits::MAX_TOPIC_BYTES),
        (message("").with_key("k".repeat(limits::MAX_MESSAGE_KEY_BYTES + 1)), limits::MAX_MESSAGE_KEY_BYTES),
    ] {
        assert_limit(store.enqueue(transaction.connection(), &refused).await, limit, limit + 1);
    }
    // The transaction can go on.
    ok(store.enqueue(transaction.connection(), &message("last")).await);
    transaction.commit().await;
    let over = limits::MAX_OUTBOX_PER_READ + 1;
    assert_limit(patiently!(store.read_outbox(over)), limits::MAX_OUTBOX_PER_READ, over);
    let first = read(&store, limits::MAX_OUTBOX_PER_READ).await;
    assert_eq!(first.iter().map(|entry| entry.message.message.size()).collect::<Vec<_>>(), [largest.message.size()]);
    assert_eq!(first[0].message, largest);
    confirm(&store, fence, &first).await;
    let rest = read(&store, limits::MAX_OUTBOX_PER_READ).await;
    assert_eq!(rest.iter().map(|entry| entry.message.clone()).collect::<Vec<_>>(), [longest, message("last")]);
    confirm(&store, fence, &rest).await;
    let many: Vec<_> = (0..limits::MAX_OUTBOX_PER_READ + 5).map(|number| message(&number.to_string())).collect();
    put(harness, &store, &many).await;
    assert_eq!(read(&store, limits::MAX_OUTBOX_PER_READ).await.len(), limits::MAX_OUTBOX_PER_READ);
    assert_eq!(drain(&store, fence, limits::MAX_OUTBOX_PER_READ).await.len(), many.len());
}

/// What waits is counted, and since when, and how much room it takes.
pub async fn what_waits_is_told<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let fence = fence(&store, "relay", LONG).await;
    let empty = ok(patiently!(store.outbox_stats()));
    assert_eq!((empty.waiting, empty.oldest, empty.delayed), (0, None, 0));
    let later = message("later").available_at(OffsetDateTime::now_utc() + LONG);
    let large = OutboxMessage::new("t", RawMessage { body: vec![3; 100_000], ..RawMessage::default() });
    put(harness, &store, &[message("a"), large, later]).await;
    put_texts(harness, &store, &["c"]).await;
    let stats = ok(patiently!(store.outbox_stats()));
    assert_eq!((stats.waiting, stats.delayed), (3, 1));
    assert!(stats.bytes > empty.bytes, "{stats:?} after {empty:?}");
    let entries = read(&store, 10).await;
    assert_eq!(stats.oldest, Some(entries[0].enqueued_at));
    confirm(&store, fence, &entries[..1]).await;
    let stats = ok(patiently!(store.outbox_stats()));
    assert_eq!((stats.waiting, stats.oldest, stats.delayed), (2, Some(entries[1].enqueued_at), 1));
    drain(&store, fence, 10).await;
    let stats = ok(patiently!(store.outbox_stats()));
    assert_eq!((stats.waiting, stats.oldest, stats.delayed), (0, None, 1));
}

/// A message of the transaction in which others take effect is given if that commits, unless it was taken back.
pub async fn a_message_of_a_unit_is_given_if_the_unit_commits<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let fence = fence(&store, "relay", LONG).await;
    let mut gone = ok(patiently!(store.begin_unit()));
    ok(gone.enqueue(&message("gone")).await);
    ok(gone.rollback().await);
    let mut unit = ok(patiently!(store.begin_unit()));
    ok(unit.enqueue(&message("a")).await);
    ok(unit.savepoint().await);
    ok(unit.enqueue(&message("taken back")).await);
    ok(unit.rollback_to().await);
    ok(unit.enqueue(&message("b")).await);
    assert_eq!(read(&store, 10).await, []);
    ok(unit.commit().await);
    assert_eq!(texts(&drain(&store, fence, 10).await), ["a", "b"]);
}

/// Eight writers, whose transactions are open for times of their own and sometimes rolled back, and one reader who confirms and
/// tidies: each committed message is given once, and each key in the order of its writer.
pub async fn writers_at_once_lose_nothing_and_keep_the_order_of_their_keys<H: StoreHarness>(harness: &H) {
    const WRITERS: usize = 8;
    const TRANSACTIONS: usize = 25;
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await, harness.reopened(&store).await];
    let fence = fence(&store, "relay", LONG).await;
    let rng = Arc::new(SeededRng::from_env());
    let writing = Arc::new(AtomicUsize::new(WRITERS));
    let mut given: Vec<OutboxEntry> = Vec::new();
    let write = async |writer: usize| {
        let store = &stores[1 + writer % 2];
        let mut written = 0;
        for _ in 0..TRANSACTIONS {
            let mut transaction = harness.begin(store).await;
            let count = 1 + rng.below(4);
            for number in 0..count {
                let text = (written + number).to_string();
                let message = message(&text).with_key(format!("key {writer}"));
                ok(store.enqueue(transaction.connection(), &message).await);
                for _ in 0..rng.below(20) {
                    yield_now().await;
                }
            }
            if rng.below(5) == 0 {
                transaction.rollback().await;
            } else {
                transaction.commit().await;
                written += count;
            }
        }
        writing.fetch_sub(1, Ordering::SeqCst);
        written
    };
    let follow = async {
        loop {
            let are_done = writing.load(Ordering::SeqCst) == 0;
            let entries = drain(&store, fence, 1 + rng.below(20) as usize).await;
            if entries.is_empty() && are_done {
                break;
            }
            given.extend(entries);
            ok(patiently!(store.tidy_outbox()));
            yield_now().await;
        }
    };
    let writers = futures_util::future::join_all((0..WRITERS).map(write));
    let (written, ()) = tokio::join!(writers, follow);
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in &given {
        by_key.entry(entry.message.key.clone().unwrap_or_default()).or_default().push(text(entry));
    }
    for (writer, written) in written.into_iter().enumerate() {
        let expected: Vec<_> = (0..written).map(|number| number.to_string()).collect();
        assert_eq!(by_key.remove(&format!("key {writer}")).unwrap_or_default(), expected, "of writer {writer}");
    }
    assert_eq!(by_key, BTreeMap::new());
    let cursors: HashMap<_, _> = given.iter().map(|entry| (entry.cursor.as_str(), ())).collect();
    assert_eq!(cursors.len(), given.len(), "a place was given twice");
}

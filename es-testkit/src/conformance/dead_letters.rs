//! Dead letters: what could not be published or handled is kept, found, tried again, edited or thrown away, never without a record.

use es_core::{
    ConsumerName, ControlStore, DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterStore, DeadReason, InboxStore,
    MessageUnit, NewDeadLetter, NewOperation, OperatorRequest, RawMessage, StoreError, limits,
};

use super::{
    checkpoints::consumer,
    inbox::{dead, dead_letters_of},
    support::*,
};
use crate::harness::StoreHarness;

fn request(by: &str) -> OperatorRequest {
    ok(OperatorRequest::by(by))
}

fn reasoned(by: &str) -> OperatorRequest {
    ok(request(by).because("the disk was full"))
}

fn id(number: u64) -> DeadLetterId {
    DeadLetterId::new(number)
}

async fn add<S: DeadLetterStore>(store: &S, letters: &[NewDeadLetter]) {
    ok(patiently!(store.add_dead_letters(letters)));
}

async fn list<S: DeadLetterStore>(store: &S, query: &DeadLetterQuery) -> Vec<DeadLetter> {
    ok(store.dead_letters(query, None, limits::MAX_DEAD_LETTERS_PER_READ).await)
}

/// The ids of the messages that match.
async fn found<S: DeadLetterStore>(store: &S, query: &DeadLetterQuery) -> Vec<String> {
    let letters = list(store, query).await;
    assert!(letters.iter().all(|dead| query.matches(dead)), "{query:?} found what does not match it");
    letters.into_iter().map(|dead| dead.letter.message_id).collect()
}

/// Kind, consumer, author and reason of the operations, oldest first.
async fn log_of<S: ControlStore>(store: &S) -> Vec<String> {
    let mut log = ok(store.operations(None, None, limits::MAX_OPERATIONS_PER_READ).await);
    log.reverse();
    let line = |NewOperation { kind, consumer, request, .. }: &NewOperation| {
        format!("{kind} {consumer} {}: {}", request.author(), request.reason().unwrap_or_default())
    };
    log.iter().map(|operation| line(&operation.what)).collect()
}

async fn request_retries<S: DeadLetterStore>(store: &S, query: &DeadLetterQuery, request: &OperatorRequest) -> u64 {
    ok(patiently!(store.request_dead_letter_retries(query, request)))
}

/// Five dead letters of two consumers, each with something of its own.
fn some_dead_letters() -> Vec<NewDeadLetter> {
    let (relay, shop) = (consumer("relay"), consumer("shop"));
    let letter = |consumer: &ConsumerName, id: &str, reason| {
        let message = RawMessage::new("text/plain", id.as_bytes());
        NewDeadLetter::new(consumer.clone(), id, format!("topic of {id}"), reason, "no room", message)
    };
    vec![
        letter(&shop, "a", DeadReason::Failed).with_type(Some("placed")).with_key(Some("order 1")).with_attempts(5),
        letter(&shop, "b", DeadReason::Schema).with_type(Some("placed")).with_key(Some("order 2")),
        letter(&relay, "a", DeadReason::Unroutable).with_key(Some("order 1")),
        letter(&shop, "c", DeadReason::Failed).with_type(Some("paid")),
        letter(&relay, "d", DeadReason::Refused).with_type(Some("paid")),
    ]
}

/// What is put aside comes back as it was; put aside again, it keeps its place and has the latest failure.
pub async fn a_dead_letter_is_kept_once_with_its_latest_failure<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let mut odd =
        RawMessage { headers: [("é\0'\"".to_owned(), "ü\n\0".to_owned())].into(), body: (0..=255).collect() };
    odd.headers.insert(String::new(), String::new());
    let shop = consumer("shop");
    let first = NewDeadLetter::new(shop.clone(), "a\0b", "t\0", DeadReason::Undecodable, "bad\0", odd.clone());
    let first = first.with_type(Some("ä\0")).with_key(Some("k'\0")).with_attempts(7);
    add(&store, std::slice::from_ref(&first)).await;
    add(&store, &[dead(&shop, "b")]).await;
    add(&store, &[]).await;
    let kept = list(&harness.reopened(&store).await, &DeadLetterQuery::default()).await;
    assert_eq!(kept.iter().map(|dead| &dead.letter).collect::<Vec<_>>(), [&first, &dead(&shop, "b")]);
    assert!(kept[0].id < kept[1].id && kept[0].since <= kept[1].since && !kept[0].is_retry_requested);

    let mut again = first.clone().with_attempts(9);
    (again.reason, again.error) = (DeadReason::Expired, "too late".to_owned());
    // The last of several is the latest.
    add(&store, &[first.clone(), dead(&consumer("other"), "b"), again.clone()]).await;
    let letters = list(&store, &DeadLetterQuery::of(shop.clone())).await;
    assert_eq!(letters[0], DeadLetter::new(kept[0].id, kept[0].since, false, again.clone()));
    assert_eq!(letters[1..], kept[1..]);
    assert_eq!(dead_letters_of(&store).await.len(), 3);
    // A broker that counts deliveries may begin anew; what is known stays known.
    add(&store, &[again.clone().with_attempts(2)]).await;
    assert_eq!(list(&store, &DeadLetterQuery::of(shop)).await[0].letter, again);
}

/// Dead letters that differ in anything that tells messages apart are several: consumer, topic, id, headers or body;
/// whether they are put aside in one call, one by one, or within a unit.
pub async fn dead_letters_that_differ_in_anything_are_several<H: StoreHarness>(harness: &H) {
    let (shop, plain) = (consumer("shop"), RawMessage::new("text/plain", "paid"));
    let letter = |consumer: &ConsumerName, topic: &str, id: &str, message: &RawMessage| {
        NewDeadLetter::new(consumer.clone(), id, topic, DeadReason::Failed, "no room", message.clone())
    };
    let with = |name: &str, value: &str| {
        let mut message = plain.clone();
        message.headers.insert(name.to_owned(), value.to_owned());
        message
    };
    let topics = ["t".repeat(limits::MAX_TOPIC_BYTES + 1), "t".repeat(limits::MAX_TOPIC_BYTES + 2)];
    let letters = [
        letter(&shop, "invoices", "7", &plain),
        letter(&consumer("other"), "invoices", "7", &plain),
        letter(&shop, "audit", "7", &plain),
        letter(&shop, "invoices", "8", &plain),
        letter(&shop, "invoices", "7", &with("source", "/shop")),
        letter(&shop, "invoices", "7", &with("source", "/depot")),
        letter(&shop, "invoices", "7", &with("ecruos", "/shop")),
        letter(&shop, "invoices", "7", &RawMessage::new("text/plain", "paid twice")),
        // What is the same once it can be stored.
        letter(&shop, "invoices", "a b", &plain),
        letter(&shop, "invoices", "a\tb", &plain),
        letter(&shop, "invoices", "a\nb", &plain),
        letter(&shop, &topics[0], "7", &plain),
        letter(&shop, &topics[1], "7", &plain),
        // Without an id.
        letter(&shop, "invoices", "", &plain),
        letter(&shop, "invoices", "", &with("subject", "order/17")),
        letter(&shop, "invoices", "", &with("subject", "order/18")),
        letter(&shop, "audit", "", &plain),
    ];
    for way in ["in one call", "one by one", "within a unit"] {
        let store = harness.fresh().await;
        for _again in 0..2 {
            match way {
                "in one call" => add(&store, &letters).await,
                "one by one" => {
                    for letter in &letters {
                        add(&store, std::slice::from_ref(letter)).await;
                    }
                }
                _ => {
                    let mut unit = ok(patiently!(store.begin_unit()));
                    for letter in &letters {
                        ok(unit.add_dead_letter(letter).await);
                    }
                    ok(unit.commit().await);
                }
            }
        }
        let kept = list(&store, &DeadLetterQuery::default()).await;
        assert!(kept.iter().map(|dead| &dead.letter).eq(&letters), "{way}: {kept:#?}");
        let ever: u64 = ok(store.dead_letter_totals().await).iter().map(|totals| totals.ever).sum();
        assert_eq!(ever, letters.len() as u64, "{way}");
    }
}

/// A message that is put aside once more changes its failure and nothing that an operator did: an edit stands, and so does a retry that
/// was requested.
pub async fn a_redelivery_leaves_an_edit_and_a_requested_retry<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let shop = consumer("shop");
    let [edited, asked] = ["edited", "asked"].map(|id| dead(&shop, id));
    add(&store, &[edited.clone(), asked.clone()]).await;
    let letters = list(&store, &DeadLetterQuery::default()).await;
    let better = RawMessage::new("text/plain", "better");
    assert!(ok(patiently!(store.edit_dead_letter(letters[0].id, &better, &reasoned("ann")))));
    assert_eq!(request_retries(&store, &DeadLetterQuery::one(letters[1].id), &request("ann")).await, 1);
    let again = [edited, asked].map(|mut letter| {
        letter.error = "still no room".to_owned();
        letter.with_attempts(3)
    });
    add(&store, &again).await;
    let mut unit = ok(patiently!(store.begin_unit()));
    for letter in &again {
        ok(unit.add_dead_letter(letter).await);
    }
    ok(unit.commit().await);
    let mut expected = letters;
    for (dead, again) in expected.iter_mut().zip(again) {
        (dead.letter, dead.is_retry_requested) = (again, true);
    }
    expected[0].letter.message = better;
    assert_eq!(list(&store, &DeadLetterQuery::default()).await, expected);
    assert_eq!(ok(store.dead_letter_edits(expected[0].id).await).len(), 1);
}

/// Each part of a query narrows it; pages of any size return each dead letter once and in order.
pub async fn dead_letters_are_found_by_what_is_known_of_them<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    add(&store, &some_dead_letters()).await;
    let all = list(&store, &DeadLetterQuery::default()).await;
    let (shop, relay) = (consumer("shop"), consumer("relay"));
    let query = |change: &dyn Fn(&mut DeadLetterQuery)| {
        let mut query = DeadLetterQuery::default();
        change(&mut query);
        query
    };
    assert_eq!(found(&store, &query(&|_| {})).await, ["a", "b", "a", "c", "d"]);
    assert_eq!(found(&store, &DeadLetterQuery::of(shop.clone())).await, ["a", "b", "c"]);
    assert_eq!(found(&store, &DeadLetterQuery::one(all[3].id)).await, ["c"]);
    assert_eq!(found(&store, &query(&|q| q.message_type = Some("placed".to_owned()))).await, ["a", "b"]);
    assert_eq!(found(&store, &query(&|q| q.key = Some("order 1".to_owned()))).await, ["a", "a"]);
    assert_eq!(found(&store, &query(&|q| q.reason = Some(DeadReason::Failed))).await, ["a", "c"]);
    assert_eq!(found(&store, &query(&|q| q.before = Some(all[0].since))).await, [""; 0]);
    let later = all[4].since + std::time::Duration::from_micros(1);
    assert_eq!(found(&store, &query(&|q| q.before = Some(later))).await.len(), 5);
    let one = DeadLetterQuery::one(all[1].id);
    assert_eq!(request_retries(&store, &one, &request("ann")).await, 1);
    assert_eq!(found(&store, &query(&|q| q.is_retry_requested = Some(true))).await, ["b"]);
    assert_eq!(found(&store, &query(&|q| q.is_retry_requested = Some(false))).await, ["a", "a", "c", "d"]);
    // All at once.
    let mut narrow = DeadLetterQuery::of(relay);
    (narrow.id, narrow.reason) = (Some(all[2].id), Some(DeadReason::Unroutable));
    (narrow.key, narrow.before, narrow.is_retry_requested) = (Some("order 1".to_owned()), Some(later), Some(false));
    assert_eq!(found(&store, &narrow).await, ["a"]);
    narrow.consumer = Some(shop);
    assert_eq!(found(&store, &narrow).await, [""; 0]);
    for size in [1, 2, 5, 7] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = ok(store.dead_letters(&DeadLetterQuery::default(), after, size).await);
            assert!(page.len() <= size);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.iter().map(|dead| dead.id));
        }
        assert_eq!(seen, all.iter().map(|dead| dead.id).collect::<Vec<_>>(), "pages of {size}");
    }
}

/// How many there are, since when, and how many there ever were: also of whoever has none left.
pub async fn totals_tell_what_there_is_and_ever_was<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let totals = async || -> Vec<(String, u64, u64)> {
        let totals = ok(store.dead_letter_totals().await);
        assert!(totals.iter().all(|totals| totals.oldest.is_some() == (totals.depth > 0)));
        totals.into_iter().map(|totals| (totals.consumer.to_string(), totals.depth, totals.ever)).collect()
    };
    let line = |consumer: &str, depth, ever| (consumer.to_owned(), depth, ever);
    assert_eq!(totals().await, []);
    add(&store, &some_dead_letters()).await;
    assert_eq!(totals().await, [line("relay", 2, 2), line("shop", 3, 3)]);
    let all = list(&store, &DeadLetterQuery::default()).await;
    assert_eq!(ok(store.dead_letter_totals().await)[1].oldest, Some(all[0].since));
    // The same once more is no further one.
    add(&store, &some_dead_letters()[..2]).await;
    assert_eq!(totals().await, [line("relay", 2, 2), line("shop", 3, 3)]);
    assert!(ok(patiently!(store.resolve_dead_letter(&all[0]))));
    let of_relay = DeadLetterQuery::of(consumer("relay"));
    assert_eq!(ok(patiently!(store.discard_dead_letters(&of_relay, &reasoned("ann")))), 2);
    assert_eq!(totals().await, [line("relay", 0, 2), line("shop", 2, 3)]);
    add(&store, &some_dead_letters()).await;
    assert_eq!(totals().await, [line("relay", 2, 4), line("shop", 3, 4)]);
    let newest = list(&store, &DeadLetterQuery::default()).await;
    assert!(newest.iter().skip(2).all(|dead| all.iter().all(|old| old.id < dead.id)), "an id was used twice");
}

/// A retry is requested of all that match, noted for each consumer, and carried out when the retry fails.
pub async fn a_retry_is_requested_and_carried_out<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    add(&store, &some_dead_letters()).await;
    let none = DeadLetterQuery::of(consumer("nobody"));
    assert_eq!(request_retries(&store, &none, &request("ann")).await, 0);
    assert_eq!(log_of(&store).await, [""; 0], "nothing happened");
    let mut paid = DeadLetterQuery::default();
    paid.message_type = Some("paid".to_owned());
    assert_eq!(request_retries(&store, &paid, &request("ann")).await, 2);
    assert_eq!(request_retries(&store, &DeadLetterQuery::of(consumer("shop")), &reasoned("bob")).await, 3);
    let one = list(&store, &paid).await[1].id;
    assert_eq!(request_retries(&store, &DeadLetterQuery::one(one), &request("eve")).await, 1);
    let expected = [
        "dead-letter-retry relay ann: 1 dead letters".to_owned(),
        "dead-letter-retry shop ann: 1 dead letters".to_owned(),
        "dead-letter-retry shop bob: 3 dead letters: the disk was full".to_owned(),
        format!("dead-letter-retry relay eve: dead letter {one}"),
    ];
    assert_eq!(log_of(&store).await, expected);
    let mut requested = DeadLetterQuery::default();
    requested.is_retry_requested = Some(true);
    assert_eq!(found(&store, &requested).await, ["a", "b", "c", "d"]);
    for dead in list(&store, &DeadLetterQuery::of(consumer("shop"))).await.iter().skip(1) {
        assert!(ok(patiently!(store.fail_dead_letter(dead, DeadReason::Failed, "no room"))));
    }
    assert_eq!(found(&store, &requested).await, ["a", "d"]);
}

/// An edit replaces the message, asks for a retry, keeps what there was, and needs a reason.
pub async fn an_edited_dead_letter_keeps_what_it_was<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let shop = consumer("shop");
    add(&store, &[dead(&shop, "a"), dead(&shop, "b")]).await;
    let letters = list(&store, &DeadLetterQuery::default()).await;
    let messages: Vec<RawMessage> =
        ["one", "two"].map(|body| RawMessage::new("application/json", body.as_bytes())).into();
    let edit = async |id, message: &RawMessage, request: &OperatorRequest| {
        patiently!(store.edit_dead_letter(id, message, request))
    };
    let refused = edit(letters[0].id, &messages[0], &request("ann")).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "without a reason: {refused:?}");
    assert!(!ok(edit(id(letters[1].id.get() + 1_000), &messages[0], &reasoned("ann")).await));
    assert_eq!((log_of(&store).await, list(&store, &DeadLetterQuery::default()).await), (Vec::new(), letters.clone()));
    for message in &messages {
        assert!(ok(edit(letters[0].id, message, &reasoned("ann")).await));
    }
    let edited = list(&store, &DeadLetterQuery::default()).await;
    let mut expected = letters.clone();
    (expected[0].letter.message, expected[0].is_retry_requested) = (messages[1].clone(), true);
    assert_eq!(edited, expected);
    let line = format!("dead-letter-edit shop ann: dead letter {}: the disk was full", letters[0].id);
    assert_eq!(log_of(&store).await, [line.clone(), line]);
    assert!(ok(patiently!(store.resolve_dead_letter(&edited[0]))));
    let history = ok(store.dead_letter_edits(letters[0].id).await);
    assert_eq!(history, [letters[0].letter.message.clone(), messages[0].clone()]);
    assert_eq!(ok(store.dead_letter_edits(letters[1].id).await), []);
}

/// What is thrown away needs a reason, and a line in the log.
pub async fn what_is_discarded_needs_a_reason_and_is_noted<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    add(&store, &some_dead_letters()).await;
    let mut failed = DeadLetterQuery::default();
    failed.reason = Some(DeadReason::Failed);
    let refused = patiently!(store.discard_dead_letters(&failed, &request("ann")));
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "without a reason: {refused:?}");
    assert_eq!(dead_letters_of(&store).await.len(), 5);
    let longest = ok(request("ann").because(&"é".repeat(limits::MAX_REASON_BYTES / 2)));
    assert_eq!(ok(patiently!(store.discard_dead_letters(&failed, &longest))), 2);
    assert_eq!(dead_letters_of(&store).await, ["b", "a", "d"]);
    assert_eq!(ok(patiently!(store.discard_dead_letters(&failed, &reasoned("bob")))), 0);
    assert_eq!(ok(patiently!(store.discard_dead_letters(&DeadLetterQuery::default(), &reasoned("bob")))), 3);
    assert_eq!(dead_letters_of(&store).await, [""; 0]);
    let log = log_of(&store).await;
    assert!(log[0].starts_with("dead-letter-discard shop ann: 2 dead letters: éé"), "{}", log[0]);
    assert_eq!(
        log[1..],
        [
            "dead-letter-discard relay bob: 2 dead letters: the disk was full",
            "dead-letter-discard shop bob: 1 dead letters: the disk was full"
        ]
    );
}

/// Of several who try a dead letter again at the same time one is told that it is there, and handles it; a unit that is rolled back
/// gives it to the next.
pub async fn a_dead_letter_is_resolved_once<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    add(&store, &[dead(&consumer("shop"), "a")]).await;
    let letter = &list(&store, &DeadLetterQuery::default()).await[0];
    let mut unit = ok(patiently!(store.begin_unit()));
    assert!(ok(unit.resolve_dead_letter(letter).await));
    ok(unit.rollback().await);
    let resolved = together(5, |task| {
        let (store, letter) = (if task % 2 == 0 { store.clone() } else { other.clone() }, letter.clone());
        async move {
            if task == 4 {
                return ok(patiently!(store.resolve_dead_letter(&letter)));
            }
            loop {
                let mut unit = ok(patiently!(store.begin_unit()));
                match unit.resolve_dead_letter(&letter).await {
                    Ok(was_there) => {
                        ok(unit.commit().await);
                        return was_there;
                    }
                    Err(StoreError::Busy { .. }) => ok(unit.rollback().await),
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    });
    assert_eq!(resolved.await.into_iter().filter(|was_there| *was_there).count(), 1);
    assert_eq!(dead_letters_of(&store).await, [""; 0]);
}

/// A retry in vain keeps the message, with the new failure. What was edited or thrown away while a dead letter was
/// tried stays so, whatever came of the try: an edited message is not taken for the one that was tried, and what is
/// gone does not come back.
pub async fn what_happens_to_a_dead_letter_while_it_is_tried_stands<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    add(&store, &some_dead_letters()).await;
    let all = DeadLetterQuery::default();
    assert_eq!(request_retries(&store, &all, &request("ann")).await, 5);
    let tried = list(&store, &all).await;
    let fail = async |letter| patiently!(store.fail_dead_letter(letter, DeadReason::Unroutable, "no\0queue"));
    assert!(ok(fail(&tried[0]).await));
    let mut expected = tried[0].clone();
    expected.is_retry_requested = false;
    (expected.letter.reason, expected.letter.error) = (DeadReason::Unroutable, "no queue".to_owned());
    expected.letter.attempts += 1;
    assert_eq!(list(&store, &all).await[0], expected);
    // Thrown away meanwhile.
    assert_eq!(ok(patiently!(store.discard_dead_letters(&DeadLetterQuery::one(tried[1].id), &reasoned("bob")))), 1);
    assert!(!ok(fail(&tried[1]).await) && !ok(patiently!(store.resolve_dead_letter(&tried[1]))));
    // Edited meanwhile, in the body or in the headers alone.
    let mut other_headers = tried[3].letter.message.clone();
    other_headers.headers.insert("x".to_owned(), "y".to_owned());
    for (letter, message) in [(&tried[2], RawMessage::new("text/plain", "mended")), (&tried[3], other_headers)] {
        assert!(ok(patiently!(store.edit_dead_letter(letter.id, &message, &reasoned("bob")))));
        assert!(!ok(fail(letter).await) && !ok(patiently!(store.resolve_dead_letter(letter))));
        let mut unit = ok(patiently!(store.begin_unit()));
        assert!(!ok(unit.resolve_dead_letter(letter).await));
        ok(unit.rollback().await);
        let kept = list(&store, &DeadLetterQuery::one(letter.id)).await.remove(0);
        assert_eq!((kept.is_retry_requested, &kept.letter.message), (true, &message));
        assert!(ok(patiently!(store.resolve_dead_letter(&kept))));
    }
    assert_eq!(dead_letters_of(&store).await, ["a", "d"]);
    let totals = ok(store.dead_letter_totals().await);
    assert_eq!(totals.iter().map(|totals| totals.ever).collect::<Vec<_>>(), [2, 3]);
}

/// The limits are reached, and hold.
pub async fn the_largest_dead_letters_are_kept_and_larger_ones_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let shop = consumer("shop");
    let mut largest = dead(&shop, &"i".repeat(limits::MAX_MESSAGE_ID_BYTES));
    largest.topic = "t".repeat(limits::MAX_TOPIC_BYTES);
    largest.key = Some("k".repeat(limits::MAX_MESSAGE_KEY_BYTES));
    largest.message = RawMessage { headers: [].into(), body: vec![7; limits::MAX_RAW_MESSAGE_BYTES] };
    add(&store, std::slice::from_ref(&largest)).await;
    assert!(
        list(&store, &DeadLetterQuery::default()).await[0].letter == largest,
        "the largest dead letter has changed"
    );
    let mut larger = largest.clone();
    larger.message.body.push(7);
    let most = limits::MAX_RAW_MESSAGE_BYTES;
    assert_limit(store.add_dead_letters(&[larger.clone()]).await, most, most + 1);
    let mut unit = ok(patiently!(store.begin_unit()));
    assert_limit(unit.add_dead_letter(&larger).await, most, most + 1);
    ok(unit.rollback().await);
    larger.message = largest.message;
    larger.message_id.push('i');
    let most = limits::MAX_MESSAGE_ID_BYTES;
    assert_limit(store.add_dead_letters(&[larger]).await, most, most + 1);
    let most = limits::MAX_DEAD_LETTERS_PER_READ;
    let many: Vec<_> = (0..=most).map(|number| dead(&shop, &number.to_string())).collect();
    assert_limit(store.add_dead_letters(&many).await, most, most + 1);
    add(&store, &many[1..]).await;
    assert_limit(store.dead_letters(&DeadLetterQuery::default(), None, most + 1).await, most, most + 1);
    let first = list(&store, &DeadLetterQuery::default()).await[0].id;
    assert_eq!(ok(store.dead_letters(&DeadLetterQuery::default(), Some(first), most).await).len(), most);
}

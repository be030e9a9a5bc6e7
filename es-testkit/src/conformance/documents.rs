//! The documents of views.

use es_core::{
    Advance, ConsumerName, ConsumerStore, ConsumerStoreExt, Document, DocumentChange, DocumentFold, DocumentQuery,
    EventStore, FieldQuery, FieldValue, Payload, StoreError, ViewFold, limits,
};

use super::{
    checkpoints::{assert_moved, at, consumer, position_of},
    support::*,
};
use crate::{bank::Balance, harness::StoreHarness};

fn put(key: &str, json: &str) -> DocumentChange {
    DocumentChange { key: key.to_owned(), body: Some(ok(Payload::from_json(json))) }
}

fn delete(key: &str) -> DocumentChange {
    DocumentChange { key: key.to_owned(), body: None }
}

fn document(key: &str, json: &str) -> Document {
    Document { key: key.to_owned(), body: ok(Payload::from_json(json)) }
}

async fn prepared<S: ConsumerStore>(store: &S, name: &str) -> ConsumerName {
    let view = consumer(name);
    ok(patiently!(store.prepare_view(&view)));
    view
}

async fn save<S: ConsumerStore>(
    store: &S,
    view: &ConsumerName,
    (from, to): (u64, u64),
    changes: &[DocumentChange],
) -> Result<(), StoreError> {
    patiently!(store.save_documents(&Advance::new(view, at(from), at(to)), changes))
}

async fn list<S: ConsumerStore>(store: &S, view: &ConsumerName, after: Option<&str>, limit: usize) -> Vec<Document> {
    let query = DocumentQuery::ByKey { after: after.map(str::to_owned), limit };
    ok(store.list_documents(view, &query).await)
}

async fn top<S: ConsumerStore>(store: &S, view: &ConsumerName, field: &str, limit: usize) -> Vec<String> {
    let query = DocumentQuery::TopByField { field: field.to_owned(), limit };
    ok(store.list_documents(view, &query).await).into_iter().map(|found| found.key).collect()
}

/// Saves the first documents of a view that was prepared.
pub(super) async fn save_first<S: ConsumerStore>(
    store: &S,
    view: &ConsumerName,
    changes: &[DocumentChange],
) -> Result<(), StoreError> {
    save(store, view, (0, 1), changes).await
}

/// The text of one document.
pub(super) async fn get<S: ConsumerStore>(store: &S, view: &ConsumerName, key: &str) -> Option<String> {
    ok(store.documents(view, &[key.to_owned()]).await).pop().map(|found| found.body.as_str().to_owned())
}

/// A view that was never prepared has no documents; preparing it, also twice and at the same time, does not start it.
pub async fn a_view_that_was_never_prepared_has_no_documents<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let view = consumer("balances");
    assert_eq!(ok(store.documents(&view, &["ann".to_owned()]).await), []);
    assert_eq!(list(&store, &view, None, 10).await, []);
    assert_eq!(top(&store, &view, "cents", 10).await, [""; 0]);
    let stores = [store.clone(), harness.reopened(&store).await];
    together(6, |number| {
        let store = stores[number % 2].clone();
        async move { prepared(&store, "balances").await }
    })
    .await;
    assert_eq!(list(&store, &view, None, 10).await, []);
    assert_eq!(position_of(&store, &view).await, None);
}

/// Documents change together with the checkpoint, or not at all.
pub async fn documents_and_checkpoint_move_together<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let view = prepared(&store, "balances").await;
    assert_moved(save(&store, &view, (3, 4), &[put("ann", "0")]).await, 3, 0);
    assert_eq!(list(&store, &view, None, 10).await, []);
    ok(save(&store, &view, (0, 10), &[put("ann", "1"), put("bob", "2")]).await);
    let expected = [document("ann", "1"), document("bob", "2")];
    for from in [0, 9, 11] {
        let stale = [put("ann", "9"), put("cid", "9"), delete("bob")];
        assert_moved(save(&store, &view, (from, 12), &stale).await, from, 10);
        assert_eq!(list(&store, &view, None, 10).await, expected, "a refused save changed documents");
        assert_eq!(position_of(&store, &view).await, Some(10));
    }
    ok(save(&store, &view, (10, 11), &[]).await);
    let other = harness.reopened(&store).await;
    assert_eq!(position_of(&other, &view).await, Some(11));
    assert_eq!(list(&other, &view, None, 10).await, expected);
}

/// Documents are replaced and deleted by key; their text is kept byte for byte; views do not share documents.
pub async fn documents_are_replaced_deleted_and_kept_byte_for_byte<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let (view, other) = (prepared(&store, "balances").await, prepared(&store, "balances_2").await);
    let odd = r#" {"n": 1.0e2, "b":1,"a":2 , "text":"é 🦀 \u00e9 it's"}"#;
    let keys = ["ann", "Ann", "ann ", "'; DROP TABLE x; --", "%", "é", "e\u{301}", "a/b\\c", "🦀"];
    let changes: Vec<_> = keys.iter().map(|key| put(key, odd)).collect();
    ok(save(&store, &view, (0, 1), &changes).await);
    ok(save(&store, &other, (0, 1), &[put("ann", "\"other\"")]).await);
    for key in keys {
        assert_eq!(ok(store.documents(&view, &[key.to_owned()]).await), [document(key, odd)]);
    }
    ok(save(&store, &view, (1, 2), &[put("ann", "[1]"), delete("Ann"), delete("nobody")]).await);
    let asked = ["ann", "nobody", "Ann", "ann "].map(str::to_owned);
    let mut found = ok(store.documents(&view, &asked).await);
    found.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(found, [document("ann", "[1]"), document("ann ", odd)]);
    assert_eq!(ok(store.documents(&view, &[]).await), []);
    assert_eq!(list(&store, &other, None, 10).await, [document("ann", "\"other\"")]);
    ok(save(&store, &view, (2, 3), &[put("Ann", "2")]).await);
    assert_eq!(list(&store, &view, None, 100).await.len(), keys.len());
}

/// Pages by key follow the bytes of the keys, not a language; `after` is exclusive and need not exist.
pub async fn documents_are_listed_in_the_bytewise_order_of_their_keys<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let view = prepared(&store, "balances").await;
    let mut keys = [
        "b", "B", "a", "A", "ab", "a b", "a-b", "a_b", "é", "z", "Z", "10", "9", " x", "~", "\u{ffff}", "🦀", "_", "'",
    ];
    ok(save(&store, &view, (0, 1), &keys.map(|key| put(key, "{}"))).await);
    keys.sort_unstable();
    for limit in [1, 2, 7, keys.len(), 10_000] {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let page = list(&store, &view, listed.last().map(String::as_str), limit).await;
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page.into_iter().map(|found| found.key));
        }
        assert_eq!(listed, keys, "in pages of {limit}");
    }
    let later = list(&store, &view, Some("a!"), 1).await;
    assert_eq!(later, [document("a-b", "{}")]);
}

/// The top by a field is by number, whole or not, negative or not; then by key; without a number last.
pub async fn the_top_by_a_field_is_numeric_and_ends_with_what_has_no_number<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let view = prepared(&store, "balances").await;
    let documents = [
        ("minus_ten", r#"{"cents":-10}"#),
        ("minus_half", r#"{"cents":-0.5}"#),
        ("nine", r#"{"cents":9}"#),
        ("hundred", r#"{"cents":1e2}"#),
        ("ten", r#"{"cents":10.0}"#),
        ("ten_b", r#"{"cents":10}"#),
        ("quarter", r#"{"cents":9.25}"#),
        ("zero", r#"{"cents":0}"#),
        ("big", r#"{"cents":4294967296123}"#),
        ("x_missing", r#"{"other":5}"#),
        ("w_null", r#"{"cents":null}"#),
        ("v_text", r#"{"cents":"7000"}"#),
        ("u_nested", r#"{"deep":{"cents":1}}"#),
        ("t_list", r#"{"cents":[5]}"#),
    ];
    ok(save(&store, &view, (0, 1), &documents.map(|(key, json)| put(key, json))).await);
    let expected = [
        "big",
        "hundred",
        "ten",
        "ten_b",
        "quarter",
        "nine",
        "zero",
        "minus_half",
        "minus_ten",
        "t_list",
        "u_nested",
        "v_text",
        "w_null",
        "x_missing",
    ];
    for limit in [1, 3, 9, 12, 100] {
        let wanted: Vec<&str> = expected.into_iter().take(limit).collect();
        assert_eq!(top(&store, &view, "cents", limit).await, wanted, "the top {limit}");
    }
    assert_eq!(top(&store, &view, "other", 1).await, ["x_missing"]);
}

/// A field's name is a name: what looks like SQL or a path in it means nothing.
pub async fn the_top_by_an_odd_field_name_finds_that_field<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let view = prepared(&store, "balances").await;
    let fields = ["a.b", "it's", "$", "[0]", "a b", "é🦀", "quo\"te", "back\\slash", "'; DROP TABLE x; --", "0", "%"];
    let changes: Vec<_> = fields
        .iter()
        .map(|field| {
            put(&format!("has {field}"), &serde_json::json!({ *field: 1, "z": [2], "a": {"b": 3} }).to_string())
        })
        .collect();
    ok(save(&store, &view, (0, 1), &changes).await);
    for field in fields {
        assert_eq!(top(&store, &view, field, 1).await, [format!("has {field}")], "by {field:?}");
    }
}

/// Clearing a view deletes its documents and puts its checkpoint to the start; other views stay.
pub async fn a_cleared_view_starts_again<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let (view, other) = (prepared(&store, "balances").await, prepared(&store, "owners").await);
    for view in [&view, &other] {
        ok(save(&store, view, (0, 5), &[put("ann", "1"), put("bob", "2")]).await);
    }
    ok(patiently!(store.clear_view(&view)));
    assert_eq!(list(&store, &view, None, 10).await, []);
    assert_eq!(position_of(&store, &view).await, Some(0));
    assert_eq!((list(&store, &other, None, 10).await.len(), position_of(&store, &other).await), (2, Some(5)));
    assert_moved(save(&store, &view, (5, 6), &[put("ann", "9")]).await, 5, 0);
    ok(save(&store, &view, (0, 6), &[put("ann", "3")]).await);
    assert_eq!(list(&store, &view, None, 10).await, [document("ann", "3")]);
}

/// Of savers from the same position at the same time one gets through, with all its documents and no others.
pub async fn of_concurrent_saves_one_wins<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    let view = prepared(&store, "balances").await;
    for round in 0..4 {
        let results = together(6, |number| {
            let (store, view) = (stores[number % 2].clone(), view.clone());
            let json = format!("\"{round}-{number}\"");
            let changes = [put("a", &json), put("b", &json), put(&format!("{round}-{number}"), &json)];
            async move { save(&store, &view, (round, round + 1), &changes).await.map(|()| json) }
        })
        .await;
        let won: Vec<String> = results.into_iter().filter_map(Result::ok).collect();
        assert_eq!(won.len(), 1, "{} savers got through", won.len());
        let found = ok(store.documents(&view, &["a".to_owned(), "b".to_owned()]).await);
        assert!(found.iter().all(|found| found.body.as_str() == won[0]), "{found:?} is not of the winner");
        assert_eq!(list(&store, &view, None, 100).await.len() as u64, 2 + round + 1);
    }
}

/// As many documents as one call may read are written and read by one call; asking for more is refused.
pub async fn the_most_documents_are_read_at_once_and_more_are_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let view = prepared(&store, "balances").await;
    let limit = limits::MAX_DOCUMENTS_PER_READ;
    let mut keys: Vec<String> = (0..limit).map(|number| format!("{number:05}")).collect();
    let changes: Vec<_> = keys.iter().map(|key| put(key, "{\"cents\":1}")).collect();
    ok(save(&store, &view, (0, 1), &changes).await);
    assert_eq!(ok(store.documents(&view, &keys).await).len(), limit);
    let listed = list(&store, &view, None, limit).await;
    assert!(listed.iter().map(|found| &found.key).eq(&keys));
    keys.push("more".to_owned());
    assert_limit(store.documents(&view, &keys).await, limit, limit + 1);
    for query in [
        DocumentQuery::ByKey { after: None, limit: limit + 1 },
        DocumentQuery::TopByField { field: "cents".to_owned(), limit: limit + 1 },
    ] {
        assert_limit(store.list_documents(&view, &query).await, limit, limit + 1);
    }
    let longest = "é".repeat(limits::MAX_DOCUMENT_KEY_BYTES / 2);
    ok(save(&store, &view, (1, 2), &[put(&longest, "{}")]).await);
    assert_eq!(ok(store.documents(&view, std::slice::from_ref(&longest)).await), [document(&longest, "{}")]);
}

/// Numbers are compared exactly: integers beyond the exact ones of a float too, and among floats.
pub async fn numbers_of_any_size_are_ordered_exactly<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let view = prepared(&store, "balances").await;
    let descending = [
        "1e300",
        "340282366920938463463374607431768211455",
        "340282366920938463463374607431768211454",
        "1.8446744073709552e19",
        "18446744073709551615",
        "18446744073709551614",
        "9223372036854775808",
        "9223372036854775807",
        "9007199254740993",
        "9007199254740992.0",
        "0.30000000000000004",
        "0.3",
        "-0.0",
        "-9007199254740992.0",
        "-9007199254740993",
        "-9223372036854775808",
        "-9223372036854775809",
    ];
    let key_of = |index: usize| format!("{:02}", (index * 7) % 17);
    let changes: Vec<_> =
        (0..).zip(descending).map(|(index, n)| put(&key_of(index), &format!(r#"{{"n":{n}}}"#))).collect();
    ok(save(&store, &view, (0, 1), &changes).await);
    let expected: Vec<String> = (0..descending.len()).map(key_of).collect();
    assert_eq!(top(&store, &view, "n", 100).await, expected);
    for limit in 1..4 {
        assert_eq!(top(&store, &view, "n", limit).await, expected[..limit]);
    }
    let exactly = FieldQuery::new("n").equal_to(u64::MAX - 1);
    assert_eq!(found(&store, &view, exactly).await, [key_of(5)]);
    let between = FieldQuery::new("n").from(9_007_199_254_740_993_i64).to(u64::MAX).descending();
    assert_eq!(found(&store, &view, between).await, expected[4..9]);
}

async fn found<S: ConsumerStore>(store: &S, view: &ConsumerName, query: FieldQuery) -> Vec<String> {
    let documents = ok(store.list_documents(view, &DocumentQuery::ByField(query)).await);
    documents.into_iter().map(|found| found.key).collect()
}

/// By a field with numbers and texts: in both directions, in ranges, and page by page without a gap or a repeat.
pub async fn documents_are_found_by_ranges_of_a_field_page_by_page<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let view = prepared(&store, "orders").await;
    let ascending = [
        ("k", "-10"),
        ("b", "-0.5"),
        ("a", "0"),
        ("c", "0.0"),
        ("z", "9"),
        ("d", "10"),
        ("y", "1e1"),
        ("m", "100"),
        ("empty", r#""""#),
        ("ten", r#""10""#),
        ("Z", r#""Z""#),
        ("o1", r#""open""#),
        ("o2", r#""open""#),
        ("e", r#""\u00e9""#),
    ];
    let mut changes: Vec<_> =
        ascending.iter().map(|(key, value)| put(key, &format!(r#"{{"a \"b\"":{value}}}"#))).collect();
    changes.extend(["null", "true", "[1]", r#"{"n":1}"#].map(|other| put(other, &format!(r#"{{"a \"b\"":{other}}}"#))));
    changes.extend([put("missing", "{}"), put("no_object", "[1]")]);
    ok(save(&store, &view, (0, 1), &changes).await);
    let query = || FieldQuery::new("a \"b\"");
    let up: Vec<&str> = ascending.iter().map(|(key, _)| *key).collect();
    let down = ["e", "o1", "o2", "Z", "ten", "empty", "m", "d", "y", "z", "a", "c", "b", "k"];
    for (query, expected) in [
        (query(), up.as_slice()),
        (query().descending(), &down),
        (query().from(0).to(10), &["a", "c", "z", "d", "y"]),
        (query().from(0).to(10).descending(), &["d", "y", "z", "a", "c"]),
        (query().from(-0.5), &["b", "a", "c", "z", "d", "y", "m"]),
        (query().to(-0.25), &["k", "b"]),
        (query().equal_to("open"), &["o1", "o2"]),
        (query().equal_to(10), &["d", "y"]),
        (query().equal_to("10"), &["ten"]),
        (query().equal_to(""), &["empty"]),
        (query().from("Z"), &["Z", "o1", "o2", "e"]),
        (query().to("Z").descending(), &["Z", "ten", "empty"]),
        (query().from(0).to("Z"), &[]),
        (query().from(1).to(-1), &[]),
        (query().after(10, "d").limit(3), &["y", "m", "empty"]),
        (query().after("Z", "Z").limit(2).descending(), &["ten", "empty"]),
        (query().after("", "x").limit(1).descending(), &["m"]),
        (query().after(5, "x").to(10), &["z", "d", "y"]),
        (FieldQuery::new("nothing"), &[]),
    ] {
        assert_eq!(found(&store, &view, query.clone()).await, expected, "{query:?}");
    }
    for (start, expected) in [(query(), up.as_slice()), (query().descending(), &down)] {
        for limit in [1, 2, 5] {
            let (mut all, mut next) = (Vec::new(), start.clone().limit(limit));
            loop {
                let page = found(&store, &view, next).await;
                let Some(last) = page.last() else { break };
                let (_, value) = some(ascending.iter().find(|(key, _)| key == last), "the document");
                next = match ok(serde_json::from_str(value)) {
                    serde_json::Value::String(text) => start.clone().after(text, last),
                    _ => start.clone().after(FieldValue::Number((*value).to_owned()), last),
                }
                .limit(limit);
                all.extend(page);
            }
            assert_eq!(all, expected, "in pages of {limit}");
        }
    }
    let refused = store.list_documents(&view, &DocumentQuery::ByField(query().from(f64::INFINITY))).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
}

/// A view that is fed page by page holds what folding the events gives, and is read by its typed reader.
pub async fn a_view_is_the_fold_of_its_events<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let fold = ok(ViewFold::<Balance>::new());
    ok(patiently!(store.prepare_view(fold.name())));
    append(&store, &stream("ann"), vec![opened("Ann"), deposited(50), deposited(7)]).await;
    append(&store, &stream("bob"), vec![opened("Bob"), deposited(100)]).await;
    append(&store, &stream_in("customer", "ann"), vec![event("Moved", "{}")]).await;
    append(&store, &stream("cid"), vec![opened("Cid"), event("Closed", "{}")]).await;
    append(&store, &stream("ann"), vec![event("Withdrawn", r#"{"cents":27}"#)]).await;
    let (size, mut from) = (page_of(3), at(0));
    loop {
        let page = ok(store.read_all(from, fold.filter(), size).await);
        if page.scanned_to == from {
            break;
        }
        let open = ok(fold.open_page(page.events));
        let before = ok(store.documents(fold.name(), &open.keys()).await);
        let changes = ok(open.fold(before));
        ok(save(&store, fold.name(), (from.get(), page.scanned_to.get()), &changes).await);
        from = page.scanned_to;
    }
    assert_eq!(from.get(), head_of(&store).await);
    let balance = |owner: &str, cents, events| Balance { owner: owner.to_owned(), cents, events };
    let (ann, bob) = (balance("Ann", 30, 4), balance("Bob", 100, 2));
    let reader = harness.reopened(&store).await;
    let view = reader.view::<Balance>();
    assert_eq!(ok(view.get("ann").await), Some(ann.clone()));
    assert_eq!(ok(view.get_many(&["bob", "cid", "ann"]).await), [Some(bob.clone()), None, Some(ann.clone())]);
    assert_eq!(ok(view.list(None, 10).await), [("ann".to_owned(), ann.clone()), ("bob".to_owned(), bob.clone())]);
    assert_eq!(ok(view.top("cents", 10).await), [("bob".to_owned(), bob), ("ann".to_owned(), ann)]);
}

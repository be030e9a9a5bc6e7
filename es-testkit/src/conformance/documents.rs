//! The documents of views.

use es_core::{
    Advance, ConsumerName, ConsumerStore, ConsumerStoreExt, Document, DocumentChange, DocumentFold, DocumentQuery,
    EventStore, Payload, StoreError, ViewFold, limits,
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

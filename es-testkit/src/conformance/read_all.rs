//! Reading the whole log, by filters.

use es_core::{Append, EventFilter, EventStore, ExpectedVersion, PageSize, Position, RecordedEvent};

use super::support::*;
use crate::harness::StoreHarness;

/// An empty log has nothing, and a reader stays where it is.
pub async fn an_empty_log_is_an_empty_page<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let page = ok(store.read_all(Position::ZERO, &EventFilter::all(), page_of(10)).await);
    assert!(page.events.is_empty());
    assert_eq!((page.scanned_to, ok(store.head().await)), (Position::ZERO, Position::ZERO));
}

/// A reader goes on from the position that it has read, and gets every event once, in order.
pub async fn pages_of_any_size_give_the_log_once_and_in_order<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    for number in 0..6 {
        append(&store, &stream(&format!("s{}", number % 3)), deposits(2)).await;
    }
    let log = assert_whole(&store).await;
    assert_eq!(log.len(), 12);
    for size in [1, 2, 5, 11, 12, 13, 10_000] {
        assert_eq!(log_after(&store, Position::ZERO, &EventFilter::all(), page_of(size)).await, log);
    }
    for after in 0..=12 {
        let page = ok(store.read_all(Position::new(after), &EventFilter::all(), page_of(3)).await);
        assert_eq!(page.events, log[after as usize..].iter().take(3).cloned().collect::<Vec<_>>());
    }
}

/// Filters by category, type and stream, and their unions, pass what `EventFilter::matches` says, whatever the page.
pub async fn a_filter_passes_exactly_what_it_names<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let acme = ok(stream("ann").with_tenant("acme"));
    let customer = stream_in("customer", "ann");
    let types = ["Opened", "Deposited", "it's; \"odd\" %"];
    for name in [&stream("ann"), &stream("bob"), &acme, &customer, &stream_in("acc_unt", "ann")] {
        for event_type in types {
            append(&store, name, vec![event(event_type, "{}"), event("Closed", "{}")]).await;
        }
    }
    let all = EventFilter::all;
    let filters = [
        all(),
        all().or_category("account"),
        all().or_category("acc"),
        all().or_category("ACCOUNT"),
        all().or_category("acc_unt"),
        all().or_category("nothing"),
        all().or_type("account", "Opened"),
        all().or_type("account", "opened"),
        all().or_type("account", types[2]),
        all().or_type("customer", "Closed").or_type("customer", "Opened"),
        all().or_stream(stream("ann")),
        all().or_stream(acme.clone()),
        all().or_stream(stream("nobody")),
        all().or_category("customer").or_type("account", "Deposited").or_stream(acme),
        all().or_category("account").or_type("account", "Deposited").or_stream(stream("ann")),
        all().or_stream(stream("ann")).or_stream(stream("bob")).or_stream(customer),
    ];
    let log = assert_whole(&store).await;
    for filter in &filters {
        let wanted: Vec<RecordedEvent> =
            log.iter().filter(|event| filter.matches(event.stream(), event.event_type())).cloned().collect();
        for size in [1, 3, 1_000] {
            let passed = log_after(&store, Position::ZERO, filter, page_of(size)).await;
            assert_eq!(passed, wanted, "{filter:?} in pages of {size}");
        }
        let later = log_after(&store, Position::new(13), filter, page_of(4)).await;
        assert!(later.iter().eq(wanted.iter().filter(|event| event.position().get() > 13)), "{filter:?} after 13");
    }
}

/// `scanned_to` moves on past what a filter leaves out: to the head, if nothing more passes.
pub async fn a_narrow_filter_still_advances_to_the_head<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(20)).await;
    append(&store, &stream("rare"), vec![event("Rare", "{}")]).await;
    append(&store, &stream("ann"), deposits(9)).await;
    let head = Position::new(30);
    for filter in [
        EventFilter::all().or_type("account", "Nothing"),
        EventFilter::all().or_category("nothing"),
        EventFilter::all().or_stream(stream("nobody")),
    ] {
        let page = ok(store.read_all(Position::ZERO, &filter, page_of(5)).await);
        assert!(page.events.is_empty());
        assert_eq!(page.scanned_to, head, "{filter:?}");
    }
    let rare = EventFilter::all().or_type("account", "Rare");
    let page = ok(store.read_all(Position::ZERO, &rare, page_of(5)).await);
    assert_eq!((page.events.len(), page.scanned_to), (1, head));
    let page = ok(store.read_all(Position::new(21), &rare, page_of(5)).await);
    assert_eq!((page.events.len(), page.scanned_to), (0, head));
    // A page that is full may end at its last event, never before it, and never past one that it left out.
    let page = ok(store.read_all(Position::ZERO, &EventFilter::all().or_stream(stream("ann")), page_of(5)).await);
    assert_eq!((page.events.len(), page.scanned_to), (5, Position::new(5)));
}

/// A page that is not the last ends at its last event or later, but before the next event that passes.
pub async fn a_full_page_never_passes_an_event_that_it_left_out<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    for _ in 0..10 {
        append(&store, &stream("ann"), vec![event("Rare", "{}"), deposited(1), deposited(2)]).await;
    }
    let rare = EventFilter::all().or_type("account", "Rare");
    let mut after = Position::ZERO;
    for round in 0..5 {
        let page = ok(store.read_all(after, &rare, page_of(2)).await);
        let positions: Vec<u64> = page.events.iter().map(|event| event.position().get()).collect();
        assert_eq!(positions, [round * 6 + 1, round * 6 + 4]);
        let next = if round == 4 { 31 } else { (round + 1) * 6 + 1 };
        assert!((round * 6 + 4..next).contains(&page.scanned_to.get()), "scanned to {}", page.scanned_to);
        after = page.scanned_to;
    }
}

/// A reader that is ahead of the log (after a restored backup, say) gets nothing and is not moved back.
pub async fn reading_behind_the_head_gives_nothing_and_stays<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(3)).await;
    for after in [3, 4, 1_000, u64::from(u32::MAX) + 1] {
        let page = ok(store.read_all(Position::new(after), &EventFilter::all(), PageSize::default()).await);
        assert!(page.events.is_empty());
        assert_eq!(page.scanned_to, Position::new(after));
    }
}

/// A filter without selectors that wants nothing is not one that wants everything; its reader moves on to the head.
pub async fn a_filter_that_wants_nothing_gets_nothing_and_moves_on<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(3)).await;
    let page = ok(store.read_all(Position::ZERO, &EventFilter::none(), PageSize::default()).await);
    assert_eq!((page.events.len(), page.scanned_to), (0, Position::new(head_of(&store).await)));
    let page =
        ok(store.read_all(Position::ZERO, &EventFilter::none().or_category("account"), PageSize::default()).await);
    assert_eq!(page.events.len(), 3);
}

/// Everything up to the head is durable once that was waited for, and a page says so.
pub async fn what_was_waited_for_is_durable<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let appended = append(&store, &stream("ann"), deposits(3)).await;
    ok(store.wait_durable(appended.last_position).await);
    ok(store.wait_durable(Position::ZERO).await);
    let page = ok(store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await);
    assert!(page.durable_to >= appended.last_position, "durable to {} after waiting", page.durable_to);
    assert!(page.durable_to <= ok(store.head().await));
}

/// A store may keep what it has just stored in memory for readers that wait for hints: it is what the database has.
pub async fn whoever_follows_the_log_reads_what_every_other_handle_reads<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    append(&store, &stream("early"), deposits(2)).await;
    let _hints = store.wakeups();
    let filters = [
        EventFilter::all(),
        EventFilter::all().or_category("customer"),
        EventFilter::all().or_stream(stream("s1")).or_type("account", "Rare"),
    ];
    for round in 0..3 {
        // In one call of a store that gathers them, with some that are refused.
        let outcomes = together(6, |number| {
            let store = store.clone();
            async move {
                let (name, version) = (stream(&format!("s{}", number / 2)), exactly(round));
                send(&store, &append_to(&name, version, vec![event("Rare", "{}")])).await
            }
        });
        assert_eq!(outcomes.await.iter().filter(|outcome| outcome.is_ok()).count(), 3);
        if round == 1 {
            // What this handle did not store.
            append(&other, &stream("elsewhere"), deposits(2)).await;
        }
        let both = Append::builder()
            .and(stream_in("customer", "ann"), ExpectedVersion::Any, deposits(1))
            .and(stream("bob"), ExpectedVersion::Any, deposits(2))
            .build();
        let both = ok(both);
        ok(send(&store, &both).await);
        assert!(ok(send(&store, &both).await).repeated);
        for filter in &filters {
            for after in (0..=head_of(&store).await).map(Position::new) {
                for size in [1, 3, 1_000] {
                    let here = log_after(&store, after, filter, page_of(size)).await;
                    let there = log_after(&other, after, filter, page_of(size)).await;
                    assert_eq!(here, there, "after {after}, pages of {size}, {filter:?}");
                }
            }
        }
        let page = ok(store.read_all(Position::new(1), &EventFilter::all(), PageSize::default()).await);
        assert!(page.durable_to <= ok(store.head().await));
    }
}

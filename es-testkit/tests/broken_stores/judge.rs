//! Runs the suite on a broken store and tells which cases fail.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::Once,
    time::Duration,
};

use es_core::{MemoryStore, MemoryTransaction};
use es_testkit::{LedgerRow, MemoryHarness, MemoryLedger, StoreHarness, conformance};

use crate::{defect::Defect, inbox::BrokenUnit, store::BrokenStore};

/// Gives stores with one defect.
struct BrokenHarness(Defect);

impl StoreHarness for BrokenHarness {
    type Store = BrokenStore;
    type Unit = BrokenUnit;
    type Ledger = MemoryLedger;
    type Transaction = MemoryTransaction;

    const CONCURRENT_TRANSACTIONS: bool = true;

    async fn fresh(&self) -> BrokenStore {
        BrokenStore::new(MemoryStore::new(), self.0)
    }

    async fn reopened(&self, store: &BrokenStore) -> BrokenStore {
        store.clone()
    }

    async fn begin(&self, store: &BrokenStore) -> MemoryTransaction {
        MemoryHarness.begin(store.intact()).await
    }

    fn ledger(&self, name: &str) -> MemoryLedger {
        MemoryHarness.ledger(name)
    }

    async fn ledger_rows(&self, store: &BrokenStore, name: &str) -> Vec<LedgerRow> {
        MemoryHarness.ledger_rows(store.intact(), name).await
    }
}

/// The heaviest and slowest cases: run only for the defects that are meant for them.
const LEFT_OUT: [&str; 12] = [
    "the_limits_of_the_outbox_are_reached",
    "a_delayed_message_comes_at_its_time",
    "a_held_transaction_loses_nothing_and_keeps_nothing_else",
    "long_streams_count_on_and_a_read_for_rare_events_is_bounded",
    "a_page_ends_at_the_most_bytes",
    "a_snapshot_at_the_limit_is_kept_and_a_larger_one_is_refused",
    "large_blobs_are_kept_and_larger_ones_refused",
    "the_largest_dead_letters_are_kept_and_larger_ones_refused",
    "old_ids_are_forgotten_and_young_ones_kept",
    "no_message_is_handled_twice_while_partitions_turn",
    "the_largest_records_and_batches_are_kept_and_larger_ones_refused",
    "an_update_over_the_most_records_works_and_one_more_is_refused",
];

/// A case that waits this long, in a time that jumps whenever all tasks wait, waits for ever.
const FOR_EVER: Duration = Duration::from_secs(3_600);

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The names of the cases that a store with this defect fails.
pub(crate) fn failed_cases(defect: Defect, meant: &[&str]) -> Vec<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                loud(info);
            }
        }));
    });
    let is_quiet = defect != Defect::None;
    let mut failed = Vec::new();
    for case in conformance::cases::<BrokenHarness>() {
        if is_quiet && LEFT_OUT.contains(&case.name) && !meant.contains(&format!("{case:?}").as_str()) {
            continue;
        }
        // One thread: every task runs here, so the panics of all of them are quiet, and the order of tasks is their own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        IS_QUIET.set(is_quiet);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let harness = BrokenHarness(defect);
            runtime.block_on(async { tokio::time::timeout(FOR_EVER, (case.run)(&harness)).await })
        }));
        IS_QUIET.set(false);
        if !matches!(result, Ok(Ok(()))) {
            failed.push(format!("{case:?}"));
        }
    }
    failed
}

/// A store with this defect fails these cases, and not the whole suite.
#[track_caller]
pub(crate) fn assert_fails(defect: Defect, meant: &[&str]) {
    let failed = failed_cases(defect, meant);
    println!("{defect:?} fails {} cases: {failed:#?}", failed.len());
    for case in meant {
        assert!(failed.iter().any(|name| name == case), "{defect:?} passes {case}; it fails {failed:#?}");
    }
    assert!(failed.len() < 60, "{defect:?} fails {} cases: the defect is too coarse to prove a case", failed.len());
}

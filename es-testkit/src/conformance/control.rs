//! What operators do: suspend consumers, override checkpoints, retire consumers; and the log of it.

use std::time::Duration;

use es_core::{
    Advance, BuildClaim, CheckpointOverride, Claimed, ConsumerName, ConsumerStore, ControlStore, Direction,
    DocumentChange, DocumentQuery, EventStore, GenerationStore, LeaseStore, Leased, NewOperation, Operation,
    OperationKind, OperatorRequest, PageProjection, PageSize, Payload, Position, ProjectionStore, ReadModelDefinition,
    StoreError, SuspensionKind, limits,
};

use super::{
    checkpoints::{assert_moved, at, consumer, position_of},
    concurrency::dropped_at_random,
    projections::{catch_up, ledger},
    support::*,
};
use crate::{harness::StoreHarness, rng::SeededRng};

/// Long enough that it does not run out within a case.
const LEASE: Duration = Duration::from_secs(600);

fn request(by: &str) -> OperatorRequest {
    ok(OperatorRequest::by(by))
}

fn reasoned(by: &str) -> OperatorRequest {
    ok(request(by).because("because of it"))
}

/// Kinds and authors, newest first.
fn told(operations: &[Operation]) -> Vec<(String, String, String)> {
    let line = |operation: &Operation| {
        let NewOperation { kind, consumer, request, .. } = &operation.what;
        (kind.to_string(), consumer.to_string(), request.author().to_owned())
    };
    operations.iter().map(line).collect()
}

fn line(kind: &str, consumer: &str, by: &str) -> (String, String, String) {
    (kind.to_owned(), consumer.to_owned(), by.to_owned())
}

async fn log_of<S: ControlStore>(store: &S) -> Vec<Operation> {
    ok(store.operations(None, None, limits::MAX_OPERATIONS_PER_READ).await)
}

/// A consumer is suspended until it is resumed, in each way by itself; the log says by whom, and nothing that changed
/// nothing.
pub async fn a_consumer_is_suspended_until_it_is_resumed<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("mailer");
    let suspend = async |kind, request: &OperatorRequest| ok(patiently!(store.suspend(&name, kind, request)));
    let resume = async |kind, by: &str| ok(patiently!(store.resume(&name, kind, &request(by))));
    assert_eq!(ok(store.suspensions().await), []);
    assert!(!resume(SuspensionKind::Paused, "nobody").await);
    assert!(suspend(SuspensionKind::Paused, &reasoned("ann")).await);
    assert!(!suspend(SuspensionKind::Paused, &request("bob")).await, "suspended twice");
    let refused = patiently!(store.suspend(&name, SuspensionKind::Disabled, &request("bob")));
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "without a reason: {refused:?}");
    assert!(suspend(SuspensionKind::Disabled, &reasoned("bob")).await);
    // One suspension is for all generations.
    let later = name.in_generation(es_core::Generation::FIRST.next());
    assert!(!ok(patiently!(store.suspend(&later, SuspensionKind::Paused, &request("eve")))));
    assert!(ok(patiently!(store.suspend(&consumer("a_view"), SuspensionKind::Paused, &request("eve")))));
    let other = harness.reopened(&store).await;
    let suspended = ok(other.suspensions().await);
    let texts: Vec<_> = suspended
        .iter()
        .map(|suspended| (suspended.consumer.as_str(), suspended.kind.as_str(), suspended.by.as_str()))
        .collect();
    assert_eq!(texts, [("a_view", "paused", "eve"), ("mailer", "paused", "ann"), ("mailer", "disabled", "bob")]);
    assert_eq!((suspended[0].reason.as_deref(), suspended[1].reason.as_deref()), (None, Some("because of it")));
    let log = log_of(&other).await;
    assert_eq!(
        log.iter().map(|line| line.at).collect::<Vec<_>>(),
        [suspended[0].since, suspended[2].since, suspended[1].since]
    );
    assert!(resume(SuspensionKind::Paused, "eve").await);
    let left = ok(store.suspensions().await);
    assert_eq!(left, [suspended[0].clone(), suspended[2].clone()]);
    assert_eq!(
        told(&ok(store.operations(Some(&name), None, 10).await)),
        [line("resume", "mailer", "eve"), line("disable", "mailer", "bob"), line("pause", "mailer", "ann")]
    );
}

/// A checkpoint is overridden where that makes sense, and the log says from where; all else is refused with the reason,
/// and changes nothing.
pub async fn a_checkpoint_is_overridden_where_that_makes_sense<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(9)).await;
    let (mailer, balances) = (consumer("mailer"), consumer("balances"));
    let go = async |name: &ConsumerName, to| patiently!(store.override_checkpoint(name, to, &reasoned("ann")));
    let refused = go(&mailer, CheckpointOverride::Skip(at(3))).await;
    assert!(matches!(refused, Err(StoreError::CannotMove { .. })), "it never began: {refused:?}");
    for name in [&mailer, &balances] {
        ok(patiently!(store.move_checkpoint(&Advance::new(name, at(0), at(5)))));
    }
    ok(patiently!(store.live_generation(&balances, &ReadModelDefinition::default())));
    let unreasoned = patiently!(store.override_checkpoint(&mailer, CheckpointOverride::Skip(at(6)), &request("ann")));
    assert!(matches!(unreasoned, Err(StoreError::Refused { .. })), "without a reason: {unreasoned:?}");
    for (name, checkpoint_override) in [
        (&mailer, CheckpointOverride::Skip(at(4))),
        (&mailer, CheckpointOverride::Skip(at(10))),
        (&mailer, CheckpointOverride::Reset(at(6))),
        (&mailer, CheckpointOverride::ResetIdempotent(at(u64::MAX))),
        (&balances, CheckpointOverride::Reset(at(0))),
        (&balances, CheckpointOverride::Reset(at(4))),
    ] {
        let refused = go(name, checkpoint_override).await;
        let is_told = matches!(&refused, Err(StoreError::CannotMove { consumer, from, to, .. })
            if consumer == name && *from == at(5) && *to == checkpoint_override.to());
        assert!(is_told, "{name} {checkpoint_override:?}: {refused:?}");
        assert_eq!(position_of(&store, name).await, Some(5));
    }
    assert_eq!(log_of(&store).await, []);
    for (name, checkpoint_override, from) in [
        (&mailer, CheckpointOverride::Reset(at(0)), 5),
        (&mailer, CheckpointOverride::Skip(at(9)), 0),
        (&balances, CheckpointOverride::ResetIdempotent(at(2)), 5),
        (&balances, CheckpointOverride::Skip(at(3)), 2),
    ] {
        assert_eq!(ok(go(name, checkpoint_override).await), at(from));
        assert_eq!(position_of(&store, name).await, Some(checkpoint_override.to().get()));
        let newest = some(log_of(&store).await.into_iter().next(), "a line of the log");
        assert_eq!((newest.what.from, newest.what.to), (Some(at(from)), Some(checkpoint_override.to())));
        assert_eq!((newest.what.kind, newest.what.request), (checkpoint_override.kind(), reasoned("ann")));
    }
    // A generation that was live is kept as it was.
    let claim = ok(BuildClaim::new(&balances, "ann", ReadModelDefinition::default(), LEASE));
    let Claimed::Yours(next) = ok(patiently!(store.claim_build(&claim))) else { panic!("somebody else builds it") };
    ok(patiently!(store.make_live(&next.name, Direction::Back)));
    let refused = go(&balances, CheckpointOverride::Skip(at(9))).await;
    assert!(matches!(refused, Err(StoreError::StaleGeneration { .. })), "{refused:?}");
}

/// A page that was read before a checkpoint was overridden is lost: its runner learns where the checkpoint is.
pub async fn an_override_defeats_the_page_that_was_under_way<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(9)).await;
    let view = consumer("balances");
    let change = [DocumentChange { key: "ann".to_owned(), body: Some(ok(Payload::from_json("1"))) }];
    ok(patiently!(store.prepare_view(&view)));
    ok(patiently!(store.save_documents(&Advance::new(&view, at(0), at(2)), &change)));
    ok(patiently!(store.override_checkpoint(&view, CheckpointOverride::Skip(at(7)), &reasoned("ann"))));
    assert_moved(patiently!(store.save_documents(&Advance::new(&view, at(2), at(4)), &change)), 2, 7);
    assert_moved(patiently!(store.move_checkpoint(&Advance::new(&view, at(2), at(4)))), 2, 7);
    let audit = consumer("audit");
    let projection = ledger(harness, &store, "audit").await;
    let page = ok(store.read_all(Position::ZERO, projection.filter(), page_of(3)).await);
    ok(patiently!(store.apply_page(&projection, &Advance::new(&audit, at(0), page.scanned_to), &page.events)));
    let page = ok(store.read_all(at(3), projection.filter(), page_of(3)).await);
    ok(patiently!(store.override_checkpoint(&audit, CheckpointOverride::Skip(at(8)), &reasoned("ann"))));
    let lost = patiently!(store.apply_page(&projection, &Advance::new(&audit, at(3), page.scanned_to), &page.events));
    assert!(matches!(&lost, Err(es_core::ProjectionError::Store(StoreError::CheckpointMoved { .. }))), "{lost:?}");
    ok(patiently!(store.apply_page(&projection, &Advance::new(&audit, at(8), at(9)), &[])));
    assert_eq!(harness.ledger_rows(&store, "audit").await.len(), 3);
}

/// A call that is dropped half way has done what its line in the log says, or nothing, and left no line.
pub async fn a_dropped_order_happened_with_its_line_or_not_at_all<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(9)).await;
    let rng = SeededRng::from_env();
    let name = consumer("mailer");
    ok(patiently!(store.start_checkpoint(&name, at(5))));
    for round in 0..20_u64 {
        let to = at(5 - round % 2);
        let checkpoint_override =
            if round % 2 == 0 { CheckpointOverride::Skip(to) } else { CheckpointOverride::Reset(to) };
        dropped_at_random(&rng, store.override_checkpoint(&name, checkpoint_override, &reasoned("ann"))).await;
        ok(patiently!(store.override_checkpoint(&name, checkpoint_override, &reasoned("bob"))));
    }
    // A dropped call may end only now.
    let (log, position) = loop {
        let log = log_of(&store).await;
        let position = position_of(&store, &name).await;
        if log_of(&store).await == log {
            break (log, position);
        }
    };
    assert!(log.len() >= 20);
    let mut reached = Some(at(5));
    for line in log.iter().rev() {
        assert_eq!(line.what.from, reached, "a move before {line} left no line");
        reached = line.what.to;
    }
    assert_eq!(position, reached.map(Position::get), "the last move left no line");
}

/// The log is read newest first, page by page; of one consumer in all its generations, or of all.
pub async fn the_log_of_operations_is_read_newest_first<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let (one, two) = (consumer("one"), consumer("two"));
    let second = one.in_generation(es_core::Generation::FIRST.next());
    let longest = "r".repeat(limits::MAX_REASON_BYTES);
    let longest = ok(request(&"b".repeat(limits::MAX_METADATA_TEXT_BYTES)).because(&longest));
    for number in 0..6_u64 {
        let name = [&one, &two, &second][number as usize % 3];
        let kind = ok(OperationKind::new(&format!("kind-{number}")));
        let operation = NewOperation::new(kind, name.clone(), longest.clone()).moved(Some(at(number)), None);
        ok(patiently!(store.note(&operation)));
    }
    let numbers =
        |log: &[Operation]| log.iter().map(|line| line.what.from.map_or(9, Position::get)).collect::<Vec<_>>();
    let all = log_of(&harness.reopened(&store).await).await;
    assert_eq!(numbers(&all), [5, 4, 3, 2, 1, 0]);
    assert!(all.iter().all(|line| line.what.request == longest && line.what.to.is_none()));
    assert_eq!((&all[0].what.consumer, &all[1].what.consumer), (&second, &two));
    let page = ok(store.operations(None, Some(all[1].id), 2).await);
    assert_eq!(page, all[2..4]);
    assert_eq!(numbers(&ok(store.operations(Some(&one), None, 3).await)), [5, 3, 2]);
    assert_eq!(numbers(&ok(store.operations(Some(&second), Some(all[3].id), 9).await)), [0]);
    let too_many = limits::MAX_OPERATIONS_PER_READ + 1;
    assert_limit(store.operations(None, None, too_many).await, limits::MAX_OPERATIONS_PER_READ, too_many);
}

/// A retired consumer leaves nothing but its line in the log; others keep what they have.
pub async fn a_retired_consumer_leaves_nothing<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(9)).await;
    let (view, near, audit) = (consumer("balances"), consumer("balances_2"), consumer("audit"));
    let change = [DocumentChange { key: "ann".to_owned(), body: Some(ok(Payload::from_json("1"))) }];
    for name in [&view, &near] {
        ok(patiently!(store.live_generation(name, &ReadModelDefinition::default())));
        ok(patiently!(store.prepare_view(name)));
        ok(patiently!(store.save_documents(&Advance::new(name, at(0), at(3)), &change)));
        ok(patiently!(store.suspend(name, SuspensionKind::Paused, &request("ann"))));
    }
    let claim = ok(BuildClaim::new(&view, "ann", ReadModelDefinition::default(), LEASE));
    let Claimed::Yours(next) = ok(patiently!(store.claim_build(&claim))) else { panic!("somebody else builds it") };
    ok(patiently!(store.prepare_view(&next.name)));
    ok(patiently!(store.save_documents(&Advance::new(&next.name, at(0), at(4)), &change)));
    ok(patiently!(store.make_live(&next.name, Direction::Forward)));
    let projection = ledger(harness, &store, "audit").await;
    ok(patiently!(store.live_generation(&audit, &projection.definition())));
    catch_up(&store, &projection, PageSize::default()).await;

    let Leased::Yours(lease) = ok(patiently!(store.claim_lease(&view, "somebody", LEASE))) else {
        panic!("somebody else has the lease")
    };
    let refused = patiently!(store.retire_consumer(&view, &request("ann")));
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "without a reason: {refused:?}");
    let refused = patiently!(store.retire_consumer(&consumer("balance"), &reasoned("ann")));
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "nobody of that name: {refused:?}");
    for name in [&view, &audit] {
        ok(patiently!(store.retire_consumer(name, &reasoned("ann"))));
        assert_eq!(ok(store.generations(name).await), []);
        let newest = some(log_of(&store).await.into_iter().next(), "a line of the log");
        assert_eq!((newest.what.kind, &newest.what.consumer), (OperationKind::RETIRE, name));
        assert_eq!(newest.what.from, Some(at(if *name == view { 4 } else { 9 })));
    }
    let left: Vec<_> = ok(store.checkpoints().await).into_iter().map(|found| found.consumer).collect();
    assert_eq!(left, std::slice::from_ref(&near));
    let suspensions: Vec<_> = ok(store.suspensions().await).into_iter().map(|suspension| suspension.consumer).collect();
    assert_eq!(suspensions, std::slice::from_ref(&near));
    let query = DocumentQuery::ByKey { after: None, limit: 10 };
    assert_eq!(ok(store.list_documents(&near.live(), &query).await).len(), 1);
    // Whoever worked for it has lost its lease.
    let late = patiently!(store.move_checkpoint(&Advance::new(&view, at(0), at(1)).under(Some(lease))));
    assert!(matches!(late, Err(StoreError::LeaseLost { .. })), "{late:?}");
    assert_eq!(ok(store.leases().await), []);
    // Begun anew, they begin with nothing.
    ok(patiently!(store.live_generation(&view, &ReadModelDefinition::default())));
    ok(patiently!(store.prepare_view(&view)));
    assert_eq!(ok(store.list_documents(&view.live(), &query).await), []);
    ok(patiently!(store.save_documents(&Advance::new(&view, at(0), at(1)), &change)));
    assert_eq!(ok(store.list_documents(&view.live(), &query).await).len(), 1);
    let projection = ledger(harness, &store, "audit").await;
    assert_eq!(harness.ledger_rows(&store, "audit").await, []);
    ok(patiently!(store.live_generation(&audit, &projection.definition())));
    catch_up(&store, &projection, PageSize::default()).await;
    assert_eq!(harness.ledger_rows(&store, "audit").await.len(), 9);
}

/// What waits for nobody is not said to.
pub async fn a_store_that_is_idle_waits_for_nobody<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(1)).await;
    assert_eq!(ok(es_core::Diagnostics::waiting_on(&store).await), []);
}

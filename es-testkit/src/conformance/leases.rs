//! Leases: of several processes one works for a consumer, and who slept through the end of its lease writes nothing.

use std::time::Duration;

use es_core::{
    Advance, ConsumerName, ConsumerStore, ControlStore, DocumentChange, Lease, LeaseStore, Leased, OperatorRequest,
    Payload, StoreError,
};

use super::{
    checkpoints::{assert_moved, at, consumer, position_of},
    support::*,
};
use crate::harness::StoreHarness;

/// Nothing in a case takes so long.
const LONG: Duration = Duration::from_secs(600);
/// Over before anybody asks.
const OVER: Duration = Duration::ZERO;

async fn claim<S: LeaseStore>(store: &S, name: &str, owner: &str, time: Duration) -> Leased {
    ok(patiently!(store.claim_lease(&consumer(name), owner, time)))
}

#[track_caller]
fn lease(leased: Leased) -> Lease {
    match leased {
        Leased::Yours(lease) => lease,
        Leased::Taken(holder) => panic!("{} has the lease until {}", holder.owner, holder.until),
    }
}

#[track_caller]
fn owner(leased: Leased) -> String {
    match leased {
        Leased::Taken(holder) => {
            assert!(holder.since <= holder.until, "{holder:?}");
            holder.owner
        }
        Leased::Yours(lease) => panic!("the lease was free: {lease:?}"),
    }
}

#[track_caller]
fn is_lost(result: Result<(), StoreError>, name: &str) {
    match result {
        Err(StoreError::LeaseLost { consumer }) if consumer.as_str() == name => {}
        other => panic!("expected LeaseLost of {name}; got {other:?}"),
    }
}

/// A lease is one owner's until it runs out; their own claim again extends it, with the same fence. Then it is the next one's,
/// with a higher fence.
pub async fn a_lease_is_one_owners_until_it_runs_out<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    let first = lease(claim(&store, "mail", "ann", LONG).await);
    assert_eq!(first.time, LONG);
    assert_eq!(owner(claim(&other, "mail", "bob", LONG).await), "ann");
    // Another consumer's is another lease.
    lease(claim(&other, "balance", "bob", LONG).await);
    assert_eq!(lease(claim(&store, "mail", "ann", OVER).await).fence, first.fence);
    let second = lease(claim(&other, "mail", "bob", LONG).await);
    assert!(second.fence > first.fence, "{second:?} after {first:?}");
    assert_eq!(owner(claim(&store, "mail", "ann", LONG).await), "bob");
    let held: Vec<_> = ok(store.leases().await).into_iter().map(|(name, holder)| (name, holder.owner)).collect();
    assert_eq!(held, [(consumer("balance"), "bob".to_owned()), (consumer("mail"), "bob".to_owned())]);
    assert!(matches!(patiently!(store.claim_lease(&consumer("mail"), "", LONG)), Err(StoreError::InvalidName(_))));
}

/// Of many who claim a free lease at once one gets it.
pub async fn of_many_claims_at_once_one_wins<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    for _ in 0..3 {
        let claims = together(8, |number| {
            let store = stores[number % 2].clone();
            async move { (number, claim(&store, "mail", &format!("process {number}"), LONG).await) }
        })
        .await;
        let won: Vec<_> = claims.iter().filter(|(_, leased)| matches!(leased, Leased::Yours(_))).collect();
        assert_eq!(won.len(), 1, "{claims:?}");
        let winner = format!("process {}", won[0].0);
        for (_, leased) in claims.iter().filter(|(_, leased)| matches!(leased, Leased::Taken(_))) {
            assert_eq!(owner(leased.clone()), winner);
        }
        ok(patiently!(store.deregister(&winner)));
    }
}

/// Who slept through the end of its lease, and wakes after somebody else has claimed it, moves no checkpoint and changes no read
/// model, even if nothing was written since; the new owner does.
pub async fn an_owner_that_slept_through_its_lease_writes_nothing<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balance");
    let change = |body| [DocumentChange { key: "a".to_owned(), body: Some(Payload::trusted(body)) }];
    ok(patiently!(store.prepare_view(&name)));
    let old = lease(claim(&store, "balance", "ann", OVER).await);
    let go =
        async |lease, from, to| patiently!(store.move_checkpoint(&Advance::new(&name, at(from), at(to)).under(lease)));
    ok(go(Some(old), 0, 1).await);
    let new = lease(claim(&store, "balance", "bob", LONG).await);
    is_lost(go(Some(old), 1, 2).await, "balance");
    let save = async |lease, body| {
        let advance = Advance::new(&name, at(1), at(2)).under(Some(lease));
        patiently!(store.save_documents(&advance, &change(body)))
    };
    is_lost(save(old, "1").await, "balance");
    assert_eq!(position_of(&store, &name).await, Some(1));
    assert_eq!(ok(store.documents(&name, &["a".to_owned()]).await), []);
    ok(save(new, "2").await);
    assert_moved(go(Some(new), 1, 3).await, 1, 2);
    // Positions alone are compared where nobody holds a lease out.
    ok(go(None, 2, 3).await);
}

/// A lease that was given back is free, and nothing is written under it any more. Giving back one that somebody else has had since
/// does nothing.
pub async fn a_lease_that_was_given_back_is_free_and_nothing_is_written_under_it<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("mail");
    let first = lease(claim(&store, "mail", "ann", LONG).await);
    ok(patiently!(store.release_lease(&name, first)));
    assert_eq!(ok(store.leases().await), []);
    is_lost(patiently!(store.move_checkpoint(&Advance::new(&name, at(0), at(1)).under(Some(first)))), "mail");
    let second = lease(claim(&store, "mail", "bob", LONG).await);
    assert!(second.fence > first.fence);
    ok(patiently!(store.release_lease(&name, first)));
    assert_eq!(owner(claim(&store, "mail", "ann", LONG).await), "bob");
    ok(patiently!(store.move_checkpoint(&Advance::new(&name, at(0), at(1)).under(Some(second)))));
}

/// A heartbeat extends all leases of its sender, and tells every process the same of who would run what.
pub async fn a_heartbeat_extends_leases_and_is_seen_by_all<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    let names = [consumer("a"), consumer("b")];
    lease(claim(&store, "b", "ann", OVER).await);
    let membership = ok(patiently!(store.heartbeat("ann", &names, LONG)));
    assert_eq!(membership.held, [consumer("b")]);
    assert_eq!(owner(claim(&other, "b", "bob", LONG).await), "ann", "its lease was not extended");
    let membership = ok(patiently!(other.heartbeat("bob", &names[..1], LONG)));
    assert_eq!(membership.held, []);
    let members = |membership: es_core::Membership| {
        let pairs = membership.members.into_iter().map(|member| format!("{} {}", member.consumer, member.member));
        pairs.collect::<Vec<_>>()
    };
    assert_eq!(members(membership), ["a ann", "a bob", "b ann"]);
    // What it would run no more it is not a member of.
    assert_eq!(members(ok(patiently!(store.heartbeat("ann", &names[1..], LONG)))), ["a bob", "b ann"]);
    assert_eq!(
        members(ok(patiently!(other.heartbeat("bob", &names[..1], OVER)))).last().map(String::as_str),
        Some("b ann")
    );
    assert_eq!(members(ok(patiently!(store.heartbeat("ann", &[], LONG)))), Vec::<String>::new());
    ok(patiently!(store.deregister("ann")));
    lease(claim(&other, "b", "bob", LONG).await);
}

/// A lease that was seized is the seizer's: who had it writes nothing and claims it in vain, until it is given back or runs out.
pub async fn a_seized_lease_is_the_seizers_until_it_is_given_back_or_runs_out<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let (other, name) = (harness.reopened(&store).await, consumer("balance"));
    let seize = async |owner, time| ok(patiently!(other.seize_lease(&name, owner, time)));
    let first = lease(claim(&store, "balance", "ann", LONG).await);
    let seized = seize("swap", LONG).await;
    assert!(seized.fence > first.fence, "{seized:?} after {first:?}");
    is_lost(patiently!(store.move_checkpoint(&Advance::new(&name, at(0), at(1)).under(Some(first)))), "balance");
    assert_eq!(owner(claim(&store, "balance", "ann", LONG).await), "swap");
    assert_eq!(seize("swap", LONG).await.fence, seized.fence);
    assert_eq!(ok(patiently!(other.heartbeat("swap", &[], LONG))).held, [consumer("balance")]);
    ok(patiently!(other.deregister("swap")));
    assert!(lease(claim(&store, "balance", "ann", LONG).await).fence > seized.fence);
    seize("swap", OVER).await;
    let last = lease(claim(&store, "balance", "ann", LONG).await);
    ok(patiently!(store.move_checkpoint(&Advance::new(&name, at(0), at(1)).under(Some(last)))));
}

/// An operator revokes the leases of a consumer, of all its generations and partitions; it is noted. Other
/// consumers' are left.
pub async fn an_operator_revokes_the_leases_of_a_consumer<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let request = ok(ok(OperatorRequest::by("ann")).because("its host is gone"));
    let names = ["balance", "balance@2", "balance@2#3of8", "balances"];
    let mut held = Vec::new();
    for name in names {
        let name = ok(ConsumerName::parse(name));
        held.push(lease(ok(patiently!(store.claim_lease(&name, "dead", LONG)))));
    }
    assert!(matches!(
        patiently!(store.revoke_leases(&consumer("balance"), &ok(OperatorRequest::by("ann")))),
        Err(StoreError::Refused { .. })
    ));
    assert_eq!(ok(patiently!(store.revoke_leases(&consumer("balance"), &request))), 3);
    let left: Vec<_> = ok(store.leases().await).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, [consumer("balances")]);
    let name = consumer("balance");
    is_lost(patiently!(store.move_checkpoint(&Advance::new(&name, at(0), at(1)).under(Some(held[0])))), "balance");
    lease(claim(&store, "balance", "bob", LONG).await);
    let noted = ok(store.operations(Some(&name), None, 10).await);
    let noted: Vec<_> =
        noted.iter().map(|operation| (operation.what.kind.as_str(), operation.what.request.reason())).collect();
    assert_eq!(noted, [("lease-revoked", Some("its host is gone"))]);
    // Where nobody has one, there is nothing to note.
    assert_eq!(ok(patiently!(store.revoke_leases(&consumer("unknown"), &request))), 0);
    assert_eq!(ok(store.operations(None, None, 10).await).len(), 1);
}

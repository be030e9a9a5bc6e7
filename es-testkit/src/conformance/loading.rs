//! Loading aggregates from a store: as of any moment, from snapshots, past retired events.

use std::num::NonZeroU64;

use es_core::{
    Aggregate, AsOf, DomainEvent, EventStore, LoadError, Payload, Repository, Snapshot, SnapshotStore, Upcasters,
    Version, limits,
};
use serde::{Deserialize, Serialize};
use time::macros::datetime;

use super::{
    repository::{cents_of, deposit, open, withdraw},
    support::*,
};
use crate::{
    bank::{Account, AccountEvent},
    harness::StoreHarness,
};

fn every(events: u64) -> NonZeroU64 {
    NonZeroU64::new(events).unwrap_or(NonZeroU64::MIN)
}

/// The state at a version, as recorded by a time, and as of what had occurred by a time.
pub async fn an_aggregate_is_loaded_as_of_any_moment<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store);
    let days = [
        datetime!(2024-01-01 12:00 UTC),
        datetime!(2024-01-03 12:00 UTC),
        datetime!(2024-01-02 12:00 UTC),
        datetime!(2024-01-04 12:00 UTC),
    ];
    let commands = [open("Ann"), deposit(100), deposit(20), deposit(3)];
    let mut recorded = Vec::new();
    for (command, day) in commands.into_iter().zip(days) {
        let done = ok(accounts.execute("ann", command).occurred_at(day).await);
        recorded.push(some(done.appended.as_ref(), "an append").recorded_at);
    }
    let at = async |as_of| ok(accounts.load_at("ann", as_of).await).state.cents;
    for (version, cents) in [(0, 0), (1, 0), (2, 100), (3, 120), (4, 123)] {
        assert_eq!(at(AsOf::Version(Version::new(version))).await, cents, "at version {version}");
    }
    let in_future = accounts.load_at("ann", AsOf::Version(Version::new(5))).await;
    assert!(matches!(in_future, Err(LoadError::VersionInFuture { actual, .. }) if actual.get() == 4), "{in_future:?}");
    for (index, &time) in recorded.iter().enumerate() {
        let last = recorded.iter().rposition(|&other| other <= time).unwrap_or(index);
        assert_eq!(at(AsOf::Recorded(time)).await, [0, 100, 120, 123][last], "as recorded by {time}");
    }
    assert_eq!(at(AsOf::Recorded(datetime!(2000-01-01 00:00 UTC))).await, 0);
    let occurred = [(days[0], 0), (days[2], 20), (days[1], 120), (days[3], 123), (datetime!(2023-01-01 00:00 UTC), 0)];
    for (time, cents) in occurred {
        assert_eq!(at(AsOf::Occurred(time)).await, cents, "as of what occurred by {time}");
    }
}

/// A state that is loaded from a snapshot equals the fold of all events, at every version; and so does the snapshot.
pub async fn snapshots_change_no_state<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let plain = Repository::<Account>::new(&store).without_cache();
    let quick = plain.clone().with_snapshots(&store, every(3));
    ok(quick.execute("ann", open("Ann")).await);
    let mut snapshots = 0;
    for round in 1..=12 {
        let command = if round % 4 == 0 { withdraw(round) } else { deposit(10 * round) };
        let done = ok(quick.execute("ann", command).await);
        let (from_snapshot, folded) = (ok(quick.load("ann").await), ok(plain.load("ann").await));
        assert_eq!(from_snapshot.state, folded.state, "after command {round}");
        assert_eq!(done.state, folded.state);
        assert_eq!((from_snapshot.version, from_snapshot.last_event), (folded.version, folded.last_event));
        let Some(snapshot) = ok(store.load_snapshot(&stream("ann"), Account::aggregate_name()).await) else { continue };
        snapshots += 1;
        let then = ok(plain.load_at("ann", AsOf::Version(snapshot.version)).await);
        let saved: Account = ok(serde_json::from_str(snapshot.state.as_str()));
        assert_eq!((&saved, Some(snapshot.last_event)), (&*then.state, then.last_event), "at {}", snapshot.version);
    }
    assert!(snapshots >= 10, "a snapshot was there after {snapshots} of 12 commands");
    let kept = some(ok(store.load_snapshot(&stream("ann"), Account::aggregate_name()).await), "a snapshot");
    assert!(kept.version.get() >= 12, "the newest of 13 events, every 3: {}", kept.version);
    let others = Repository::<Account>::new(&harness.reopened(&store).await);
    ok(others.execute("ann", deposit(1_000)).await);
    assert_eq!(ok(quick.load("ann").await).state, ok(plain.load("ann").await).state);
}

/// A snapshot of another form of the state, or one that cannot be read, is as if it were not there.
pub async fn a_snapshot_of_another_form_is_ignored<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store).without_cache().with_snapshots(&store, every(2));
    ok(accounts.execute("ann", open("Ann")).await);
    ok(accounts.execute("ann", deposit(5)).await);
    let saved =
        some(ok(store.load_snapshot(&stream("ann"), Account::aggregate_name()).await), "a snapshot after two events");
    let lie = |fingerprint: &str, json: &str| {
        let state = ok(Payload::from_json(json));
        Snapshot::new(
            stream("ann"),
            Account::aggregate_name(),
            Version::new(2),
            saved.last_event,
            fingerprint.to_owned(),
            state,
        )
    };
    let lies =
        [lie("0:something", r#"{"owner":"Eve","cents":1000000}"#), lie(&saved.fingerprint, r#"{"cents":"many"}"#)];
    for lie in lies {
        ok(patiently!(store.save_snapshot(&lie)));
        assert_eq!(cents_of(&accounts, "ann").await, 5);
    }
    ok(accounts.execute("ann", deposit(1)).await);
    ok(accounts.execute("ann", deposit(1)).await);
    let renewed = some(ok(store.load_snapshot(&stream("ann"), Account::aggregate_name()).await), "a snapshot");
    assert_eq!((renewed.version.get(), renewed.fingerprint), (4, saved.fingerprint));
    assert_eq!(cents_of(&accounts, "ann").await, 7);
}

/// What was withdrawn from an account, for a limit: another aggregate over the events of [`Account`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Withdrawals {
    owner: String,
    cents: i64,
}

impl Aggregate for Withdrawals {
    type Event = AccountEvent;
    type Command = ();
    type Error = std::convert::Infallible;

    fn handle(&self, (): &()) -> Result<Vec<AccountEvent>, Self::Error> {
        Ok(Vec::new())
    }

    fn apply(&mut self, event: &AccountEvent) {
        if let AccountEvent::Withdrawn { cents } = event {
            self.cents += cents;
        }
    }
}

/// Aggregates over one category have the same streams, and can have the same fields. Each is loaded from its own
/// snapshots.
pub async fn aggregates_over_one_category_decide_by_their_own_snapshots<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store).without_cache().with_snapshots(&store, every(1));
    let withdrawals = Repository::<Withdrawals>::new(&store).without_cache().with_snapshots(&store, every(1));
    ok(accounts.execute("ann", open("Ann")).await);
    ok(accounts.execute("ann", deposit(100)).await);
    let both = async |cents, withdrawn| {
        assert_eq!(cents_of(&accounts, "ann").await, cents);
        assert_eq!(ok(withdrawals.load("ann").await).state.cents, withdrawn);
    };
    both(100, 0).await;
    let withdrawn = || std::future::ready(Ok(vec![AccountEvent::Withdrawn { cents: 30 }]));
    ok(withdrawals.execute_with("ann", move |_| withdrawn()).await);
    both(70, 30).await;
    ok(accounts.execute("ann", withdraw(1)).await);
    both(69, 31).await;
    // Neither has pushed the other's out.
    for aggregate in [Account::aggregate_name(), Withdrawals::aggregate_name()] {
        some(ok(store.load_snapshot(&stream("ann"), aggregate).await), aggregate);
    }
}

/// A parcel as older code knew it.
#[derive(Serialize, Deserialize)]
enum ParcelEventOfOld {
    Sent,
    LabelPrinted { copies: u8 },
}

impl DomainEvent for ParcelEventOfOld {
    const CATEGORY: &'static str = "parcel";
}

/// A parcel of today: labels are of no interest any more.
#[derive(Serialize, Deserialize)]
enum ParcelEvent {
    Sent,
    Received,
}

impl DomainEvent for ParcelEvent {
    const CATEGORY: &'static str = "parcel";

    fn upcasters() -> Upcasters<Self> {
        Upcasters::none().retire("LabelPrinted")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the parcel was not sent")]
struct NotSent;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Parcel {
    sent: u32,
    received: u32,
}

impl Aggregate for Parcel {
    type Event = ParcelEvent;
    type Command = ();
    type Error = NotSent;

    fn handle(&self, (): &()) -> Result<Vec<ParcelEvent>, NotSent> {
        if self.sent == 0 { Err(NotSent) } else { Ok(vec![ParcelEvent::Received]) }
    }

    fn apply(&mut self, event: &ParcelEvent) {
        match event {
            ParcelEvent::Sent => self.sent += 1,
            ParcelEvent::Received => self.received += 1,
        }
    }
}

/// A stream whose last event is of a retired type goes on: the next command counts on from it.
pub async fn a_retired_last_event_does_not_block_the_next_command<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = stream_in(ParcelEvent::CATEGORY, "p-1");
    let types = |events: &[ParcelEventOfOld]| {
        events
            .iter()
            .map(|old| match old {
                ParcelEventOfOld::Sent => event("Sent", "{}"),
                ParcelEventOfOld::LabelPrinted { copies } => {
                    event("LabelPrinted", &format!(r#"{{"copies":{copies}}}"#))
                }
            })
            .collect::<Vec<_>>()
    };
    let label = || ParcelEventOfOld::LabelPrinted { copies: 2 };
    append(&store, &name, types(&[ParcelEventOfOld::Sent, label(), label()])).await;
    let parcels = Repository::<Parcel>::new(&store).with_conflict_retries(0).without_cache();
    let quick = parcels.clone().with_snapshots(&store, every(2));
    for (repository, version) in [(&parcels, 3), (&quick, 5), (&quick, 7)] {
        let loaded = ok(repository.load("p-1").await);
        assert_eq!((loaded.state.sent, loaded.version.get()), (1, version));
        let done = ok(repository.execute("p-1", ()).await);
        assert_eq!(done.version.get(), version + 1);
        append(&store, &name, types(&[label()])).await;
    }
    assert_eq!(*ok(quick.load("p-1").await).state, Parcel { sent: 1, received: 3 });
}

/// Histories longer than a page are loaded whole, and the streams of tenants are apart.
pub async fn long_histories_and_tenants_are_loaded_whole_and_apart<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store);
    let acme = accounts.clone().for_tenant("acme");
    ok(accounts.execute("ann", open("Ann")).await);
    append(&store, &stream("ann"), (0..limits::DEFAULT_PAGE_EVENTS * 2).map(|_| deposited(1)).collect()).await;
    ok(acme.execute("ann", open("Ann of Acme")).await);
    let done = ok(accounts.execute("ann", deposit(1)).await);
    assert_eq!(done.state.cents, limits::DEFAULT_PAGE_EVENTS as i64 * 2 + 1);
    assert_eq!(cents_of(&acme, "ann").await, 0);
    assert_eq!(ok(store.head().await).get(), limits::DEFAULT_PAGE_EVENTS as u64 * 2 + 3);
}

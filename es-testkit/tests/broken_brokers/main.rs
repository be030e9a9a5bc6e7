//! The suite of brokers is tested, too: brokers that are broken on purpose must each fail the case meant for them, and the same
//! wrapper without a defect must pass every case.

mod broker;
mod defect;

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    panic::{self, AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, Once, atomic::AtomicU64},
    time::Duration,
};

use async_trait::async_trait;
use broker::BrokenBroker;
use defect::Defect;
use es_messaging::{Broker, Subscription};
use es_testkit::broker_conformance::{BrokerAbilities, BrokerHarness, MemoryBrokerHarness, cases};

/// Gives a broker with one defect.
struct BrokenHarness {
    intact: MemoryBrokerHarness,
    defect: Defect,
    declared: Arc<Mutex<Vec<Subscription>>>,
    members: Arc<AtomicU64>,
}

impl BrokenHarness {
    fn new(defect: Defect) -> Self {
        Self { intact: MemoryBrokerHarness::new(), defect, declared: Arc::default(), members: Arc::default() }
    }
}

#[async_trait]
impl BrokerHarness for BrokenHarness {
    fn abilities(&self) -> BrokerAbilities {
        let mut abilities = self.intact.abilities();
        abilities.deduplicates = self.defect == Defect::DeliversTwice;
        abilities
    }

    fn prefix(&self) -> &str {
        self.intact.prefix()
    }

    async fn connect(&self) -> Arc<dyn Broker> {
        let (inner, declared, members) = (self.intact.broker().clone(), self.declared.clone(), self.members.clone());
        Arc::new(BrokenBroker { inner, defect: self.defect, members, declared })
    }

    async fn restart(&self) {
        self.intact.restart().await;
        if self.defect == Defect::ForgetsOnRestart {
            let all = self.declared.lock().unwrap().clone();
            for subscription in all {
                let member = self.intact.broker().subscriber(&subscription).await.unwrap();
                let held = member.receive(usize::MAX, Duration::ZERO).await.unwrap();
                let settled = held.iter().map(|one| (one.receipt, es_messaging::Settlement::Ack)).collect();
                member.settle(settled).await.unwrap();
            }
        }
    }

    async fn set_reachable(&self, reachable: bool) {
        self.intact.set_reachable(reachable).await;
    }

    async fn dead_letters(&self, subscription: &Subscription) -> Vec<String> {
        self.intact.dead_letters(subscription).await
    }
}

/// A case that waits this long, in a time that jumps whenever all tasks wait, waits for ever.
const FOR_EVER: Duration = Duration::from_secs(3_600);

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The names of the cases that a broker with this defect fails.
fn failed_cases(defect: Defect) -> Vec<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                loud(info);
            }
        }));
    });
    let mut failed = Vec::new();
    for case in cases::<BrokenHarness>() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        IS_QUIET.set(defect != Defect::None);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let harness = BrokenHarness::new(defect);
            runtime.block_on(async { tokio::time::timeout(FOR_EVER, (case.run)(&harness)).await })
        }));
        IS_QUIET.set(false);
        if !matches!(result, Ok(Ok(()))) {
            failed.push(format!("{case:?}"));
        }
    }
    failed
}

#[test]
fn the_intact_wrapper_passes_every_case() {
    assert_eq!(failed_cases(Defect::None), Vec::<String>::new());
}

/// What is wrong if a broker with this defect passes the case meant for it, or fails too many others.
fn passes(defect: Defect, meant: &str) -> Option<String> {
    let failed = failed_cases(defect);
    println!("{defect:?} fails {} cases: {failed:#?}", failed.len());
    if !failed.iter().any(|name| name == meant) {
        return Some(format!("{defect:?} passes {meant}; it fails {failed:?}"));
    }
    (failed.len() >= 25).then(|| format!("{defect:?} fails {} cases: too coarse to prove a case", failed.len()))
}

macro_rules! broken {
    ($($defect:ident => $subject:ident::$case:ident;)*) => {
        #[test]
        fn every_broken_broker_is_found_by_the_case_meant_for_it() {
            let missed: Vec<String> = [$((Defect::$defect, concat!(stringify!($subject), "::", stringify!($case)))),*]
                .into_iter()
                .filter_map(|(defect, meant)| passes(defect, meant))
                .collect();
            assert!(missed.is_empty(), "{missed:#?}");
            assert_eq!([$(Defect::$defect),*], Defect::ALL, "every defect is judged");
        }
    };
}

broken! {
    ConfirmsWhatItDrops => publishing::what_was_confirmed_is_received;
    ConfirmsDuringOutages => faults::nothing_confirmed_is_lost_when_the_server_is_killed;
    ReordersAKey => order::one_member_gets_each_key_in_order;
    ForgetsKeys => order::several_members_get_each_key_in_order;
    LosesOnClose => settling::a_closed_member_gives_back_at_once;
    LosesOnDrop => settling::what_a_lost_member_held_comes_again;
    DeliversTwice => publishing::a_message_published_twice_is_there_once_or_twice;
    LosesHeaders => publishing::every_attribute_and_content_survives;
    RewritesContent => publishing::every_attribute_and_content_survives;
    PassesTheFailed => publishing::nothing_passes_an_unpublished_message_of_its_key;
    ForgetsAcks => settling::what_was_acknowledged_does_not_come_again;
    NeverTakesBack => settling::an_unsettled_message_comes_again_after_its_time;
    IgnoresExtend => settling::an_unsettled_message_comes_again_after_its_time;
    IgnoresDelay => settling::a_retried_message_comes_again_after_its_delay;
    ForgetsRetries => settling::a_retried_message_comes_again_after_its_delay;
    CountsNothing => settling::deliveries_are_counted;
    LosesRejected => settling::a_rejected_message_is_a_dead_letter;
    IgnoresPrefetch => delivery::prefetch_bounds_what_a_member_holds;
    GivesTooMany => delivery::no_more_messages_come_than_are_asked_for;
    WidensWildcards => delivery::wildcards_choose_topics;
    ConfirmsUnroutable => publishing::what_nobody_receives_is_refused;
    MakesWhatIsMissing => settling::an_undeclared_subscription_is_missing;
    SharesOneQueue => delivery::each_subscription_gets_every_message;
    CopiesToMembers => delivery::members_share_the_messages_of_a_subscription;
    TakesTooLarge => publishing::a_large_message_is_carried_and_a_larger_one_refused;
    AcksOnReceipt => delivery::a_dropped_receive_loses_nothing;
    PublisherNeverComesBack => faults::a_publisher_fails_soon_and_comes_back;
    PublisherHangs => faults::a_publisher_fails_soon_and_comes_back;
    MemberNeverComesBack => faults::a_member_goes_on_after_an_outage;
    ConfusesTopics => publishing::one_message_for_two_topics_is_received_from_both;
    ForgetsOnRestart => faults::what_was_confirmed_survives_the_server;
}

#[test]
fn every_public_case_is_in_the_list() {
    let listed: BTreeSet<String> = cases::<MemoryBrokerHarness>().iter().map(|case| format!("{case:?}")).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/broker_conformance");
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let subject = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for line in fs::read_to_string(&path).unwrap().lines() {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                written.insert(format!("{subject}::{}", rest.split(['<', '(']).next().unwrap()));
            }
        }
    }
    assert!(written.len() >= 35, "only {} cases were found in the source", written.len());
    assert_eq!(listed, written, "the list in broker_conformance/mod.rs is every case of the source");
}

//! The conformance suite of brokers: what every broker must do, one case for each promise.
//!
//! A broker runs it with its own [`BrokerHarness`]:
//!
//! ```
//! # mod test {
//! es_testkit::broker_conformance!(es_testkit::broker_conformance::MemoryBrokerHarness::new());
//! # }
//! ```
//!
//! This makes a test of each case, in modules by subject. The expression is evaluated inside each test's runtime, and may await. What
//! a broker cannot do, its [`BrokerAbilities`] say; cases about that are skipped, and print so.

pub mod delivery;
pub mod faults;
mod harness;
mod memory;
pub mod order;
pub mod publishing;
pub mod settling;
mod support;

use uuid::Uuid;

pub use crate::TcpProxy;
pub use harness::{BrokerAbilities, BrokerHarness};
pub use memory::MemoryBrokerHarness;

use crate::conformance::Case;

/// A prefix for the names of one case, which no other has.
pub fn unique_prefix() -> String {
    format!("c{}", Uuid::now_v7().simple())
}

/// Gives every case, subject by subject, to another macro: the one list of the suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __broker_cases {
    ($callback:ident!($($argument:tt)*)) => {
        $crate::$callback! { ($($argument)*)
            publishing {
                what_was_confirmed_is_received
                messages_wait_for_their_receivers
                every_attribute_and_content_survives
                batches_of_a_thousand_are_confirmed
                a_large_message_is_carried_and_a_larger_one_refused
                nothing_passes_an_unpublished_message_of_its_key
                a_message_published_twice_is_there_once_or_twice
                one_message_for_two_topics_is_received_from_both
                what_nobody_receives_is_refused
                tasks_share_a_publisher
            }
            delivery {
                each_subscription_gets_every_message
                members_share_the_messages_of_a_subscription
                wildcards_choose_topics
                overlapping_topics_give_a_message_once
                prefetch_bounds_what_a_member_holds
                receiving_waits_for_a_message
                no_more_messages_come_than_are_asked_for
                a_dropped_receive_loses_nothing
                what_is_no_message_holds_up_nothing
            }
            order {
                one_member_gets_each_key_in_order
                several_members_get_each_key_in_order
                a_lost_member_leaves_its_keys_in_order
                what_comes_again_keeps_its_place
            }
            settling {
                what_was_acknowledged_does_not_come_again
                what_a_lost_member_held_comes_again
                a_closed_member_gives_back_at_once
                a_closed_connection_gives_back_what_it_held
                an_unsettled_message_comes_again_after_its_time
                a_retried_message_comes_again_after_its_delay
                deliveries_are_counted
                a_rejected_message_is_a_dead_letter
                what_is_declared_again_keeps_its_messages
                an_undeclared_subscription_is_missing
            }
            faults {
                nothing_confirmed_is_lost_when_the_server_is_killed
                what_was_confirmed_survives_the_server
                a_publisher_fails_soon_and_comes_back
                a_member_goes_on_after_an_outage
                outages_lose_nothing_and_keep_the_order
            }
        }
    };
}

/// Makes one test of each case of the suite, on the broker that a
/// [`BrokerHarness`](crate::broker_conformance::BrokerHarness) gives. See the [module](mod@crate::broker_conformance).
#[macro_export]
macro_rules! broker_conformance {
    ($harness:expr $(,)?) => {
        /// The harness of the conformance suite; made anew inside each test's runtime.
        async fn broker_harness() -> impl $crate::broker_conformance::BrokerHarness {
            $harness
        }
        $crate::__broker_cases! { __broker_tests!() }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __broker_tests {
    (() $($subject:ident { $($case:ident)* })*) => {
        $(mod $subject {
            $(#[test]
            fn $case() {
                $crate::__private::run_case(async {
                    let harness = super::broker_harness().await;
                    $crate::broker_conformance::$subject::$case(&harness).await;
                });
            })*
        })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __broker_list {
    (($harness:ident) $($subject:ident { $($case:ident)* })*) => {
        vec![$($($crate::conformance::Case {
            subject: stringify!($subject),
            name: stringify!($case),
            run: |harness: &$harness| Box::pin($crate::broker_conformance::$subject::$case(harness)),
        },)*)*]
    };
}

/// Every case of the suite as a value: for whoever judges brokers by program, as the suite's own tests do.
pub fn cases<H: BrokerHarness>() -> Vec<Case<H>> {
    __broker_cases! { __broker_list!(H) }
}

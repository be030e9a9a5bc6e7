//! RabbitMQ keeps every promise of a broker that it makes: all of them with quorum queues, and with a single active consumer and with
//! classic queues those that depend on the kind of queue.

mod support;

mod quorum_queues {
    es_testkit::broker_conformance!(crate::support::RabbitMqHarness::new(Default::default()));
}

/// Some of the cases.
macro_rules! cases {
    ($harness:expr; $($subject:ident::$case:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $case() {
            es_testkit::broker_conformance::$subject::$case(&$harness).await;
        })*
    };
}

mod single_active_consumer {
    cases! {
        crate::support::RabbitMqHarness::single_active();
        delivery::each_subscription_gets_every_message,
        order::several_members_get_each_key_in_order,
        order::a_lost_member_leaves_its_keys_in_order,
        order::what_comes_again_keeps_its_place,
        settling::a_closed_member_gives_back_at_once,
        settling::what_is_declared_again_keeps_its_messages,
    }
}

mod classic_queues {
    cases! {
        crate::support::RabbitMqHarness::classic();
        publishing::batches_of_a_thousand_are_confirmed,
        publishing::every_attribute_and_content_survives,
        delivery::members_share_the_messages_of_a_subscription,
        order::one_member_gets_each_key_in_order,
        order::what_comes_again_keeps_its_place,
        settling::what_a_lost_member_held_comes_again,
        settling::a_retried_message_comes_again_after_its_delay,
        settling::deliveries_are_counted,
        settling::a_rejected_message_is_a_dead_letter,
        settling::what_is_declared_again_keeps_its_messages,
        faults::nothing_confirmed_is_lost_when_the_server_is_killed,
        faults::what_was_confirmed_survives_the_server,
    }
}

//! RabbitMQ keeps every promise of a broker that it makes: with quorum queues, with a single active consumer, with classic queues.

mod support;

mod quorum_queues {
    es_testkit::broker_conformance!(crate::support::RabbitMqHarness::new(Default::default()));
}

mod single_active_consumer {
    es_testkit::broker_conformance!(crate::support::RabbitMqHarness::single_active());
}

mod classic_queues {
    es_testkit::broker_conformance!(crate::support::RabbitMqHarness::classic());
}

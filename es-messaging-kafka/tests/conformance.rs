//! Kafka keeps every promise of a broker, on Tansu.

mod tansu;

es_testkit::broker_conformance!(tansu::TansuHarness::new());

//! The broker inside the process keeps every promise of a broker.

es_testkit::broker_conformance!(es_testkit::broker_conformance::MemoryBrokerHarness::new());

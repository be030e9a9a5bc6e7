//! SQS and SNS keep every promise of a broker, on moto, with fifo queues.

mod moto;

es_testkit::broker_conformance!(moto::MotoHarness::new(true));

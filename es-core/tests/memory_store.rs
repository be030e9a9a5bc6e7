//! The store in memory keeps every promise of a store.

es_testkit::conformance!(es_testkit::MemoryHarness);

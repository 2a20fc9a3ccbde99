//! The memory adapter passes all of the suite.

pubsub_testkit::conformance_tests!(pubsub_testkit::conformance::MemoryHarness::new());

//! Two seconds of every target on each run of the tests.

use std::time::Duration;

use pubsub_fuzz::{TARGETS, run, seeds_folder};

#[test]
fn no_target_panics() {
    for target in TARGETS {
        let report = run(*target, &seeds_folder(), 1, Duration::from_secs(2)).unwrap();
        assert!(report.crash.is_none(), "{}: {:?}", target.name, report.crash);
        assert!(report.accepted > 0, "{}: no input was accepted, so nothing was checked", target.name);
    }
}

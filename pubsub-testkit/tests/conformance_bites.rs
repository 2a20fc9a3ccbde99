//! Every case finds every fault that it says it finds, and no case is without one.

#![allow(missing_docs)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub_testkit::{
    conformance::{Bounds, Case, MemoryHarness, Size, cases, execute},
    faulty::{Fault, FaultyHarness},
};

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for case in cases() {
        let toothless = case.bites.is_empty();
        trials.push(Trial::test(format!("{} names a fault", case.id), move || match toothless {
            true => Err("the case names no fault that it finds".into()),
            false => Ok(()),
        }));
        for &fault in case.bites {
            trials.push(Trial::test(format!("{} finds {fault:?}", case.id), move || bites(case, fault)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn bites(case: Case, fault: Fault) -> Result<(), Failed> {
    // Short waits: what does not come by then would not come at all, as the healthy run shows.
    let bounds = Bounds::default()
        .waits(Duration::from_millis(1_000), Duration::from_millis(500))
        .quiet(Duration::from_millis(100))
        .lease(Duration::from_millis(150))
        .ends(Duration::from_millis(500), Duration::from_secs(6));
    let harness = FaultyHarness::new(Arc::new(MemoryHarness::new()), fault, bounds);
    match execute(Arc::new(harness), case, Size::Default).verdict {
        Err(_) => Ok(()),
        Ok(()) => Err(format!("passes over an adapter with the fault {fault:?}").into()),
    }
}

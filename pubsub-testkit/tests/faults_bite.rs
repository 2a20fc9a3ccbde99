//! Every case of the fault suite finds every flaw that it says it finds, and no case is without one. The broker is
//! pretended, and its adapter has the flaw.

#![allow(missing_docs)]

use std::{process::ExitCode, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub_testkit::{
    conformance::Size,
    faults::{FaultBounds, FaultCase, Flaw, Simulated, cases, chaos, execute},
};

/// Long enough for nine faults, three of them killed consumers.
const CHAOS: &str = "seed=168 seconds=24 rate=500";

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for case in cases() {
        let toothless = case.bites.is_empty();
        trials.push(Trial::test(format!("{} names a flaw", case.id), move || match toothless {
            true => Err("the case names no flaw that it finds".into()),
            false => Ok(()),
        }));
        // Otherwise a failure might come from the short waits alone.
        trials.push(Trial::test(format!("{} passes with short waits", case.id), move || passes(case)));
        for &flaw in case.bites {
            trials.push(Trial::test(format!("{} finds {flaw:?}", case.id), move || bites(case, flaw)));
        }
    }
    trials.push(Trial::test("chaos passes with short waits", || {
        Ok(chaos(Simulated::new(None), short(), CHAOS).map_err(|failure| failure.to_string())?)
    }));
    for flaw in [Flaw::LosesOnReturn, Flaw::NeverRecovers, Flaw::KeepsDead, Flaw::Reorders, Flaw::ConfirmsInOutage] {
        let run = move || match chaos(Simulated::new(Some(flaw)), short(), CHAOS) {
            Err(_) => Ok(()),
            Ok(()) => Err(format!("passes over an adapter with the flaw {flaw:?}").into()),
        };
        trials.push(Trial::test(format!("chaos finds {flaw:?}"), run));
    }
    let mut arguments = Arguments::from_args();
    // They wait far more than they work.
    arguments.test_threads.get_or_insert(12);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What does not come by then would not come at all, also on a machine with other work.
fn short() -> FaultBounds {
    let second = Duration::from_secs(1);
    let mut bounds = FaultBounds::default();
    bounds = bounds.healing(second * 4, second * 4).takeover(second * 4).lease(second / 2);
    bounds.silence = second * 4;
    bounds.publish = second;
    bounds.case(second * 60)
}

fn passes(case: FaultCase) -> Result<(), Failed> {
    Ok(execute(Simulated::new(None), case, short(), Size::Default).map_err(|failure| failure.to_string())?)
}

fn bites(case: FaultCase, flaw: Flaw) -> Result<(), Failed> {
    match execute(Simulated::new(Some(flaw)), case, short(), Size::Default) {
        Err(_) => Ok(()),
        Ok(()) => Err(format!("passes over an adapter with the flaw {flaw:?}").into()),
    }
}

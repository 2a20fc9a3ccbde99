//! Every case finds every fault that it says it finds, and no case is without one.

#![allow(missing_docs)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub_core::driver::{Adapter, async_trait};
use pubsub_testkit::{
    conformance::{Bounds, Case, Harness, MemoryHarness, Minimum, Size, cases, execute},
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
        // Otherwise a failure might come from the short waits alone.
        trials.push(Trial::test(format!("{} passes with short waits", case.id), move || passes(case)));
        for &fault in case.bites {
            trials.push(Trial::test(format!("{} finds {fault:?}", case.id), move || bites(case, fault)));
        }
    }
    let mut arguments = Arguments::from_args();
    // They wait far more than they work.
    arguments.test_threads.get_or_insert(24);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What does not come by then would not come at all, also on a machine with other work.
fn short() -> Bounds {
    Bounds::default()
        .waits(Duration::from_secs(4), Duration::from_secs(3))
        .quiet(Duration::from_millis(100))
        .lease(Duration::from_millis(600))
        .ends(Duration::from_secs(2), Duration::from_secs(20))
}

fn passes(case: Case) -> Result<(), Failed> {
    Ok(execute(Arc::new(Short), case, Size::Default).verdict.map_err(|failure| failure.to_string())?)
}

fn bites(case: Case, fault: Fault) -> Result<(), Failed> {
    match execute(Arc::new(FaultyHarness::new(Arc::new(Short), fault, short())), case, Size::Default).verdict {
        Err(_) => Ok(()),
        Ok(()) => Err(format!("passes over an adapter with the fault {fault:?}").into()),
    }
}

/// The memory adapter with short waits.
struct Short;

#[async_trait]
impl Harness for Short {
    fn name(&self) -> &str {
        "memory with short waits"
    }

    async fn adapter(&self, world: &str) -> pubsub_core::Result<Arc<dyn Adapter>> {
        MemoryHarness::new().adapter(world).await
    }

    fn minimum(&self) -> Minimum {
        MemoryHarness::new().minimum()
    }

    async fn strict(&self, world: &str) -> pubsub_core::Result<Arc<dyn Adapter>> {
        MemoryHarness::new().strict(world).await
    }

    fn bounds(&self) -> Bounds {
        short()
    }
}

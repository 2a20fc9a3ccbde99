//! A memory adapter that hides a feature refuses what needs it: each feature that some case needs, one after the other.

#![allow(missing_docs)]

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use pubsub_core::driver::Feature;
use pubsub_testkit::{
    conformance::{Case, MemoryHarness, Size, cases, execute},
    faulty::{Fault, FaultyHarness, MaskedHarness},
};

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for (index, feature) in Feature::ALL.iter().enumerate() {
        let hidden = &Feature::ALL[index..=index];
        for case in cases().into_iter().filter(|case| case.needs.contains(feature)) {
            let name = format!("{} without {}", case.id, feature.as_str());
            trials.push(Trial::test(name, move || refuses(case, hidden)));
        }
        let probed = cases().into_iter().find(|case| case.needs.contains(feature));
        if let Some(case) = probed {
            let name = format!("{}: silence about missing {} is found", case.id, feature.as_str());
            trials.push(Trial::test(name, move || finds_silence(case, hidden)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The case becomes the assertion that the feature is refused, and that holds.
fn refuses(case: Case, hidden: &'static [Feature]) -> Result<(), libtest_mimic::Failed> {
    let harness = MaskedHarness::new(Arc::new(MemoryHarness::new()), hidden);
    let outcome = execute(Arc::new(harness), case, Size::Default);
    if !outcome.unsupported {
        return Err("the case ran although what it needs is hidden".into());
    }
    Ok(outcome.verdict.map_err(|failure| failure.to_string())?)
}

/// That assertion fails for an adapter that accepts what it does not declare.
fn finds_silence(case: Case, hidden: &'static [Feature]) -> Result<(), libtest_mimic::Failed> {
    let masked = Arc::new(MaskedHarness::new(Arc::new(MemoryHarness::new()), hidden));
    let bounds = pubsub_testkit::conformance::Harness::bounds(&*masked);
    let harness = FaultyHarness::new(masked, Fault::SilentUnsupported, bounds);
    let outcome = execute(Arc::new(harness), case, Size::Default);
    match outcome.verdict {
        Err(_) if outcome.unsupported => Ok(()),
        Err(failure) => Err(format!("the case itself ran, and failed: {failure}").into()),
        Ok(()) => Err("the probe did not notice".into()),
    }
}

//! A memory adapter that hides a feature refuses what needs it: one feature after the other.

#![allow(missing_docs)]

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub_core::driver::{Capabilities, Feature, Support};
use pubsub_testkit::{
    conformance::{Case, Harness, MemoryHarness, Minimum, Size, Verdict, cases, execute, failed},
    faulty::{Fault, FaultyHarness, MaskedHarness},
};

fn main() -> ExitCode {
    let mut trials = vec![
        Trial::test("an adapter that declares nothing fails", declares_nothing),
        Trial::test("an adapter that declares less than its minimum fails", declares_less),
    ];
    for (index, feature) in Feature::ALL.iter().enumerate() {
        let hidden = &Feature::ALL[index..=index];
        for case in cases().into_iter().filter(|case| case.needs.contains(feature)) {
            let name = format!("{} without {}", case.id, feature.as_str());
            trials.push(Trial::test(name, move || refuses(case, hidden)));
        }
        // Also for features that no case needs yet.
        let probe = Case { id: "probe", title: feature.as_str(), needs: hidden, bites: &[], run: |_| Box::pin(ran()) };
        trials.push(Trial::test(format!("asking for {} is refused", feature.as_str()), move || refuses(probe, hidden)));
        let name = format!("silence about missing {} is found", feature.as_str());
        trials.push(Trial::test(name, move || finds_silence(probe, hidden)));
    }
    let mut arguments = Arguments::from_args();
    // They wait far more than they work.
    arguments.test_threads.get_or_insert(8);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn declares_nothing() -> Result<(), Failed> {
    let nothing = Capabilities::new("nothing");
    match Minimum::new().check(&nothing).is_err() && MemoryHarness::new().minimum().check(&nothing).is_err() {
        true => Ok(()),
        false => Err("it passed".into()),
    }
}

fn declares_less() -> Result<(), Failed> {
    for &feature in Feature::ALL {
        let less = Capabilities::new("less").with(Support::Native, Feature::ALL).with(Support::Emulated, &[feature]);
        if MemoryHarness::new().minimum().check(&less).is_ok() {
            return Err(format!("{} was declared too low, and it passed", feature.as_str()).into());
        }
    }
    Ok(())
}

async fn ran() -> Verdict {
    failed("a refusal", "the case ran")
}

/// The case becomes the assertion that the feature is refused, and that holds.
fn refuses(case: Case, hidden: &'static [Feature]) -> Result<(), Failed> {
    let harness = MaskedHarness::new(Arc::new(MemoryHarness::new()), hidden);
    let outcome = execute(Arc::new(harness), case, Size::Default);
    if !outcome.unsupported {
        return Err("the case ran although what it needs is hidden".into());
    }
    Ok(outcome.verdict.map_err(|failure| failure.to_string())?)
}

/// That assertion fails for an adapter that accepts what it does not declare.
fn finds_silence(case: Case, hidden: &'static [Feature]) -> Result<(), Failed> {
    let masked = Arc::new(MaskedHarness::new(Arc::new(MemoryHarness::new()), hidden));
    let bounds = masked.bounds();
    let harness = FaultyHarness::new(masked, Fault::SilentUnsupported, bounds);
    let outcome = execute(Arc::new(harness), case, Size::Default);
    match outcome.verdict {
        Err(_) if outcome.unsupported => Ok(()),
        Err(failure) => Err(format!("the case itself ran, and failed: {failure}").into()),
        Ok(()) => Err("the probe did not notice".into()),
    }
}

//! What a run of the suite gives to print.

use std::{fmt, time::Duration};

use super::{Case, Verdict};

/// What became of one case.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The case.
    pub case: Case,
    /// Whether the adapter lacks what the case needs, so that the refusal was asserted instead.
    pub unsupported: bool,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// An outcome.
    pub fn new(case: Case, unsupported: bool, verdict: Verdict, took: Duration) -> Self {
        Self { case, unsupported, verdict, took }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.unsupported { " [unsupported]" } else { "" };
        write!(f, "{}{mark}: {} ", self.case.id, self.case.title)?;
        match &self.verdict {
            Ok(()) => write!(f, "… ok ({} ms)", self.took.as_millis()),
            Err(failure) => write!(f, "… FAILED: {failure}"),
        }
    }
}

/// What became of all cases.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The adapter's name.
    pub adapter: String,
    /// Whether the adapter declares its minimum.
    pub declaration: Verdict,
    /// One per case.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// A report.
    pub fn new(adapter: impl Into<String>, declaration: Verdict, outcomes: Vec<Outcome>) -> Self {
        Self { adapter: adapter.into(), declaration, outcomes }
    }

    /// Whether everything passed.
    pub fn passed(&self) -> bool {
        self.declaration.is_ok() && self.outcomes.iter().all(|outcome| outcome.verdict.is_ok())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "adapter `{}`", self.adapter)?;
        if let Err(failure) = &self.declaration {
            writeln!(f, "declaration … FAILED: {failure}")?;
        }
        for outcome in &self.outcomes {
            writeln!(f, "{outcome}")?;
        }
        let failed = self.outcomes.iter().filter(|outcome| outcome.verdict.is_err()).count();
        let refused = self.outcomes.iter().filter(|outcome| outcome.unsupported && outcome.verdict.is_ok()).count();
        let passed = self.outcomes.len() - failed - refused;
        write!(f, "{passed} passed, {refused} refused as unsupported, {failed} failed")
    }
}

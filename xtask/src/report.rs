//! What the terminal shows: one line per part, the end of a failed part's log, a summary.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use crate::Fault;
use crate::failures::Failure;

/// Tests as libtest counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Counts {
    /// Adds up all lines such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
    pub(crate) fn of_log(log: &str) -> Self {
        let mut counts = Self::default();
        for line in log.lines().filter_map(|line| line.trim_start().strip_prefix("test result: ")) {
            let number = |what: &str| {
                line.split([';', '.'])
                    .filter_map(|field| field.trim().strip_suffix(what))
                    .find_map(|number| number.trim().parse::<u64>().ok())
                    .unwrap_or_default()
            };
            counts += Self { passed: number("passed"), failed: number("failed"), ignored: number("ignored") };
        }
        counts
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// How a part ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// It passed, and this should be known.
    Noted(String),
    Failed(String),
}

/// What a part's work comes to; a fault is a failure of the part.
pub(crate) type Outcome = Result<(Verdict, Counts), Fault>;

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) counts: Counts,
    pub(crate) took: Duration,
    /// The tests that failed, and why.
    pub(crate) failures: Vec<Failure>,
}

/// How many lines of the summary tell why tests failed, so that whoever sees only the end sees all of it.
const REASONS: usize = 45;

impl Row {
    pub(crate) fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_)) || self.counts.failed > 0
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match &self.verdict {
            _ if self.failed() => "FAILED",
            _ => "ok",
        };
        write!(f, "{word:<7}{:>7.1} s", self.took.as_secs_f64())?;
        let Counts { passed, failed, ignored } = self.counts;
        if self.counts != Counts::default() {
            write!(f, "  {passed} passed, {failed} failed, {ignored} ignored")?;
        }
        match &self.verdict {
            Verdict::Passed => Ok(()),
            Verdict::Noted(note) | Verdict::Failed(note) => write!(f, "  ({note})"),
        }
    }
}

/// Which tests failed and how their reports begin, as far as there is room; for a part that failed otherwise, why.
fn reasons(rows: &[Row]) -> String {
    let failed: Vec<_> = rows.iter().filter(|row| row.failed()).collect();
    let count: usize = failed.iter().map(|row| row.failures.len().max(1)).sum();
    // One line of each is its name; one of all says how many there was no room for.
    let each = (REASONS / count.max(1)).saturating_sub(1);
    let mut lines = Vec::new();
    for row in failed {
        for failure in &row.failures {
            lines.push(format!("{}: {}", row.name, failure.test));
            lines.extend(failure.report.iter().take(each).map(|line| format!("    {line}")));
        }
        if let (true, Verdict::Failed(why)) = (row.failures.is_empty(), &row.verdict) {
            lines.push(format!("{}: {why}", row.name));
        }
    }
    let left = lines.len().saturating_sub(REASONS);
    lines.truncate(REASONS);
    if left > 0 {
        lines.push(format!("{left} more lines in the logs"));
    }
    lines.into_iter().map(|line| format!("\n{}", clipped(&line))).collect()
}

/// A line that does not become several on a terminal.
fn clipped(line: &str) -> String {
    const WIDTH: usize = 240;
    let mut first = line.lines().next().unwrap_or_default().chars();
    let text: String = first.by_ref().take(WIDTH).collect();
    if first.next().is_some() { text + "…" } else { text }
}

/// The last lines; the very last is always `N passed, N failed`, for programs that read it.
pub(crate) fn summary(rows: &[Row], logs: &str) -> String {
    let mut total = Counts::default();
    for row in rows {
        total += row.counts;
        // A part that failed without a failed test (a lint, a compiler error) is one failure.
        total.failed += u64::from(row.failed() && row.counts.failed == 0);
    }
    let names =
        |wanted: fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).map(|row| row.name).collect::<Vec<_>>();
    let failed = names(Row::failed);
    let took: Duration = rows.iter().map(|row| row.took).sum();
    let mut text = reasons(rows);
    text += &format!("\n{} parts in {:.0} s; logs in {logs}", rows.len(), took.as_secs_f64());
    if !failed.is_empty() {
        text += &format!("\nFAILED: {}", failed.join(", "));
    }
    if total.ignored > 0 {
        text += &format!("\n{} ignored", total.ignored);
    }
    text + &format!("\n{} passed, {} failed", total.passed, total.failed)
}

/// The end of a log, where the reason usually is.
pub(crate) fn tail(log: &str) -> String {
    const LINES: usize = 60;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s
noise passed; 5 failed
test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    fn row(verdict: Verdict, counts: Counts) -> Row {
        Row { name: "part", verdict, counts, took: Duration::ZERO, failures: Vec::new() }
    }

    fn failing(count: usize, lines: usize) -> Row {
        let report = vec!["x".repeat(1_000); lines];
        let failure = |number| Failure { test: format!("test {number}"), report: report.clone() };
        let failures = (0..count).map(failure).collect();
        Row { failures, ..row(Verdict::Failed("cargo failed".into()), Counts { failed: 1, ..Counts::default() }) }
    }

    #[test]
    fn the_summary_says_which_tests_failed_and_why() {
        let text = summary(&[failing(2, 3), row(Verdict::Failed("a lint".into()), Counts::default())], "logs");
        let lines: Vec<_> = text.trim_start().lines().collect();
        assert_eq!((lines[0], lines[4], lines[8]), ("part: test 0", "part: test 1", "part: a lint"));
        assert!(lines[1].starts_with("    xxx") && lines[1].ends_with('…') && lines[1].chars().count() < 250);
    }

    #[test]
    fn the_last_lines_hold_all_that_failed() {
        for (tests, lines) in [(1, 20), (4, 20), (20, 20), (200, 5)] {
            let text = summary(&[failing(tests, lines)], "logs");
            assert!(text.lines().count() <= 55, "{tests}: {}", text.lines().count());
            assert_eq!(text.matches("part: test").count(), tests.min(REASONS), "{tests}");
        }
    }

    #[test]
    fn results_are_added_up() {
        assert_eq!(Counts::of_log(LOG), Counts { passed: 14, failed: 3, ignored: 1 });
        assert_eq!(Counts::of_log("nothing ran"), Counts::default());
    }

    #[test]
    fn the_summary_ends_with_the_totals() {
        let good = Counts { passed: 5, ..Counts::default() };
        let rows = [row(Verdict::Passed, good), row(Verdict::Noted("none".into()), Counts::default())];
        assert!(summary(&rows, "logs").ends_with("\n5 passed, 0 failed"));
    }

    #[test]
    fn a_failed_part_without_a_failed_test_counts_as_one() {
        let rows = [
            row(Verdict::Failed("a lint".into()), Counts::default()),
            row(Verdict::Failed("tests".into()), Counts { passed: 1, failed: 2, ignored: 0 }),
        ];
        assert!(summary(&rows, "logs").ends_with("\n1 passed, 3 failed"));
    }

    #[test]
    fn failed_tests_fail_a_part_whatever_its_command_said() {
        assert!(row(Verdict::Passed, Counts { passed: 1, failed: 1, ignored: 0 }).failed());
    }
}

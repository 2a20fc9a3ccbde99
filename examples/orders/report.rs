//! The outcome: a table of at most 80 columns, or JSON.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    dead_letters::DeadLetter,
    failure::Failure,
    groups::NAMES,
    intake::{Intake, Rejected},
    ledger::Ledger,
    order::Reason,
    reconcile::Verdict,
};

/// How wide the table may be.
const WIDTH: usize = 80;
/// How many ids a finding lists; JSON has them all.
const LISTED: usize = 5;

/// What became of the input. The fields are what `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    reconciled: bool,
    input: String,
    adapter: &'static str,
    elapsed_ms: u128,
    read: u64,
    accepted: usize,
    rejected: u64,
    rejected_by: BTreeMap<Reason, Rejected>,
    groups: Vec<GroupReport>,
    dead_letters: Vec<DeadLetter>,
}

/// What one group did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupReport {
    group: &'static str,
    applied: usize,
    dead: usize,
    failures: u64,
    repeats: u64,
    out_of_order: u64,
    #[serde(flatten)]
    verdict: Verdict,
}

impl GroupReport {
    fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.out_of_order == 0
    }
}

impl Report {
    pub(crate) fn new(
        input: String,
        adapter: &'static str,
        intake: Intake,
        ledgers: &[Arc<Ledger>; 3],
        dead_letters: Vec<DeadLetter>,
        verdicts: Vec<Verdict>,
        elapsed: Duration,
    ) -> Self {
        let group = |((group, ledger), verdict): ((&'static str, &Arc<Ledger>), Verdict)| {
            let pages = ledger.pages();
            GroupReport {
                group,
                applied: pages.entries.len(),
                dead: dead_letters.iter().filter(|letter| letter.group == group).count(),
                failures: pages.failures,
                repeats: pages.repeats,
                out_of_order: pages.out_of_order,
                verdict,
            }
        };
        let groups: Vec<_> = NAMES.into_iter().zip(ledgers).zip(verdicts).map(group).collect();
        let (read, accepted, rejected) = (intake.read, intake.accepted(), intake.rejected());
        let reconciled = read == accepted as u64 + rejected && groups.iter().all(GroupReport::is_clean);
        Self {
            reconciled,
            input,
            adapter,
            elapsed_ms: elapsed.as_millis(),
            read,
            accepted,
            rejected,
            rejected_by: intake.rejected,
            groups,
            dead_letters,
        }
    }

    /// Whether everything is accounted for.
    pub(crate) fn reconciled(&self) -> bool {
        self.reconciled
    }

    /// The table, or one JSON object.
    pub(crate) fn text(&self, json: bool) -> Result<String, Failure> {
        if !json {
            return Ok(self.to_string());
        }
        serde_json::to_string_pretty(self).map_err(|error| Failure::Run(format!("cannot write the report: {error}")))
    }

    fn input_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14}{:>6}  first one", "input", "lines")?;
        writeln!(f, "{:<14}{:>6}", "read", self.read)?;
        writeln!(f, "{:<14}{:>6}", "accepted", self.accepted)?;
        writeln!(f, "{:<14}{:>6}", "rejected", self.rejected)?;
        for (reason, rejected) in &self.rejected_by {
            let first = format!("line {}: {}", rejected.line, rejected.first);
            row(f, &format!("{:<14}{:>6}  {first}", reason.to_string(), rejected.count))?;
        }
        Ok(())
    }

    fn group_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<14}{:>8}{:>6}{:>6}{:>7}{:>9}", "group", "applied", "dead", "lost", "twice", "unknown")?;
        writeln!(f, "{:>10}{:>9}{:>9}", "failures", "repeats", "ordered")?;
        for group in &self.groups {
            let GroupReport { group: name, applied, dead, failures, repeats, verdict, .. } = group;
            let (lost, twice, unknown) = (verdict.lost.len(), verdict.twice.len(), verdict.unknown.len());
            let ordered = if group.out_of_order == 0 { "yes" } else { "NO" };
            write!(f, "{name:<14}{applied:>8}{dead:>6}{lost:>6}{twice:>7}{unknown:>9}")?;
            writeln!(f, "{failures:>10}{repeats:>9}{ordered:>9}")?;
        }
        Ok(())
    }

    /// Dead letters by group, reason and attempts, each with one of its orders.
    fn dead_letter_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds = BTreeMap::<_, (usize, &DeadLetter)>::new();
        for letter in &self.dead_letters {
            kinds.entry((letter.group, letter.attempts, &letter.reason)).or_insert((0, letter)).0 += 1;
        }
        writeln!(f, "{:<14}{:>8}{:>10}  reason", "dead letters", "orders", "attempts")?;
        for ((group, attempts, reason), (count, first)) in kinds {
            let example = format!("{reason} ({}, line {})", first.order_id, first.line);
            row(f, &format!("{group:<14}{count:>8}{attempts:>10}  {example}"))?;
        }
        Ok(())
    }

    /// What does not add up.
    fn findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in self.groups.iter().filter(|group| !group.is_clean()) {
            let Verdict { lost, twice, unknown, misjudged } = &group.verdict;
            let findings = [("lost", lost), ("twice", twice), ("unknown", unknown), ("misjudged", misjudged)];
            for (finding, ids) in findings.into_iter().filter(|(_, ids)| !ids.is_empty()) {
                let listed: Vec<_> = ids.iter().take(LISTED).map(String::as_str).collect();
                let more = if ids.len() > LISTED { ", …" } else { "" };
                writeln!(f, "{}: {} {finding}: {}{more}", group.group, ids.len(), listed.join(", "))?;
            }
            if group.out_of_order > 0 {
                writeln!(f, "{}: {} applied out of order", group.group, group.out_of_order)?;
            }
        }
        Ok(())
    }
}

/// A line of the table, cut where it would be too wide.
fn row(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text.char_indices().nth(WIDTH - 1) {
        Some((cut, last)) if text.len() > cut + last.len_utf8() => writeln!(f, "{}…", &text[..cut]),
        _ => writeln!(f, "{text}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed_ms as f64 / 1000.0;
        writeln!(f, "{} over {}, {seconds:.1} s\n", self.input, self.adapter)?;
        self.input_table(f)?;
        writeln!(f)?;
        self.group_table(f)?;
        writeln!(f)?;
        if !self.dead_letters.is_empty() {
            self.dead_letter_table(f)?;
            writeln!(f)?;
        }
        self.findings(f)?;
        let (sum, read) = (self.accepted as u64 + self.rejected, self.read);
        let equals = if sum == read { "=" } else { "is not" };
        writeln!(f, "read {read} {equals} accepted {} + rejected {}", self.accepted, self.rejected)?;
        let outcome =
            if self.reconciled { "reconciled: nothing lost, nothing twice" } else { "NOT reconciled: see above" };
        f.write_str(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report {
        let verdicts = vec![Verdict::default(), verdict, Verdict::default()];
        let ledgers = Default::default();
        Report::new("test".to_owned(), "memory", Intake::default(), &ledgers, Vec::new(), verdicts, Duration::ZERO)
    }

    #[test]
    fn one_lost_order_in_one_group_fails_the_whole() {
        assert!(report(Verdict::default()).reconciled());
        let report = report(Verdict { lost: ["A-1".to_owned()].into(), ..Verdict::default() });
        assert!(!report.reconciled());
        let table = report.to_string();
        assert!(table.contains("stock: 1 lost: A-1\n") && table.ends_with("NOT reconciled: see above"), "{table}");
    }
}

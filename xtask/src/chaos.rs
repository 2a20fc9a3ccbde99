//! `cargo xtask chaos`: the fault suites' programs run at random instead of by cases, one broker after the other.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use pubsub_testkit::broker::BrokerKind;

use crate::Fault;
use crate::install::{self, Consent};
use crate::log::Log;
use crate::workspace::Workspace;

/// One run on one broker is not longer, so that all have their turn soon.
const SLICE: u64 = 120;

const COLUMNS: [&str; 11] = [
    "broker",
    "seed",
    "seconds",
    "published",
    "confirmed",
    "delivered",
    "duplicates",
    "lost",
    "out of order",
    "silence",
    "faults",
];

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ChaosOptions {
    pub(crate) minutes: Option<u64>,
    pub(crate) seed: Option<u64>,
    /// Empty means all.
    pub(crate) brokers: Vec<BrokerKind>,
    pub(crate) consent: Consent,
}

/// Returns whether nothing was lost.
pub(crate) fn run(workspace: &Workspace, options: &ChaosOptions) -> Result<bool, Fault> {
    let brokers = if options.brokers.is_empty() { BrokerKind::ALL.to_vec() } else { options.brokers.clone() };
    let mut log = Log::create(&workspace.logs_folder(), "chaos")?;
    install::ensure_all(workspace, options.consent, &mut log)?;
    let seconds = options.minutes.unwrap_or(4) * 60;
    let rounds = seconds.div_ceil(SLICE * brokers.len() as u64).max(1);
    let slice = (seconds / rounds / brokers.len() as u64).max(10);
    let first = options.seed.unwrap_or_else(seed_of_now);
    println!("{rounds} × {slice} s on each of {} brokers, first seed {first}", brokers.len());
    println!("{}", line(&COLUMNS));
    let (mut good, mut rows) = (true, Vec::new());
    for round in 0..rounds {
        for kind in &brokers {
            let (row, well) = slice_on(workspace, *kind, first.wrapping_add(round), slice)?;
            good &= well;
            rows.extend(row);
        }
    }
    println!("{}", sum(&rows));
    Ok(good)
}

/// One run on one broker: its row, and whether all went well.
fn slice_on(
    workspace: &Workspace,
    kind: BrokerKind,
    seed: u64,
    seconds: u64,
) -> Result<(Option<Vec<String>>, bool), Fault> {
    let name = format!("faults_{kind}");
    if !workspace.targets("test").iter().any(|target| target.name == name) {
        return Err(format!("no integration test is named {name}").into());
    }
    let mut command = workspace.cargo();
    // As `cargo xtask test` builds it, so that nothing is compiled anew.
    command.args(["test", "--quiet", "--workspace", "--all-features", "--test", &name]);
    command.env("PUBSUB_CHAOS", format!("seed={seed} seconds={seconds}"));
    command.env("PUBSUB_BROKERS_DIR", workspace.brokers_folder());
    command.env("PUBSUB_TEST_REQUIRE", kind.name());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut row = None;
    for text in BufReader::new(child.stdout.take().ok_or("no pipe")?).lines() {
        let text = text?;
        match text.strip_prefix("chaos\t") {
            Some(fields) => {
                let fields: Vec<String> = fields.split('\t').map(str::to_owned).collect();
                println!("{}", line(&fields));
                row = Some(fields);
            }
            None => println!("{text}"),
        }
    }
    let well = child.wait()?.success() && row.is_some();
    Ok((row, well))
}

fn line<S: AsRef<str>>(fields: &[S]) -> String {
    let padded = fields.iter().map(|field| format!("{:<12}", field.as_ref()));
    padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// The sums of all rows, in the columns that have one.
fn sum(rows: &[Vec<String>]) -> String {
    let number = |row: &Vec<String>, column: usize| row.get(column).and_then(|field| field.parse::<u64>().ok());
    let mut fields = vec!["all".to_owned(), String::new()];
    for column in 2..9 {
        fields.push(rows.iter().filter_map(|row| number(row, column)).sum::<u64>().to_string());
    }
    let silence = rows.iter().filter_map(|row| row.get(9)?.parse::<f64>().ok()).fold(0.0, f64::max);
    fields.push(format!("{silence:.1}"));
    line(&fields)
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed() {
        let row = |text: &str| text.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let rows = [row("redis\t1\t60\t10\t9\t9\t0\t0\t0\t1.5\tcut 1"), row("nats\t1\t60\t5\t5\t6\t1\t0\t0\t2.5\t")];
        let words: Vec<_> = sum(&rows).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["all", "120", "15", "14", "15", "1", "0", "0", "2.5"]);
    }
}

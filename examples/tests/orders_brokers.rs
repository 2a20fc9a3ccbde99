//! The example `orders` on every broker, by its address alone: nothing is lost and nothing done twice, also when the
//! broker is killed half-way.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    sync::LazyLock,
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions, find};
use serde_json::Value;

/// The program with every adapter, built once.
static PROGRAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let mut cargo = Command::new(env!("CARGO"));
    // Set for this test, and to whoever compiles for it a reason to compile everything anew.
    cargo.env_remove("CARGO_MANIFEST_DIR");
    // Of the whole workspace, as the tests are: so both share what they depend on.
    cargo.args(["build", "--quiet", "--workspace", "--all-features", "--example", "orders"]);
    let built = cargo.arg("--message-format=json").stderr(Stdio::inherit()).output().map_err(|e| e.to_string())?;
    if !built.status.success() {
        return Err("the example does not build".to_owned());
    }
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    });
    executables.next_back().ok_or_else(|| "cargo names no executable".to_owned())
});

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for kind in BrokerKind::ALL {
        let here = Broker::is_installed(kind).is_ok() || find::is_required(kind);
        let whole = Trial::test(format!("{kind}: the shipped orders reconcile"), move || run(kind, false));
        let killed =
            Trial::test(format!("{kind}: they reconcile although the broker is killed"), move || run(kind, true));
        trials.extend([whole, killed].map(|trial| trial.with_ignored_flag(!here)));
    }
    let mut arguments = Arguments::from_args();
    // Each has a broker of its own, which needs its share of the machine.
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(kind: BrokerKind, kill: bool) -> Result<(), Failed> {
    let program = PROGRAM.as_ref()?;
    let mut broker = Broker::start(kind, &BrokerOptions::new().fsync_always())?;
    let mut command = Command::new(program);
    command.arg("--json").env("PUBSUB_URL", broker.url());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("the program has no output".into());
    };
    let report = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let mut told = String::new();
    let mut killed = false;
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        told += &line;
        told.push('\n');
        if kill && !killed && line.contains("1000 lines read") {
            killed = true;
            broker.kill()?;
            std::thread::sleep(Duration::from_millis(500)); // the outage that clients are to live through
            broker.restart()?;
        }
    }
    let status = child.wait()?;
    let report = report.join().map_err(|_| "the report could not be read")??;
    let context = || format!("{status}\n{report}\n{told}");
    let report: Value = serde_json::from_str(&report).map_err(|fault| format!("{fault}: {}", context()))?;
    check(kill == killed, "the broker was killed half-way", &context)?;
    check(status.success() && report["reconciled"] == true, "the run reconciles", &context)?;
    check(report["accepted"] == 3001 && report["rejected"] == 198, "every line is accounted for", &context)?;
    check(report["deadLetters"].as_array().is_some_and(|dead| dead.len() == 34 + 90), "124 dead letters", &context)?;
    let groups = report["groups"].as_array().ok_or("no groups")?;
    let in_order = groups.len() == 3 && groups.iter().all(|group| group["outOfOrder"] == 0);
    check(in_order, "the orders of each customer in order", &context)
}

fn check(holds: bool, what: &str, context: &dyn Fn() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("expected {what}: {}", context()).into()) }
}

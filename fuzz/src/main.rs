//! The stable driver: `cargo run --release -p pubsub-fuzz -- [--seconds N] [--seed S] [TARGET…]`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program talks to its terminal")]

use std::{fs, process::ExitCode, time::Duration};

use pubsub_fuzz::{TARGETS, Target, run, seeds_folder};

const USAGE: &str =
    "usage: pubsub-fuzz [--seconds N] [--seed S] [TARGET…]   (default: 10 seconds, seed 1, all targets)";

struct Plan {
    time: Duration,
    seed: u64,
    targets: Vec<Target>,
}

fn plan(mut args: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut plan = Plan { time: Duration::from_secs(10), seed: 1, targets: Vec::new() };
    while let Some(arg) = args.next() {
        let mut number =
            || args.next().and_then(|text| text.parse().ok()).ok_or(format!("{arg} needs a number\n{USAGE}"));
        match arg.as_str() {
            "--seconds" => plan.time = Duration::from_secs(number()?),
            "--seed" => plan.seed = number()?,
            name => match TARGETS.iter().find(|target| target.name == name) {
                Some(target) => plan.targets.push(*target),
                None => {
                    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
                    return Err(format!("no target `{name}`; there are: {}\n{USAGE}", names.join(", ")));
                }
            },
        }
    }
    if plan.targets.is_empty() {
        plan.targets = TARGETS.to_vec();
    }
    Ok(plan)
}

fn main() -> ExitCode {
    match plan(std::env::args().skip(1)).and_then(|plan| fuzz(&plan).map_err(|error| error.to_string())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// Runs all targets, and says whether all went well.
fn fuzz(plan: &Plan) -> std::io::Result<bool> {
    let seeds = seeds_folder();
    let mut well = true;
    println!("seed {}, {} s per target", plan.seed, plan.time.as_secs());
    for target in &plan.targets {
        let report = run(*target, &seeds, plan.seed, plan.time)?;
        println!("{:<12} {:>12} tried {:>12} accepted", target.name, report.tried, report.accepted);
        if let Some(crash) = report.crash {
            let folder = seeds.with_file_name("crashes");
            fs::create_dir_all(&folder)?;
            let file = folder.join(format!("{}-{}-{}", target.name, plan.seed, report.tried));
            fs::write(&file, &crash.input)?;
            println!("{}\n{}\nsaved as {}", crash.message, crash.input.escape_ascii(), file.display());
            well = false;
        }
    }
    Ok(well)
}

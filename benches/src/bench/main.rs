//! `bench [--quick] [--limits] [--cpu] [--part PART] [CASE…]`: one line per case, ours beside its limit, as tab-separated
//! values. `bench rss [--part PART]`: the memory of a process in a table of its own.
//!
//! A part is `inside`, `sse`, a database, or a broker that is built in and whose URL is in the environment; without `--part`, all of them.
//! The exit status is 1 if a case failed, 2 for a wrong command line, 3 if no case has such a name.
#![allow(clippy::print_stdout, clippy::print_stderr)] // the table is the purpose
#![allow(clippy::unwrap_used)] // a run that cannot start has nothing to say

mod args;
mod case;
mod inside;
mod rss;
mod servers;
#[cfg(feature = "sql")]
mod sql;
#[cfg(feature = "sse")]
mod sse;

use std::process::ExitCode;

use pubsub_benches::{names, pairs::Row};

use args::{Command, Options};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match args::parse(&arguments) {
        Ok(Command::Measure(options)) => measure(&options),
        Ok(Command::Rss(options)) => rss::table(&options),
        Ok(Command::RssOf(job)) => rss::job(&job),
        #[cfg(feature = "sse")]
        Ok(Command::SseOf(name)) => {
            pubsub_benches::sse::process::serve(&name);
            ExitCode::SUCCESS
        }
        #[cfg(not(feature = "sse"))]
        Ok(Command::SseOf(name)) => {
            eprintln!("{name}: not built in, build with the feature `sse`");
            ExitCode::FAILURE
        }
        Err(fault) => {
            eprintln!("{fault}\n{}", args::USAGE);
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options) -> ExitCode {
    let mut cases = Vec::new();
    let mut failed = false;
    if options.takes("inside") && !options.limits {
        cases.extend(inside::cases(if options.quick { 50_000 } else { 300_000 }));
    }
    for broker in names::BROKERS.into_iter().filter(|broker| options.takes(broker)) {
        match servers::cases(broker, options) {
            Ok(more) => cases.extend(more),
            Err(why) if options.part.is_some() => {
                eprintln!("{why}");
                failed = true;
            }
            // Nobody asked for this broker.
            Err(_) => {}
        }
    }
    #[cfg(feature = "sql")]
    for database in names::DATABASES.into_iter().filter(|database| options.takes(database)) {
        match sql::cases(database, options) {
            Ok(more) => cases.extend(more),
            Err(why) if options.part.is_some() => {
                eprintln!("{why}");
                failed = true;
            }
            // Nobody asked for this database.
            Err(_) => {}
        }
    }
    #[cfg(feature = "sse")]
    if options.takes("sse") {
        cases.extend(sse::cases(options));
    }
    println!("case\tours\tlimit\tratio\tunit\tpairs\tspread");
    let mut found = false;
    for case in cases {
        if !case.rows.iter().any(|(name, _)| names::is_wanted(name, &options.words)) {
            continue;
        }
        found = true;
        match (case.measure)(options.pairs()) {
            Ok(rows) => case.rows.iter().zip(rows).for_each(|((name, unit), row)| print(name, unit, row)),
            Err(why) => {
                let names: Vec<_> = case.rows.iter().map(|(name, _)| name.as_str()).collect();
                eprintln!("{}: {why}", names.join(", "));
                failed = true;
            }
        }
    }
    match (failed, found) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::SUCCESS,
        (false, false) => {
            if options.part.is_none() {
                eprintln!("no case of that name");
            }
            ExitCode::from(3)
        }
    }
}

fn print(name: &str, unit: &str, row: Row) {
    let digits = if row.ours < 1_000.0 { 1 } else { 0 };
    println!(
        "{name}\t{:.digits$}\t{:.digits$}\t{:.2}\t{unit}\t{}\t{:.2}",
        row.ours, row.limit, row.ratio, row.pairs, row.spread
    );
}

//! `cargo xtask test`: runs the parts one after the other, one cargo at a time.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::args::TestOptions;
use crate::chain;
use crate::failures::Failure;
use crate::fleet::Fleet;
use crate::log::Log;
use crate::parts::{Needs, PARTS, Part, Step, claimed};
use crate::report::{Counts, Outcome, Row, Verdict, summary, tail};
use crate::workspace::Workspace;
use crate::{Fault, install};

pub(crate) fn run(workspace: &Workspace, options: &TestOptions) -> Result<bool, Fault> {
    let mut run = Run {
        workspace,
        options,
        rows: Vec::new(),
        fleet: Fleet::default(),
        installed: false,
        equipped: false,
        has_database: false,
    };
    for part in PARTS.iter().filter(|part| is_wanted(part, options)) {
        run.provide(part)?;
        let outcome = |run: &Run<'_>, log: &mut Log| run.part(part, log);
        run.row(part.name, outcome)?;
    }
    if !run.fleet.is_empty() {
        let mut fleet = std::mem::take(&mut run.fleet);
        run.row("stop-brokers", move |_, log| fleet.stop(log).map(|()| (Verdict::Passed, Counts::default())))?;
    }
    println!("{}", summary(&run.rows, &workspace.shown(&workspace.logs_folder())));
    Ok(!run.rows.is_empty() && !run.rows.iter().any(Row::failed))
}

fn is_wanted(part: &Part, options: &TestOptions) -> bool {
    let named = options.only.is_empty() || options.only.iter().any(|word| part.answers_to(word));
    named && !(options.no_brokers && part.needs != Needs::Nothing)
}

struct Run<'a> {
    workspace: &'a Workspace,
    options: &'a TestOptions,
    rows: Vec<Row>,
    fleet: Fleet,
    installed: bool,
    equipped: bool,
    has_database: bool,
}

impl Run<'_> {
    /// Gets compilers and brokers, and starts the latter, right before the first part that needs them.
    fn provide(&mut self, part: &Part) -> Result<(), Fault> {
        if part.compiles && !self.equipped {
            self.equipped = true;
            self.row("get-compilers", |run, log| {
                let note = install::toolchain::ensure(run.options.consent, log)?;
                Ok((Verdict::Noted(note), Counts::default()))
            })?;
        }
        if part.needs == Needs::Nothing {
            return Ok(());
        }
        if part.needs == Needs::Database {
            return self.provide_database();
        }
        if !self.installed {
            self.installed = true;
            self.row("get-brokers", |run, log| {
                install::ensure_all(run.workspace, run.options.consent, log)
                    .map(|note| (Verdict::Noted(note), Counts::default()))
            })?;
        }
        if part.needs == Needs::Servers && self.fleet.is_empty() {
            let mut fleet = Fleet::default();
            self.row("start-brokers", |run, log| {
                fleet.start(run.workspace, log).map(|note| (Verdict::Noted(note), Counts::default()))
            })?;
            self.fleet = fleet;
        }
        Ok(())
    }

    fn provide_database(&mut self) -> Result<(), Fault> {
        if self.has_database {
            return Ok(());
        }
        self.has_database = true;
        self.row("get-postgres", |run, log| {
            let note = install::postgres::ensure(run.options.consent, log)?;
            Ok((Verdict::Noted(note), Counts::default()))
        })
    }

    /// Runs one row of the table: shows its name, keeps its log, shows how it ended.
    fn row(&mut self, name: &'static str, work: impl FnOnce(&Self, &mut Log) -> Outcome) -> Result<(), Fault> {
        print!("{name:<20} ");
        io::stdout().flush()?;
        let mut log = Log::create(&self.workspace.logs_folder(), name)?;
        let begun = Instant::now();
        let (verdict, mut counts) =
            work(self, &mut log).unwrap_or_else(|fault| (Verdict::Failed(chain(&*fault)), Counts::default()));
        let text = log.text();
        counts += Counts::of_log(&text);
        let mut row = Row { name, verdict, counts, took: begun.elapsed(), failures: Vec::new() };
        println!("{row}");
        if row.failed() {
            row.failures = Failure::of_log(&text);
            println!("--- end of {} ---", self.workspace.shown(log.path()));
            println!("{}\n---", tail(&text));
        }
        self.rows.push(row);
        Ok(())
    }

    fn part(&self, part: &Part, log: &mut Log) -> Outcome {
        let mut outcome = (Verdict::Passed, Counts::default());
        let mut faults = Vec::new();
        for step in part.steps {
            match self.step(part, step, log) {
                Ok((verdict, counts)) => {
                    outcome.0 = verdict;
                    outcome.1 += counts;
                }
                // The other steps run all the same: one run shows all that is wrong.
                Err(fault) => faults.push(chain(&*fault)),
            }
        }
        if !faults.is_empty() {
            outcome.0 = Verdict::Failed(faults.join("; "));
        }
        Ok(outcome)
    }

    fn step(&self, part: &Part, step: &Step, log: &mut Log) -> Outcome {
        let mut command = self.workspace.cargo();
        match step {
            Step::Check(check) => return check(self.workspace, log),
            Step::Install(check) => return check(self.workspace, self.options.consent, log),
            Step::Cargo(arguments, environment) => {
                command.args(*arguments).envs(environment.iter().copied());
            }
            Step::Tests(name) => {
                if !self.has_test(name) {
                    return Err(format!("no integration test is named {name}").into());
                }
                // Of the whole workspace, although few packages have it: with another set of packages cargo unites the
                // features of what they depend on in another way, and compiles it anew.
                command.args(["test", "--workspace", "--all-features", "--no-fail-fast", "--test", name]);
            }
            Step::OtherTests => {
                command.args(["test", "--workspace", "--all-features", "--no-fail-fast", "--lib", "--bins"]);
                let tests = self.workspace.targets("test");
                let others = tests.iter().filter(|test| !claimed().any(|name| name == test.name));
                command.args(others.flat_map(|test| ["--test", &test.name]));
            }
        }
        command.envs(self.fleet.urls());
        let programs = match part.needs {
            // A test that starts a broker belongs into a part that says so: here it fails wherever it runs, not only on
            // a machine that has none yet.
            Needs::Nothing | Needs::Database => self.workspace.target.join("no-brokers"),
            Needs::Programs | Needs::Servers => self.workspace.brokers_folder(),
        };
        command.env("PUBSUB_BROKERS_DIR", programs);
        if !self.options.no_brokers {
            command.env("PUBSUB_TEST_REQUIRE", "all");
        }
        if self.options.long {
            command.env("PUBSUB_TEST_LONG", "1");
        }
        log.run(&mut command, self.limit())?;
        Ok((Verdict::Passed, Counts::default()))
    }

    /// After that much time a command hangs.
    fn limit(&self) -> Duration {
        Duration::from_secs(60 * if self.options.long { 8 * 60 } else { 30 })
    }

    fn has_test(&self, name: &str) -> bool {
        self.workspace.targets("test").iter().any(|test| test.name == name)
    }
}

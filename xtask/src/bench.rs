//! `cargo xtask bench`: builds the measuring program, starts the brokers that its cases need, and keeps its table.
//!
//! The program runs once for what needs no broker and once per broker, so that no other server takes part of the cores.

#[path = "../../benches/src/names.rs"]
#[allow(dead_code, unreachable_pub, reason = "the measuring program needs all of it, and has it in a library")]
mod names;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions, find};
use pubsub_testkit::postgres::{self, Postgres, PostgresOptions};

use crate::workspace::Workspace;
use crate::{Fault, chain};

/// The exit status that says: no case of such a name here.
const NONE: i32 = 3;

/// What the command line asks for.
struct Wanted<'a> {
    /// Words that are handed on: options, and `rss`.
    handed: Vec<&'a String>,
    words: Vec<String>,
    rss: bool,
}

impl<'a> Wanted<'a> {
    fn of(arguments: &'a [String]) -> Self {
        let rss = arguments.first().is_some_and(|first| first == "rss");
        let (handed, words): (Vec<_>, Vec<_>) =
            arguments.iter().skip(usize::from(rss)).partition(|argument| argument.starts_with("--"));
        Self { handed, words: words.into_iter().cloned().collect(), rss }
    }

    fn needs(&self, kind: BrokerKind) -> bool {
        if self.rss {
            return names::is_wanted(&names::case(kind.name(), "backlog-rss", 256), &self.words);
        }
        names::OPERATIONS
            .iter()
            .any(|(operation, size)| names::is_wanted(&names::case(kind.name(), operation, *size), &self.words))
    }

    /// Whether a case of this database is wanted.
    fn needs_database(&self, database: &str) -> bool {
        let wanted = |operation: &&str| names::is_wanted(&names::case(database, operation, 256), &self.words);
        !self.rss && names::OUTBOX.iter().any(wanted)
    }

    /// Whether a case of the web edge is wanted.
    fn needs_edge(&self) -> bool {
        !self.rss && names::edge().any(|case| names::is_wanted(&case, &self.words))
    }

    fn needs_inside(&self) -> bool {
        !self.rss || names::is_wanted("memory/held-rss", &self.words)
    }

    fn names(&self, kind: BrokerKind) -> bool {
        self.words.iter().any(|word| word.contains(kind.name()))
    }
}

/// The program prints one row per case; what it says besides goes to standard error.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<bool, Fault> {
    if !workspace.targets("bin").iter().any(|target| target.package == "pubsub-benches" && target.name == "bench") {
        return Err("pubsub-benches has no program `bench` yet".into());
    }
    let wanted = Wanted::of(arguments);
    let mut all_well = true;
    let mut kinds = Vec::new();
    for kind in BrokerKind::ALL.into_iter().filter(|kind| wanted.needs(*kind)) {
        match find::url_from_environment(kind).map_or_else(|| Broker::is_installed(kind), |_| Ok(())) {
            Ok(()) => kinds.push(kind),
            Err(fault) => {
                eprintln!("{kind}: its rows are left out: {}", chain(&fault));
                all_well &= !wanted.names(kind);
            }
        }
    }
    let mut databases: Vec<_> = names::DATABASES.into_iter().filter(|name| wanted.needs_database(name)).collect();
    if databases.contains(&"postgres")
        && let Err(fault) = postgres::url_from_environment().map_or_else(Postgres::is_installed, |_| Ok(()))
    {
        eprintln!("postgres: its rows are left out: {}", chain(&fault));
        all_well &= !wanted.words.iter().any(|word| word.contains("postgres"));
        databases.retain(|name| *name != "postgres");
    }
    let sql = (!databases.is_empty()).then_some("sql");
    let sse = wanted.needs_edge().then_some("sse");
    let features = kinds.iter().map(|kind| kind.name()).chain(sql).chain(sse).collect::<Vec<_>>().join(",");
    let build = ["--quiet", "--release", "-p", "pubsub-benches", "--bin", "bench", "--features", &features];
    if !workspace.cargo().arg("build").args(build).status()?.success() {
        return Err("the measuring program does not build".into());
    }

    fs::create_dir_all(&workspace.target)?;
    let file = if wanted.rss { "bench-rss.tsv" } else { "bench.tsv" };
    let mut table = Table { file: File::create(workspace.target.join(file))?, begun: false };
    let mut found = false;
    for kind in wanted.needs_inside().then_some(None).into_iter().chain(kinds.into_iter().map(Some)) {
        let mut command = workspace.cargo();
        command.arg("run").args(build).arg("--").args(wanted.rss.then_some("rss"));
        command.args(&wanted.handed).args(["--part", kind.map_or("inside", BrokerKind::name)]);
        if !wanted.rss {
            command.args(&wanted.words);
        }
        let _broker = match kind.map(server) {
            Some(Ok((url, broker))) => {
                command.envs(kind.map(|kind| (kind.url_variable(), url)));
                broker
            }
            Some(Err(fault)) => {
                eprintln!("its rows are left out: {}", chain(&*fault));
                all_well = false;
                continue;
            }
            None => None,
        };
        match table.take(&mut command)? {
            Some(NONE) => {}
            code => {
                found = true;
                all_well &= code == Some(0);
            }
        }
    }
    for part in databases.into_iter().chain(sse) {
        let mut command = workspace.cargo();
        command.arg("run").args(build).arg("--").args(&wanted.handed).args(["--part", part]).args(&wanted.words);
        let _server = match part {
            "postgres" => Some(database_server(&mut command)?),
            _ => None,
        };
        match table.take(&mut command)? {
            Some(NONE) => {}
            code => {
                found = true;
                all_well &= code == Some(0);
            }
        }
    }
    if !found && all_well {
        return Err("no case of that name".into());
    }
    Ok(all_well)
}

/// The server that the environment names, or one of our own for as long as it is held.
fn server(kind: BrokerKind) -> Result<(String, Option<Broker>), Fault> {
    if let Some(url) = find::url_from_environment(kind) {
        return Ok((url, None));
    }
    let mut options = BrokerOptions::new();
    if kind == BrokerKind::Redis {
        // The client is measured, not the disk; the other brokers leave that to the system's cache by default.
        options = options.extra(["--appendonly", "no"]);
    }
    let broker = Broker::start(kind, &options)?;
    eprintln!("{kind}: {}, {}", broker.url(), broker.info());
    Ok((broker.url(), Some(broker)))
}

/// Names the server of the environment to the program, or one of our own for as long as it is held; what is committed
/// there reaches the disk.
fn database_server(command: &mut std::process::Command) -> Result<Option<Postgres>, Fault> {
    if postgres::url_from_environment().is_some() {
        return Ok(None);
    }
    let server = Postgres::start(&PostgresOptions::new().durable())?;
    command.env(postgres::URL_VARIABLE, server.url("postgres"));
    Ok(Some(server))
}

/// The rows, to standard output and to a file.
struct Table {
    file: File,
    begun: bool,
}

impl Table {
    /// Runs the program and takes its rows; gives its exit status.
    fn take(&mut self, command: &mut std::process::Command) -> Result<Option<i32>, Fault> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let rows = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        for row in rows {
            let row = row?;
            if row.starts_with("case\t") {
                if self.begun {
                    continue;
                }
                self.begun = true;
            }
            println!("{row}");
            writeln!(self.file, "{row}")?;
        }
        Ok(child.wait()?.code())
    }
}

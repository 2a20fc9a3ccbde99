//! The parts of `cargo xtask test`, in the order in which they run. A new part is a new row.

use crate::codegen;
use crate::examples;
use crate::gates;
use crate::install::{self, Consent};
use crate::log::Log;
use crate::pages;
use crate::report::Outcome;
use crate::web;
use crate::workspace::Workspace;

pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// `gates` or `tests`.
    pub(crate) group: &'static str,
    pub(crate) about: &'static str,
    pub(crate) needs: Needs,
    /// Whether it compiles every adapter, which takes a C and a C++ compiler.
    pub(crate) compiles: bool,
    pub(crate) steps: &'static [Step],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// The programs of PostgreSQL: its tests start a server of their own.
    Database,
    /// The brokers' programs: its tests start brokers of their own, to kill them.
    Programs,
    /// Four running servers, named by `PUBSUB_TEST_*_URL`.
    Servers,
}

pub(crate) enum Step {
    /// A cargo command, with environment variables.
    Cargo(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// The integration tests of this name, in whatever package has them. Built as `OtherTests` builds: what they share
    /// is compiled once.
    Tests(&'static str),
    /// All tests that no other part names.
    OtherTests,
    /// Code of this program.
    Check(fn(&Workspace, &mut Log) -> Outcome),
    /// The same, which may have to install something.
    Install(fn(&Workspace, Consent, &mut Log) -> Outcome),
}

use Needs::{Database, Nothing, Programs, Servers};

pub(crate) const PARTS: &[Part] = &[
    gate("fmt", "every file is formatted", &[Step::Cargo(&["fmt", "--all", "--check", "--", "--color", "never"], &[])]),
    gate("size", "no source file is longer than 500 lines", &[Step::Check(gates::size::check)]),
    gate("diagnostics", "every public trait explains its absence", &[Step::Check(gates::diagnostics::check)]),
    gate(
        "arrows",
        "crates depend on each other as the architecture says; the default tree is small",
        &[Step::Check(gates::arrows::check)],
    ),
    gate(
        "clippy",
        "no warning in any target with all features",
        &[Step::Cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"], &[])],
    )
    .compiling(true),
    gate(
        "features",
        "the facade builds with each feature alone, with sets that belong together, none and all",
        &[Step::Check(gates::features::check)],
    )
    .compiling(true),
    gate(
        "docs",
        "documentation builds without a warning",
        &[Step::Cargo(&["doc", "--workspace", "--no-deps", "--all-features"], &[("RUSTDOCFLAGS", "-D warnings")])],
    )
    .compiling(true),
    gate("msrv", "the oldest supported Rust compiles everything", &[Step::Install(gates::msrv::check)]).compiling(true),
    gate("deny", "licences, duplicates and sources of all dependencies", &[Step::Check(gates::deny::check)]),
    gate("budget", "a hello world stays small and quick to build", &[Step::Check(gates::budget::check)]),
    tests(
        "unit",
        "all tests that need no broker, and those in the documentation",
        Nothing,
        &[Step::OtherTests, Step::Cargo(&["test", "--workspace", "--all-features", "--doc", "--no-fail-fast"], &[])],
    ),
    tests(
        "examples",
        "every example builds with the features that it names, or the default ones, and runs to its end",
        Nothing,
        &[Step::Check(examples::check)],
    ),
    tests(
        "codegen",
        "what is written from events is fresh, and the compilers, clients and validators of others take it",
        Nothing,
        &[Step::Check(codegen::fresh), Step::Install(codegen::accepted)],
    ),
    tests(
        "trpc-client",
        "an example in TypeScript, written for the stock client of tRPC, compiles and works with its server",
        Nothing,
        &[Step::Install(codegen::program)],
    ),
    tests(
        "web",
        "stock clients of tRPC and a browser speak to the demonstration server; its documents are valid",
        Nothing,
        &[Step::Install(web::check)],
    ),
    tests("fuzz", "no reader of foreign bytes panics; two seconds each", Nothing, &[Step::Tests("short")]),
    tests("sql", "outbox, relay, inbox and idempotency store on SQLite", Nothing, &[Step::Tests("sqlite")]),
    tests(
        "sql-postgres",
        "the same on PostgreSQL; processes that are killed at random leave no effect out and none twice",
        Database,
        &[Step::Tests("postgres"), Step::Tests("kill")],
    ),
    tests("sql-brokers", "from an outbox over each broker to an inbox, cut off", Programs, &[Step::Tests("effects")]),
    tests("brokers", "the four brokers start, answer, die and come back", Servers, &[Step::Tests("brokers")]),
    tests(
        "conformance",
        "the adapter for memory keeps all promises, and every case bites",
        Nothing,
        &[Step::Tests("conformance_memory"), Step::Tests("conformance_masked"), Step::Tests("conformance_bites")],
    ),
    tests("conformance-redis", "the same promises on Redis", Servers, &[Step::Tests("conformance_redis")]),
    tests("conformance-nats", "the same promises on NATS", Servers, &[Step::Tests("conformance_nats")]),
    tests("conformance-kafka", "the same promises on Kafka", Servers, &[Step::Tests("conformance_kafka")]),
    tests("conformance-rabbitmq", "the same promises on RabbitMQ", Servers, &[Step::Tests("conformance_rabbitmq")]),
    tests(
        "bad-input",
        "foreign bytes and wrong settings are typed errors in time",
        Servers,
        &[Step::Tests("bad_input")],
    ),
    tests(
        "interop",
        "plain clients of the brokers read us and are read",
        Servers,
        &[Step::Install(install::clients::ensure), Step::Tests("interop")],
    ),
    tests(
        "heals",
        "what each broker needs of its own to come back, beside the faults that all share",
        Programs,
        &[
            Step::Tests("redis_heals"),
            Step::Tests("redis_sentinel"),
            Step::Tests("nats_heals"),
            Step::Tests("nats_batches"),
            Step::Tests("kafka_heals"),
            Step::Tests("rabbitmq_heals"),
            Step::Tests("rabbitmq_limits"),
            Step::Tests("rabbitmq_shares"),
            Step::Tests("degraded"),
        ],
    ),
    tests("clusters", "three nodes of NATS and of Redis serve as one does", Programs, &[Step::Tests("clusters")]),
    tests(
        "orders",
        "the example reconciles on every broker by its address alone, and when the broker is killed",
        Programs,
        &[Step::Tests("orders_brokers")],
    ),
    tests(
        "orders-http",
        "a shop over HTTP: one order and one event whatever is killed, and its pages in a browser across restarts",
        Programs,
        &[Step::Tests("orders_http"), Step::Install(pages::check)],
    ),
    tests(
        "test-bus",
        "the test kit's bus runs a program's router on every broker as on memory",
        Programs,
        &[Step::Tests("bus_brokers")],
    ),
    tests(
        "observe",
        "traces go through every broker, and each tells how far a group is behind",
        Programs,
        &[Step::Tests("observe_brokers")],
    ),
    tests(
        "web-brokers",
        "two nodes of the web edge serve the same streams over every broker, also when it is killed",
        Programs,
        &[Step::Tests("web_brokers")],
    ),
    tests("cli", "the command line on brokers, from publish to dead letters", Programs, &[Step::Tests("cli_brokers")]),
    tests("security", "wrong certificates and passwords are refused at once", Programs, &[Step::Tests("security")]),
    tests("faults", "the suite of faults finds an adapter that loses events", Programs, &[Step::Tests("faults_bite")]),
    tests("faults-redis", "nothing is lost when Redis or the network fails", Programs, &[Step::Tests("faults_redis")]),
    tests("faults-nats", "nothing is lost when NATS or the network fails", Programs, &[Step::Tests("faults_nats")]),
    tests("faults-kafka", "nothing is lost when Kafka or the network fails", Programs, &[Step::Tests("faults_kafka")]),
    tests(
        "faults-rabbitmq",
        "nothing is lost when RabbitMQ or the network fails",
        Programs,
        &[Step::Tests("faults_rabbitmq")],
    ),
];

const fn gate(name: &'static str, about: &'static str, steps: &'static [Step]) -> Part {
    Part { name, group: "gates", about, needs: Nothing, compiles: false, steps }
}

const fn tests(name: &'static str, about: &'static str, needs: Needs, steps: &'static [Step]) -> Part {
    Part { name, group: "tests", about, needs, compiles: true, steps }
}

impl Part {
    const fn compiling(self, compiles: bool) -> Self {
        Self { compiles, ..self }
    }

    /// Whether `--only` with this word means the part: its name, its group, or the family that it belongs to, such as
    /// `faults` for `faults-redis`.
    pub(crate) fn answers_to(&self, word: &str) -> bool {
        let family = || self.name.strip_prefix(word).is_some_and(|rest| rest.starts_with('-'));
        self.name == word || self.group == word || family()
    }
}

/// The names of integration tests that a part has for itself.
pub(crate) fn claimed() -> impl Iterator<Item = &'static str> {
    PARTS.iter().flat_map(|part| part.steps).filter_map(|step| match step {
        Step::Tests(name) => Some(*name),
        _ => None,
    })
}

//! The parts of `cargo xtask test`, in the order in which they run. A new part is a new row.

use crate::examples;
use crate::gates;
use crate::install::Consent;
use crate::log::Log;
use crate::report::Outcome;
use crate::workspace::Workspace;

pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// `gates` or `tests`; `--only` takes it too.
    pub(crate) group: &'static str,
    pub(crate) about: &'static str,
    pub(crate) needs: Needs,
    pub(crate) steps: &'static [Step],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// The brokers' programs: its tests start brokers of their own, to kill them.
    Programs,
    /// Four running servers, named by `PUBSUB_TEST_*_URL`.
    Servers,
}

pub(crate) enum Step {
    /// A cargo command, with environment variables.
    Cargo(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// The integration tests of this name, in whatever package has them.
    Tests(&'static str),
    /// All tests that no other part names.
    OtherTests,
    /// Code of this program.
    Check(fn(&Workspace, &mut Log) -> Outcome),
    /// The same, which may have to install something.
    Install(fn(&Workspace, Consent, &mut Log) -> Outcome),
}

use Needs::{Nothing, Programs, Servers};

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
    ),
    gate("features", "the facade builds with each feature alone, none and all", &[Step::Check(gates::features::check)]),
    gate(
        "docs",
        "documentation builds without a warning",
        &[Step::Cargo(&["doc", "--workspace", "--no-deps", "--all-features"], &[("RUSTDOCFLAGS", "-D warnings")])],
    ),
    gate("msrv", "the oldest supported Rust compiles everything", &[Step::Install(gates::msrv::check)]),
    gate("deny", "licences, duplicates and sources of all dependencies", &[Step::Check(gates::deny::check)]),
    gate("budget", "a hello world stays small and quick to build", &[Step::Check(gates::budget::check)]),
    tests(
        "unit",
        "all tests that need no broker, and those in the documentation",
        Nothing,
        &[Step::OtherTests, Step::Cargo(&["test", "--workspace", "--all-features", "--doc", "--no-fail-fast"], &[])],
    ),
    tests("examples", "every example runs to its end", Nothing, &[Step::Check(examples::check)]),
    tests("fuzz", "no reader of foreign bytes panics; two seconds each", Nothing, &[Step::Tests("short")]),
    tests("brokers", "the four brokers start, answer, die and come back", Servers, &[Step::Tests("brokers")]),
    tests(
        "conformance",
        "every adapter keeps the same promises, and every case bites",
        Servers,
        &[Step::Tests("conformance_memory"), Step::Tests("conformance_masked"), Step::Tests("conformance_bites")],
    ),
    tests(
        "faults",
        "nothing is lost when brokers and networks fail",
        Programs,
        &[
            Step::Tests("faults_bite"),
            Step::Tests("faults_redis"),
            Step::Tests("faults_nats"),
            Step::Tests("faults_kafka"),
            Step::Tests("faults_rabbitmq"),
        ],
    ),
];

const fn gate(name: &'static str, about: &'static str, steps: &'static [Step]) -> Part {
    Part { name, group: "gates", about, needs: Nothing, steps }
}

const fn tests(name: &'static str, about: &'static str, needs: Needs, steps: &'static [Step]) -> Part {
    Part { name, group: "tests", about, needs, steps }
}

/// The names of integration tests that a part has for itself.
pub(crate) fn claimed() -> impl Iterator<Item = &'static str> {
    PARTS.iter().flat_map(|part| part.steps).filter_map(|step| match step {
        Step::Tests(name) => Some(*name),
        _ => None,
    })
}

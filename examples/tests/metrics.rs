//! The dashboard shows nothing but metrics that the example serves, and every panel has something to show.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pubsub::observe::names;
use serde_json::Value;

const DASHBOARD: &str = include_str!("../../docs/grafana/pubsub.json");

/// The program, which ends with this.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

/// Where the example lies once it is built; cargo tells that in the messages of a build. With the features of this test, so
/// that nothing else has to be built for it.
fn built() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // Set for this test, and to whoever compiles for it a reason to compile everything anew.
    cargo.env_remove("CARGO_MANIFEST_DIR");
    cargo.args(["build", "--quiet", "--workspace", "--all-features", "--example", "metrics"]);
    let output = cargo.arg("--message-format=json").stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the example does not build");
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    messages.lines().filter_map(executable).next_back().unwrap()
}

/// The queries of all panels and variables.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == "expr" || name == "query" => found.push(text.clone()),
                    other => queries(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

/// The names of metrics in a query.
fn metrics(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("pubsub_")).map(str::to_owned).collect()
}

/// The names of all series that are served.
fn scrape(address: &str) -> BTreeSet<String> {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let series = answer.lines().filter(|line| line.starts_with("pubsub_"));
    series.map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_metric_of_the_dashboard_is_served() {
    let mut found = Vec::new();
    queries(&serde_json::from_str(DASHBOARD).unwrap(), &mut found);
    let wanted: BTreeSet<String> = found.iter().flat_map(|query| metrics(query)).collect();
    assert!(wanted.len() > 20, "{wanted:?}");
    let known = |name: &String| {
        let plain = name.strip_suffix("_bucket").or_else(|| name.strip_suffix("_count")).unwrap_or(name);
        names::ALL.iter().any(|metric| metric.name == plain)
    };
    assert_eq!(wanted.iter().find(|name| !known(name)), None, "it is documented nowhere");

    let mut command = Command::new(built());
    let child = command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut program = Program(child);
    let mut line = String::new();
    BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().split_once("http://").and_then(|(_, url)| url.strip_suffix("/metrics")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let served = scrape(address);
        let missing: Vec<_> = wanted.difference(&served).collect();
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "not served: {missing:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

//! The command line on brokers: what it prints, and what its status says.
#![allow(clippy::unwrap_used)]

use std::{
    process::{Command, ExitCode, Output, Stdio},
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub::{EventRpc, Failure, PubSub};
use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions, find};
use serde_json::{Value, json};

type Case = fn(&str) -> Result<(), Failed>;

const KINDS: [BrokerKind; 2] = [BrokerKind::Redis, BrokerKind::Nats];

fn main() -> ExitCode {
    let cases: [(&str, Case); 3] = [("publish and tail", published), ("requests", asked), ("dead letters", buried)];
    let mut trials = Vec::new();
    for kind in KINDS {
        let here = Broker::is_installed(kind).is_ok() || find::is_required(kind);
        for (name, case) in cases {
            let run = move || {
                let broker = Broker::start(kind, &BrokerOptions::new())?;
                case(&broker.url())
            };
            trials.push(Trial::test(format!("{kind}: {name}"), run).with_ignored_flag(!here));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs the program, and gives what it says.
fn run(url: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pubsub"));
    command.args(words).env("PUBSUB_URL", url).stdin(Stdio::null());
    command.output().unwrap()
}

/// The documents that a sound run prints.
fn documents(url: &str, words: &[&str]) -> Result<Vec<Value>, Failed> {
    let output = run(url, &[words, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(format!("{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[allow(clippy::needless_pass_by_value, reason = "what is expected is written where it is used")]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> Result<(), Failed> {
    if seen == expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}, saw {seen:?}").into()) }
}

fn published(url: &str) -> Result<(), Failed> {
    for number in [1, 2] {
        let receipt = documents(url, &["publish", "orders:created", &format!(r#"{{"n":{number}}}"#), "--key", "k"])?;
        same("a new event", receipt[0]["duplicate"].clone(), json!(false))?;
    }
    let events = documents(url, &["tail", "orders", "--from", "earliest", "--count", "2"])?;
    same("the payloads", events.iter().map(|event| event["payload"]["n"].clone()).collect(), vec![json!(1), json!(2)])?;
    same("the key", events[0]["meta"]["key"].clone(), json!("k"))?;
    for (words, status) in [
        (&["publish", "no name", "{}"][..], 1),
        (&["publish", "orders:created", "{"][..], 1),
        (&["tail", "no channel"][..], 1),
        (&["dlq", "drop", "orders", "g"][..], 1),
        (&["nonsense"][..], 2),
    ] {
        let output = run(url, words);
        same(&format!("the status of {words:?}"), output.status.code(), Some(status))?;
        same("what a failure prints", (output.stdout.is_empty(), output.stderr.is_empty()), (true, false))?;
    }
    Ok(())
}

#[pubsub::event(name = "sums:add", reply = i64)]
struct Add {
    left: i64,
    right: i64,
}

fn on_runtime<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(future)
}

async fn connected(url: &str) -> PubSub {
    pubsub::connect(url).await.unwrap()
}

fn asked(url: &str) -> Result<(), Failed> {
    on_runtime(async {
        let bus = connected(url).await;
        let add = |asked: Add| async move {
            asked.left.checked_add(asked.right).ok_or_else(|| Failure::bad_request("too large"))
        };
        let responder = EventRpc::new(&bus).respond::<Add, _, _>("adding", add).await?;
        let call = |data: String| {
            let url = url.to_owned();
            tokio::task::spawn_blocking(move || run(&url, &["request", "sums:add", &data, "--json"]))
        };
        let sum = call(json!({"left": 2, "right": 3}).to_string()).await?;
        same("the sum", (sum.status.code(), String::from_utf8_lossy(&sum.stdout).trim()), (Some(0), "5"))?;
        let failed = call(json!({"left": i64::MAX, "right": 3}).to_string()).await?;
        let failure: Value = serde_json::from_slice(&failed.stdout)?;
        same("the failure", (failed.status.code(), failure["code"].clone()), (Some(1), json!("BAD_REQUEST")))?;
        responder.stop().await;
        Ok(bus.close(Duration::from_secs(5)).await?)
    })
}

fn buried(url: &str) -> Result<(), Failed> {
    on_runtime(async {
        let bus = connected(url).await;
        let mut events = bus.subscribe::<Add>().group("g").await?;
        for left in 0..3 {
            bus.publish(&Add { left, right: 0 }).id(format!("add-{left}").parse()?).await?;
            events.next().await.unwrap()?.reject(format!("reason {left}"))?;
        }
        // Closing waits for the letters.
        drop(events);
        Ok::<_, Failed>(bus.close(Duration::from_secs(10)).await?)
    })?;
    let ids = |words: &[&str]| -> Result<Vec<Value>, Failed> {
        Ok(documents(url, words)?.iter().map(|letter| letter["id"].clone()).collect())
    };
    let list = ["dlq", "list", "sums", "g"];
    same("all letters", ids(&list)?, vec![json!("add-0"), json!("add-1"), json!("add-2")])?;
    same("one by reason", ids(&[&list[..], &["--reason", "reason 1"]].concat())?, vec![json!("add-1")])?;
    let shown = documents(url, &["dlq", "show", "sums", "g", "add-1"])?;
    same("one whole", shown[0]["event"]["payload"].clone(), json!({"left": 1, "right": 0}))?;
    for expected in [1, 0] {
        let done = documents(url, &["dlq", "redrive", "sums", "g", "--id", "add-1"])?;
        same("how many are delivered again", done[0].clone(), json!({"redriven": expected, "failed": 0}))?;
    }
    let done = documents(url, &["dlq", "drop", "sums", "g", "--all"])?;
    same("how many are dropped", done[0].clone(), json!({"dropped": 2, "failed": 0}))?;
    same("what is left", ids(&list)?, Vec::new())?;
    on_runtime(async {
        let bus = connected(url).await;
        let mut events = bus.subscribe::<Add>().group("g").await?;
        let again = events.next_timeout(Duration::from_secs(20)).await?.ok_or("nothing is delivered again")?;
        same("what is delivered again", again.left, 1)?;
        again.ack();
        Ok(bus.close(Duration::from_secs(5)).await?)
    })
}

//! `cargo xtask brokers`: the servers of the tests for a person, running until told to stop.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pubsub_testkit::broker::{self, Broker, BrokerKind, BrokerOptions, DetachedBroker};

use crate::install::{self, Consent};
use crate::log::Log;
use crate::workspace::Workspace;
use crate::{Fault, chain};

const ANSWER: Duration = Duration::from_secs(5);
const STOP: Duration = Duration::from_secs(20);

/// Starts what does not run. The URLs go to standard output, everything else to standard error.
pub(crate) fn up(workspace: &Workspace, kinds: &[BrokerKind], consent: Consent) -> Result<bool, Fault> {
    let mut running = recorded(workspace);
    running.retain(DetachedBroker::is_running);
    let missing: Vec<_> =
        kinds.iter().copied().filter(|kind| !running.iter().any(|broker| broker.kind == *kind)).collect();
    let mut log = Log::create(&workspace.logs_folder(), "get-brokers")?;
    let noted = install::ensure(workspace, &missing, consent, &mut log);
    let note = noted.map_err(|fault| format!("{}; see {}", chain(&*fault), workspace.shown(log.path())))?;
    eprintln!("{note}");
    for kind in missing {
        let begun = Instant::now();
        let home = workspace.brokers_folder().join("run").join(kind.name());
        // The data of a broker that `down` did not stop.
        fs::remove_dir_all(&home).ok();
        let broker = Broker::start(kind, &BrokerOptions::new().home(&home))?;
        eprintln!("{kind} answers after {:.1} s: {}", begun.elapsed().as_secs_f64(), broker.info());
        running.push(broker.detach()?);
        record(workspace, &running)?;
    }
    for broker in running.iter().filter(|broker| kinds.contains(&broker.kind)) {
        println!("{}={}", broker.kind.url_variable(), broker.url);
    }
    Ok(true)
}

pub(crate) fn down(workspace: &Workspace) -> Result<bool, Fault> {
    let brokers = recorded(workspace);
    for broker in &brokers {
        let ran = broker.is_running();
        broker.stop(STOP)?;
        fs::remove_dir_all(&broker.home).ok();
        eprintln!("{} {}", broker.kind, if ran { "stopped" } else { "had ended" });
    }
    if brokers.is_empty() {
        eprintln!("no broker was started");
    } else {
        fs::remove_file(state_file(workspace))?;
    }
    Ok(true)
}

/// Asks every recorded broker; all must answer.
pub(crate) fn status(workspace: &Workspace) -> Result<bool, Fault> {
    let brokers = recorded(workspace);
    let mut all_answer = !brokers.is_empty();
    for kind in BrokerKind::ALL {
        let Some(broker) = brokers.iter().find(|broker| broker.kind == kind) else {
            println!("{kind:<9} not started");
            continue;
        };
        match broker::handshake(kind, &broker.url, ANSWER) {
            Ok(info) => println!("{kind:<9} answers at {}: {info}", broker.url),
            Err(fault) => {
                all_answer = false;
                let state = if broker.is_running() { "runs" } else { "has ended" };
                println!("{kind:<9} {state} but does not answer at {}: {}", broker.url, chain(&fault));
            }
        }
    }
    Ok(all_answer)
}

fn state_file(workspace: &Workspace) -> PathBuf {
    workspace.brokers_folder().join("running.tsv")
}

fn recorded(workspace: &Workspace) -> Vec<DetachedBroker> {
    let text = fs::read_to_string(state_file(workspace)).unwrap_or_default();
    text.lines().filter_map(DetachedBroker::from_line).collect()
}

fn record(workspace: &Workspace, brokers: &[DetachedBroker]) -> Result<(), Fault> {
    let text: String = brokers.iter().map(|broker| broker.to_line() + "\n").collect();
    Ok(fs::write(state_file(workspace), text)?)
}

//! The four servers of one test run: all tests share them, and they end with it.

use std::fs;
use std::thread;
use std::time::Duration;

use pubsub_testkit::broker::{self, Broker, BrokerError, BrokerKind, BrokerOptions, find};

use crate::compose;
use crate::log::Log;
use crate::workspace::Workspace;
use crate::{Fault, chain};

#[derive(Default)]
pub(crate) struct Fleet {
    owned: Vec<Broker>,
    /// Servers that were named or that a container engine runs.
    others: Vec<(BrokerKind, String)>,
    uses_compose: bool,
}

impl Fleet {
    pub(crate) fn is_empty(&self) -> bool {
        self.owned.is_empty() && self.others.is_empty()
    }

    /// The environment that tells tests where the servers are.
    pub(crate) fn urls(&self) -> Vec<(&'static str, String)> {
        let owned = self.owned.iter().map(|broker| (broker.kind(), broker.url()));
        owned.chain(self.others.iter().cloned()).map(|(kind, url)| (kind.url_variable(), url)).collect()
    }

    /// Starts what is not named by the environment; every server has answered its handshake when this returns.
    pub(crate) fn start(&mut self, workspace: &Workspace, log: &mut Log) -> Result<String, Fault> {
        const ANSWER: Duration = Duration::from_secs(10);
        let mut installed = Vec::new();
        let mut contained = Vec::new();
        for kind in BrokerKind::ALL {
            match find::url_from_environment(kind) {
                Some(url) => self.others.push((kind, url)),
                None if Broker::is_installed(kind).is_ok() => installed.push(kind),
                None => contained.push(kind),
            }
        }
        if !contained.is_empty() && compose::engine_answers() {
            self.uses_compose = true;
            self.others.extend(compose::up(workspace, &contained, log)?);
        }
        for (kind, url) in &self.others {
            let info =
                broker::handshake(*kind, url, ANSWER).map_err(|fault| format!("{kind} at {url}: {}", chain(&fault)))?;
            log.say(format!("{kind}: {url}, {info}"))?;
        }

        let mut faults = Vec::new();
        for outcome in start_together(workspace, &installed) {
            match outcome {
                Ok(broker) => {
                    log.say(format!("{}: {}, {}", broker.kind(), broker.url(), broker.info()))?;
                    self.owned.push(broker);
                }
                Err(fault) => faults.push(chain(&fault)),
            }
        }
        if !self.uses_compose {
            faults.extend(
                contained.iter().filter_map(|kind| Broker::is_installed(*kind).err()).map(|fault| chain(&fault)),
            );
        }
        if !faults.is_empty() {
            return Err(faults.join("; ").into());
        }
        let names = self
            .owned
            .iter()
            .map(|broker| format!("{} {}", broker.kind(), broker.info().version.as_deref().unwrap_or_default()));
        let others = self.others.iter().map(|(kind, url)| format!("{kind} at {url}"));
        Ok(names.chain(others).collect::<Vec<_>>().join(", "))
    }

    pub(crate) fn stop(&mut self, log: &mut Log) -> Result<(), Fault> {
        let mut faults = Vec::new();
        for mut broker in self.owned.drain(..) {
            faults.extend(broker.stop().and_then(|()| broker.wipe()).err().map(|fault| chain(&fault)));
        }
        if self.uses_compose {
            faults.extend(compose::down(log).err().map(|fault| chain(&*fault)));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ").into()) }
    }
}

fn start_together(workspace: &Workspace, kinds: &[BrokerKind]) -> Vec<Result<Broker, BrokerError>> {
    // Beside the logs of the parts, so that one folder explains a failed run.
    let home = |kind: &BrokerKind| workspace.logs_folder().join("brokers").join(kind.name());
    thread::scope(|scope| {
        let starting: Vec<_> = kinds
            .iter()
            .map(|kind| {
                scope.spawn(move || {
                    // What an earlier run left, if it was killed.
                    fs::remove_dir_all(home(kind)).ok();
                    Broker::start(*kind, &BrokerOptions::new().home(home(kind)))
                })
            })
            .collect();
        starting.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

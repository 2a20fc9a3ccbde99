use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Signal, kill_process, kill_process_group, test_kill_process_group};

use super::process::{pid, start_time_of, state_of, wait_until};
use super::{BrokerError, BrokerKind};

/// A broker that runs on after its starter, and can be found again by its line in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DetachedBroker {
    /// Which broker.
    pub kind: BrokerKind,
    /// Where it answers.
    pub url: String,
    /// Its folder.
    pub home: PathBuf,
    server: u32,
    group: u32,
    started: u64,
}

impl DetachedBroker {
    pub(super) fn new(kind: BrokerKind, url: String, home: PathBuf, server: u32, group: u32) -> Self {
        Self { kind, url, home, server, group, started: start_time_of(server).unwrap_or_default() }
    }

    /// The line that [`from_line`](Self::from_line) reads.
    #[must_use]
    pub fn to_line(&self) -> String {
        let Self { kind, url, home, server, group, started } = self;
        format!("{kind}\t{server}\t{group}\t{started}\t{url}\t{}", home.display())
    }

    /// Reads a line that [`to_line`](Self::to_line) wrote.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, '\t');
        let kind = BrokerKind::from_name(fields.next()?)?;
        let server = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let started = fields.next()?.parse().ok()?;
        let url = fields.next()?.to_owned();
        let home = PathBuf::from(fields.next()?);
        Some(Self { kind, url, home, server, group, started })
    }

    /// Whether the very process runs; another one that was given the same id does not count.
    #[must_use]
    pub fn is_running(&self) -> bool {
        state_of(self.server).is_some_and(|state| state != 'Z') && start_time_of(self.server) == Some(self.started)
    }

    /// Asks it to end, kills what is left of its group after `within`.
    ///
    /// # Errors
    /// When its processes could not be signalled or did not end.
    pub fn stop(&self, within: Duration) -> Result<(), BrokerError> {
        if !self.is_running() {
            return Ok(());
        }
        let fault = || BrokerError::io(format!("stop {}", self.kind));
        let (server, group) = (pid(self.server).map_err(fault())?, pid(self.group).map_err(fault())?);
        kill_process_group(group, Signal::CONT).ok();
        kill_process(server, Signal::TERM).map_err(|error| fault()(error.into()))?;
        wait_until(within, || !self.is_running()).ok();
        kill_process_group(group, Signal::KILL).ok();
        // What is left of a group may be an ended process that its new parent has not collected.
        wait_until(within, || test_kill_process_group(group).is_err() || !self.is_running()).map_err(fault())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back() {
        let written =
            DetachedBroker::new(BrokerKind::Nats, "nats://127.0.0.1:1".into(), "/some/where odd".into(), 4, 5);
        assert_eq!(DetachedBroker::from_line(&written.to_line()), Some(written));
        assert_eq!(DetachedBroker::from_line("nats\t4\t5"), None);
    }

    #[test]
    fn another_process_with_the_same_id_is_not_it() {
        let mut ours = DetachedBroker::new(BrokerKind::Nats, String::new(), PathBuf::new(), std::process::id(), 0);
        assert!(ours.is_running());
        ours.started += 1;
        assert!(!ours.is_running());
    }
}

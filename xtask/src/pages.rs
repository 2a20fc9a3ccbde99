//! The pages of the example `orders_http` in a browser, over brokers of their own.

use std::path::PathBuf;
use std::time::Duration;

use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions};

use crate::chain;
use crate::install::{self, Consent};
use crate::log::Log;
use crate::node::Package;
use crate::report::Outcome;
use crate::workspace::Workspace;

const EXAMPLE: &str = "orders_http";
const BUILD: Duration = Duration::from_secs(20 * 60);
/// Those over which pages go on when the shop was closed: their history outlives it.
const BROKERS: [(BrokerKind, &str); 2] =
    [(BrokerKind::Redis, "PUBSUB_ORDERS_REDIS"), (BrokerKind::Nats, "PUBSUB_ORDERS_NATS")];

pub(crate) fn check(workspace: &Workspace, consent: Consent, log: &mut Log) -> Outcome {
    install::web::ensure(consent, log)?;
    let mut build = workspace.cargo();
    log.run(build.args(["build", "--workspace", "--all-features", "--example", EXAMPLE]), BUILD)?;
    let mut variables = vec![("PUBSUB_ORDERS_HTTP", workspace.target.join("debug/examples").join(EXAMPLE))];
    // They end with this.
    let mut brokers = Vec::new();
    for (kind, variable) in BROKERS {
        let broker =
            Broker::start(kind, &BrokerOptions::new()).map_err(|fault| format!("{kind}: {}", chain(&fault)))?;
        variables.push((variable, PathBuf::from(broker.url())));
        brokers.push(broker);
    }
    let package = Package {
        source: workspace.root.join("examples").join(EXAMPLE).join("pages"),
        home: workspace.target.join("orders_http_pages"),
        folders: &["lib", "test"],
    };
    package.test(&variables, log)
}

//! Stock clients and a browser against the demonstration server: a package of tests for Node.

use std::time::Duration;

use crate::install::{self, Consent};
use crate::log::Log;
use crate::node::Package;
use crate::report::Outcome;
use crate::workspace::Workspace;

const BUILD: Duration = Duration::from_secs(20 * 60);

pub(crate) fn check(workspace: &Workspace, consent: Consent, log: &mut Log) -> Outcome {
    install::web::ensure(consent, log)?;
    let mut build = workspace.cargo();
    log.run(build.args(["build", "--workspace", "--all-features", "--example", "demo"]), BUILD)?;
    let package = Package {
        source: workspace.root.join("pubsub-server/tests/node"),
        home: workspace.target.join("web"),
        folders: &["lib", "test", "typed"],
    };
    package.test(&[("PUBSUB_DEMO", workspace.target.join("debug/examples/demo"))], log)
}

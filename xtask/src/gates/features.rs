//! Features are additive: the facade, and the crates below it, compile without a warning whatever is chosen.

use super::{LIMIT, noted};
use crate::log::Log;
use crate::report::Outcome;
use crate::workspace::{FACADE, Workspace};

/// Features that change each other, beside each alone: TLS with every client, Kafka with its own, and brokers without
/// memory.
const SETS: &[&[&str]] = &[
    &["redis", "tls"],
    &["rabbitmq", "tls"],
    &["client-http", "tls"],
    &["kafka", "kafka-ssl"],
    &["redis", "nats", "rabbitmq", "macros"],
];

pub(crate) fn check(workspace: &Workspace, log: &mut Log) -> Outcome {
    let facade = workspace.package(FACADE)?;
    let mut packages = workspace.normal_dependencies(facade);
    packages.retain(|name| workspace.is_member(name));
    packages.push(FACADE.into());

    let features: Vec<String> =
        facade["features"].as_object().into_iter().flat_map(|all| all.keys().cloned()).collect();
    let alone = features.iter().map(|feature| Some(vec![feature.clone()]));
    let together = SETS.iter().map(|set| Some(set.iter().map(|&feature| feature.to_owned()).collect()));
    let sets = [Some(Vec::new())].into_iter().chain(alone).chain(together).chain([None]);
    let mut checked = 0;
    for set in sets {
        let mut command = workspace.cargo();
        command.arg("clippy").args(packages.iter().flat_map(|package| ["-p", package]));
        match set {
            Some(set) => {
                command.arg("--no-default-features");
                for feature in set {
                    command.arg("--features").arg(format!("{FACADE}/{feature}"));
                }
            }
            None => {
                command.arg("--all-features");
            }
        }
        log.run(command.args(["--", "-D", "warnings"]), LIMIT)?;
        checked += 1;
    }
    Ok(noted(format!("{checked} sets of features")))
}

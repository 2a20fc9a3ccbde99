//! Which crate may depend on which, and how small the default tree stays. Normal dependencies only: tests are free.

use std::collections::BTreeSet;
use std::process::Command;

use super::noted;
use crate::Fault;
use crate::log::Log;
use crate::report::Outcome;
use crate::workspace::{FACADE, Workspace};

enum May {
    Anything,
    Only(&'static [&'static str]),
}
use May::{Anything, Only};

/// The arrows of the architecture. A new crate needs a row.
const ARROWS: &[(&str, May)] = &[
    ("pubsub-core", Only(&[])),
    ("pubsub-macros", Only(&[])),
    ("pubsub-adapters", Only(&["pubsub-core"])),
    ("pubsub-router", Only(&["pubsub-core"])),
    ("pubsub-client", Only(&["pubsub-core"])),
    ("pubsub-sql", Only(&["pubsub-core", "pubsub-router"])),
    ("pubsub-codegen", Only(&["pubsub-core"])),
    ("pubsub-server", Only(&["pubsub-core", "pubsub-router", "pubsub-codegen"])),
    ("pubsub-testkit", Only(&["pubsub-core", "pubsub-adapters", "pubsub-router", "pubsub-client"])),
    ("pubsub-fuzz", Only(&["pubsub-core", "pubsub-adapters"])),
    ("xtask", Only(&["pubsub-testkit"])),
    (FACADE, Anything),
    ("pubsub-cli", Anything),
    ("pubsub-examples", Anything),
    ("pubsub-benches", Anything),
];

/// The core names no broker, no HTTP and no SQL.
const NOT_IN_CORE: &[&str] = &["axum", "hyper", "reqwest", "tower", "sqlx", "rusqlite"];

/// The clients of the brokers, which only the adapters use; `cargo xtask` does not build them either.
const CLIENTS: &[&str] = &["redis", "rdkafka", "async-nats", "lapin"];

const MOST_PACKAGES: usize = 40;

pub(crate) fn check(workspace: &Workspace, log: &mut Log) -> Outcome {
    let mut faults = Vec::new();
    for package in &workspace.packages {
        let name = package["name"].as_str().unwrap_or_default();
        let dependencies = workspace.normal_dependencies(package);
        log.say(format!("{name}: {}", dependencies.join(", ")))?;
        let (ours, foreign): (Vec<_>, Vec<_>) = dependencies.into_iter().partition(|name| workspace.is_member(name));
        faults.extend(wrong_arrows(name, &ours));
        // The benches measure beside the bare clients.
        if !matches!(name, "pubsub-adapters" | "pubsub-benches") {
            let clients = foreign.iter().filter(|name| CLIENTS.contains(&name.as_str()));
            faults.extend(clients.map(|client| format!("{name} depends on {client}, which is for adapters")));
        }
        // Its types are in that interface, and in no other.
        if name != "pubsub-sql" && foreign.iter().any(|foreign| foreign == "sqlx") {
            faults.push(format!("{name} depends on sqlx, which is for pubsub-sql"));
        }
        if name == "pubsub-core" {
            let named = foreign.iter().filter(|name| NOT_IN_CORE.contains(&name.as_str()));
            faults.extend(named.map(|foreign| format!("pubsub-core depends on {foreign}")));
        }
    }
    let own = tree_of(workspace, "xtask")?;
    log.say(format!("xtask, {} packages", own.len()))?;
    faults.extend(clients_in(&own).map(|client| format!("cargo xtask builds {client}")));
    let tree = tree_of(workspace, FACADE)?;
    log.say(format!(
        "default tree, {} packages:\n{}",
        tree.len(),
        tree.iter().cloned().collect::<Vec<_>>().join("\n")
    ))?;
    faults.extend(faults_of_tree(&tree));
    if faults.is_empty() {
        return Ok(noted(format!("{} packages in the default tree", tree.len())));
    }
    Err(faults.join("; ").into())
}

fn wrong_arrows(package: &str, dependencies: &[String]) -> Vec<String> {
    match ARROWS.iter().find(|(name, _)| *name == package) {
        None => vec![format!("{package} has no row in the table of arrows")],
        Some((_, Anything)) => Vec::new(),
        Some((_, Only(allowed))) => dependencies
            .iter()
            .filter(|name| !allowed.contains(&name.as_str()))
            .map(|name| format!("{package} must not depend on {name}"))
            .collect(),
    }
}

/// `name version` of everything that a user of the package's default features compiles.
fn tree_of(workspace: &Workspace, package: &str) -> Result<BTreeSet<String>, Fault> {
    let mut command: Command = workspace.cargo();
    command.args(["tree", "-p", package, "-e", "normal,build", "--prefix", "none", "--no-dedupe", "--format", "{p}"]);
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let packages = text.lines().filter(|line| !line.is_empty());
    Ok(packages.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect())
}

fn clients_in(tree: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    tree.iter().filter_map(|package| package.split(' ').next()).filter(|name| CLIENTS.contains(name))
}

fn faults_of_tree(tree: &BTreeSet<String>) -> Vec<String> {
    let mut faults: Vec<String> = tree
        .iter()
        .filter_map(|package| package.split(' ').next())
        .filter(|name| matches!(*name, "cc" | "cmake") || name.ends_with("-sys"))
        .map(|name| format!("{name} is in the default tree"))
        .collect();
    if tree.is_empty() || tree.len() > MOST_PACKAGES {
        faults.push(format!("{} packages in the default tree, at most {MOST_PACKAGES} are allowed", tree.len()));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_are_held() {
        assert!(wrong_arrows("pubsub-adapters", &["pubsub-core".into()]).is_empty());
        assert!(wrong_arrows(FACADE, &["pubsub-server".into()]).is_empty());
        assert_eq!(wrong_arrows("pubsub-core", &["pubsub-adapters".into()]).len(), 1);
        assert_eq!(wrong_arrows("pubsub-new", &[]).len(), 1);
    }

    #[test]
    fn clients_are_found_in_a_tree() {
        let tree = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(
            clients_in(&tree(&["bytes 1.0.0", "redis 1.8.1", "redis-test 1.0.0"])).collect::<Vec<_>>(),
            ["redis"]
        );
    }

    #[test]
    fn the_default_tree_builds_without_a_c_compiler() {
        let tree = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert!(faults_of_tree(&tree(&["bytes 1.0.0", "libc 0.2.0"])).is_empty());
        assert_eq!(faults_of_tree(&tree(&["cc 1.0.0", "zstd-sys 2.0.0", "cmake 0.1.0"])).len(), 3);
        assert_eq!(faults_of_tree(&BTreeSet::new()).len(), 1);
        assert_eq!(faults_of_tree(&(0..=MOST_PACKAGES).map(|number| format!("p{number} 1.0.0")).collect()).len(), 1);
    }
}

//! What cargo says of the workspace.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Fault;

pub(crate) const FACADE: &str = "pubsub-kit";

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// The packages of the workspace, as `cargo metadata` describes them.
    pub(crate) packages: Vec<Value>,
}

/// A target such as an integration test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) package: String,
    pub(crate) name: String,
    /// Those of its package without which it is not built.
    pub(crate) features: Vec<String>,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self, Fault> {
        // Cargo sets it for the programs that it runs.
        let here = env::var_os("CARGO_MANIFEST_DIR").map_or_else(env::current_dir, |folder| Ok(folder.into()))?;
        let mut command = cargo();
        command.current_dir(here).args(["metadata", "--format-version", "1", "--no-deps"]);
        let output = command.output()?;
        if !output.status.success() {
            return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let folder = |name: &str| metadata[name].as_str().map(PathBuf::from).ok_or(format!("no {name}"));
        Ok(Self {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
            packages: metadata["packages"].as_array().cloned().unwrap_or_default(),
        })
    }

    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root).env("CARGO_TERM_COLOR", "never");
        command
    }

    pub(crate) fn package(&self, name: &str) -> Result<&Value, Fault> {
        let found = self.packages.iter().find(|package| package["name"] == name);
        found.ok_or_else(|| format!("the workspace has no package {name}").into())
    }

    pub(crate) fn is_member(&self, name: &str) -> bool {
        self.package(name).is_ok()
    }

    /// All targets of this kind: `test`, `example`, `bin`.
    pub(crate) fn targets(&self, kind: &str) -> Vec<Target> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut found = Vec::new();
        for package in &self.packages {
            for target in package["targets"].as_array().into_iter().flatten() {
                if target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind)) {
                    let features = target["required-features"].as_array().into_iter().flatten().map(text).collect();
                    found.push(Target { package: text(&package["name"]), name: text(&target["name"]), features });
                }
            }
        }
        found
    }

    /// The workspace's packages that this one needs to run (not its tests), optional ones included.
    pub(crate) fn normal_dependencies(&self, package: &Value) -> Vec<String> {
        let mut names: Vec<String> = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// What `cargo xtask` fetches and starts for itself.
    pub(crate) fn brokers_folder(&self) -> PathBuf {
        self.target.join("brokers")
    }

    pub(crate) fn logs_folder(&self) -> PathBuf {
        self.target.join("logs")
    }

    /// The path as a person in the root folder would type it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Set for this program, and a reason to compile anew for crates that look at it.
    command.env_remove("CARGO_MANIFEST_DIR");
    command
}

//! What the tests with stock clients and validators need: Node with npm, which the machine must bring (Debian's may be too old), and Chromium.

use std::process::Command;

use super::{Consent, apt, runs};
use crate::Fault;
use crate::log::Log;

/// The oldest Node whose test runner does what the packages ask of it.
const NODE: (u32, u32) = (20, 14);
/// The names under which a browser is looked for, as the tests do.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Gets the browser, and says what is missing beside it.
pub(crate) fn ensure(consent: Consent, log: &mut Log) -> Result<(), Fault> {
    ensure_node()?;
    let named = std::env::var_os("PUBSUB_CHROMIUM").is_some();
    if !named && !has_browser() {
        apt::install_with(consent, &["chromium"], log)?;
        if !has_browser() {
            return Err("Chromium does not run, though it was installed".into());
        }
    }
    Ok(())
}

/// Says what is missing of Node.
pub(crate) fn ensure_node() -> Result<(), Fault> {
    let version = Command::new("node").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    check_node(&String::from_utf8_lossy(&version))?;
    if !runs("npm", &["--version"]) {
        return Err("npm is not on this machine; it usually comes with Node".into());
    }
    Ok(())
}

fn has_browser() -> bool {
    BROWSERS.iter().any(|browser| runs(browser, &["--version"]))
}

/// `version` is what `node --version` prints.
fn check_node(version: &str) -> Result<(), String> {
    let mut numbers = version.trim().trim_start_matches('v').split('.').map_while(|part| part.parse::<u32>().ok());
    let here = numbers.next().zip(numbers.next());
    let (major, minor) = NODE;
    let needed = format!("stock clients and validators need Node {major}.{minor} or later");
    match here {
        Some(here) if here >= NODE => Ok(()),
        Some((major, minor)) => Err(format!("Node is {major}.{minor} here; {needed}")),
        None => Err(format!("Node is not on this machine; {needed}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_must_be_new_enough() {
        assert!(check_node("v20.14.0\n").is_ok() && check_node("v24.0.0\n").is_ok());
        assert!(check_node("v20.9.1\n").unwrap_err().contains("Node is 20.9 here"));
        assert!(check_node("").unwrap_err().contains("not on this machine"));
    }
}

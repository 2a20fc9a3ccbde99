//! Files that people do not get lost in.

use std::fs;
use std::process::Command;

use super::noted;
use crate::log::Log;
use crate::report::Outcome;
use crate::workspace::Workspace;

const MOST_LINES: usize = 500;

pub(crate) fn check(workspace: &Workspace, log: &mut Log) -> Outcome {
    let mut listing = Command::new("git");
    listing.current_dir(&workspace.root).args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]);
    let output = listing.output()?;
    if !output.status.success() {
        return Err(format!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let mut sizes = Vec::new();
    for name in String::from_utf8(output.stdout)?.lines() {
        // A file that was deleted but not yet committed is still listed.
        if let Ok(text) = fs::read_to_string(workspace.root.join(name)) {
            sizes.push((text.lines().count(), name.to_owned()));
        }
    }
    sizes.sort_unstable();
    for (lines, name) in &sizes {
        log.say(format!("{lines:>5} {name}"))?;
    }
    let too_long: Vec<_> = sizes.iter().filter(|(lines, _)| *lines > MOST_LINES).collect();
    match (sizes.get(sizes.len() / 2), too_long.as_slice()) {
        (None, _) => Err("no source file was found".into()),
        (Some((median, _)), []) => Ok(noted(format!("{} files, median {median} lines", sizes.len()))),
        (_, long) => Err(format!("longer than {MOST_LINES} lines: {long:?}").into()),
    }
}

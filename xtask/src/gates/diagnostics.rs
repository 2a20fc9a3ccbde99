//! Every public trait tells the user what to do about a type that lacks it.

use std::{fs, process::Command};

use super::noted;
use crate::{log::Log, report::Outcome, workspace::Workspace};

/// Lines above a trait in which its attributes stand.
const ATTRIBUTES: usize = 12;

pub(crate) fn check(workspace: &Workspace, log: &mut Log) -> Outcome {
    let mut listing = Command::new("git");
    listing.current_dir(&workspace.root).args(["grep", "--untracked", "-lE", "^pub trait ", "--", "*/src/*.rs"]);
    let output = listing.output()?;
    let (mut found, mut bare) = (0, Vec::new());
    for name in String::from_utf8(output.stdout)?.lines() {
        let text = fs::read_to_string(workspace.root.join(name))?;
        let lines: Vec<_> = text.lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("pub trait ")) {
            found += 1;
            log.say(format!("{name}: {line}"))?;
            let above = &lines[index.saturating_sub(ATTRIBUTES)..index];
            if !above.iter().any(|line| line.contains("diagnostic::on_unimplemented")) {
                bare.push(format!("{name}:{}", index + 1));
            }
        }
    }
    match (found, bare.as_slice()) {
        (0, _) => Err("no public trait was found".into()),
        (_, []) => Ok(noted(format!("{found} public traits"))),
        (_, bare) => Err(format!("without `#[diagnostic::on_unimplemented]`: {}", bare.join(", ")).into()),
    }
}

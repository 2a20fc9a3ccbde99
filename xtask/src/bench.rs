//! `cargo xtask bench`: runs the measuring program and keeps its table.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::Fault;
use crate::workspace::Workspace;

const HEADER: &str = "case\tours\tlimit\tratio\tunit\tpairs\tspread";

/// The program prints one row per case; what it says besides goes to standard error.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<bool, Fault> {
    if !workspace.targets("bin").iter().any(|target| target.package == "pubsub-benches" && target.name == "bench") {
        return Err("pubsub-benches has no program `bench` yet".into());
    }
    let mut command = workspace.cargo();
    command.args(["run", "--quiet", "--release", "-p", "pubsub-benches", "--bin", "bench", "--"]).args(arguments);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    fs::create_dir_all(&workspace.target)?;
    let mut table = File::create(workspace.target.join("bench.tsv"))?;
    let rows = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    println!("{HEADER}");
    writeln!(table, "{HEADER}")?;
    for row in rows {
        let row = row?;
        if row != HEADER {
            println!("{row}");
            writeln!(table, "{row}")?;
        }
    }
    Ok(child.wait()?.success())
}

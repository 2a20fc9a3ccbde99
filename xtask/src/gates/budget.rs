//! The size of a hello world on `memory:`: packages, the binary under the profile that the README shows, beside it that of
//! the plain release profile, which has no limit, and the rebuild after one changed line.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use super::{LIMIT, noted};
use crate::{
    Fault,
    log::Log,
    report::Outcome,
    workspace::{FACADE, Workspace},
};

const MOST_BYTES: u64 = 1_500_000;
const LONGEST_REBUILD: Duration = Duration::from_secs(1);
/// The fastest counts, for the machine may be busy with something else during the others: at least so many are made, and
/// more while none was fast enough.
const REBUILDS: std::ops::Range<usize> = 5..40;

pub(crate) fn check(workspace: &Workspace, log: &mut Log) -> Outcome {
    let folder = workspace.target.join("hello");
    let quickstart = fs::read_to_string(workspace.root.join("examples/quickstart.rs"))?;
    write_package(workspace, &folder, &quickstart)?;

    let mut size_under = |profile: &str| -> Result<u64, Fault> {
        let mut build = workspace.cargo();
        log.run(build.current_dir(&folder).args(["build", "--profile", profile]), LIMIT)?;
        Ok(fs::metadata(folder.join("target").join(profile).join("hello"))?.len())
    };
    let (bytes, plain) = (size_under("small")?, size_under("release")?);

    let mut debug = workspace.cargo();
    log.run(debug.current_dir(&folder).arg("build"), LIMIT)?;
    let mut fastest = Duration::MAX;
    for round in 0..REBUILDS.end {
        if round >= REBUILDS.start && fastest <= LONGEST_REBUILD {
            break;
        }
        let changed = quickstart.replace("billing {}", &format!("billing {round} {{}}"));
        if changed == quickstart {
            return Err("the quickstart has no line to change".into());
        }
        fs::write(folder.join("src/main.rs"), changed)?;
        let begun = Instant::now();
        let mut rebuild = workspace.cargo();
        log.run(rebuild.current_dir(&folder).env_remove("CARGO_INCREMENTAL").arg("build"), LIMIT)?;
        fastest = fastest.min(begun.elapsed());
    }

    let note = format!(
        "{bytes} bytes stripped, {plain} under the plain release profile, {} ms to rebuild a changed line",
        fastest.as_millis()
    );
    log.say(&note)?;
    let mut faults = Vec::new();
    if bytes > MOST_BYTES {
        faults.push(format!("the stripped binary has {bytes} bytes, at most {MOST_BYTES} are allowed"));
    }
    if fastest > LONGEST_REBUILD {
        faults.push(format!("a one-line rebuild takes {} ms, at most 1000 are allowed", fastest.as_millis()));
    }
    if faults.is_empty() { Ok(noted(note)) } else { Err(faults.join("; ").into()) }
}

/// A package outside the workspace, as a user would have it: the default features, and nothing but the README's lines.
fn write_package(workspace: &Workspace, folder: &Path, main: &str) -> Result<(), Fault> {
    let root = workspace.root.display();
    let manifest = format!(
        "[package]\nname = \"hello\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         pubsub = {{ package = \"{FACADE}\", path = \"{root}\" }}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\n\
         [profile.small]\ninherits = \"release\"\nstrip = true\nlto = true\ncodegen-units = 1\n"
    );
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/main.rs"), main)?;
    // The versions that everything else is tested with.
    fs::copy(workspace.root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    Ok(())
}

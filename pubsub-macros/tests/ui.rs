//! Definitions that compile and run (`ui/pass`), and the messages for those that do not (`ui/fail`).
//!
//! `TRYBUILD=overwrite cargo test -p pubsub-macros --test ui` records the messages anew.

use std::error::Error;
use std::path::{Path, PathBuf};

/// Longer lines are folded by terminals, which breaks the marks below the source.
const MAX_COLUMNS: usize = 160;

#[test]
fn definitions() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}

#[test]
fn messages_fit_a_terminal() -> Result<(), Box<dyn Error>> {
    let recorded = failures("stderr")?;
    assert!(!recorded.is_empty(), "no messages are recorded");
    for path in recorded {
        for (number, line) in std::fs::read_to_string(&path)?.lines().enumerate() {
            let columns = line.chars().count();
            let place = format!("{}:{}", path.display(), number + 1);
            assert!(columns <= MAX_COLUMNS, "{place} has {columns} columns: {line}");
        }
    }
    Ok(())
}

#[test]
fn every_failure_has_its_message() -> Result<(), Box<dyn Error>> {
    let cases = failures("rs")?;
    let without: Vec<_> = cases.iter().filter(|case| !case.with_extension("stderr").exists()).collect();
    assert!(without.is_empty(), "no messages for {without:?}");
    assert_eq!(cases.len(), failures("stderr")?.len(), "a message belongs to no case");
    Ok(())
}

fn failures(extension: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/fail");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

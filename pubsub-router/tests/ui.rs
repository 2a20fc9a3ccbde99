//! The compiler's messages for handlers that are wrong: each names the part at fault.
//!
//! `TRYBUILD=overwrite cargo test -p pubsub-router --test ui` records the messages anew.

use std::{error::Error, path::Path};

/// Longer lines are folded by terminals, which breaks the marks below the source.
const MAX_COLUMNS: usize = 160;

#[test]
fn wrong_handlers() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}

#[test]
fn messages_fit_a_terminal_and_name_the_part_at_fault() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/fail");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder)? {
        let source = entry?.path();
        if source.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        cases += 1;
        let message = std::fs::read_to_string(source.with_extension("stderr"))?;
        for line in message.lines() {
            assert!(line.chars().count() <= MAX_COLUMNS, "{}: {line}", source.display());
        }
        // The first line of each case says what its message must hold.
        let text = std::fs::read_to_string(&source)?;
        let wanted = text.lines().next().and_then(|line| line.strip_prefix("// ")).ok_or("no first line")?;
        assert!(message.contains(wanted), "{}: the message does not say: {wanted}", source.display());
    }
    assert!(cases >= 8, "only {cases} cases");
    Ok(())
}

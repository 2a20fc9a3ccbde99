//! The guide to writing an adapter shows the program that it speaks of, and the program runs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Command;

const GUIDE: &str = include_str!("../../docs/write-your-own-adapter.md");
const PROGRAM: &str = include_str!("../custom_adapter.rs");

/// The Rust blocks of the guide, put together.
fn blocks(guide: &str) -> String {
    let mut code = String::new();
    let mut inside = false;
    for line in guide.lines() {
        match (inside, line) {
            (false, "```rust") => inside = true,
            (true, "```") => inside = false,
            (true, line) => {
                code += line;
                code.push('\n');
            }
            (false, _) => {}
        }
    }
    code
}

/// The lines of code, without the module's own documentation and without empty ones.
fn lines(code: &str) -> Vec<&str> {
    code.lines().filter(|line| !line.starts_with("//!") && !line.trim().is_empty()).collect()
}

#[test]
fn the_blocks_are_the_program() {
    let guide = blocks(GUIDE);
    let (shown, real) = (lines(&guide), lines(PROGRAM));
    for (shown, real) in shown.iter().zip(&real) {
        assert_eq!(shown, real);
    }
    assert_eq!(shown.len(), real.len());
    assert!(shown.len() > 200, "the blocks were found");
}

#[test]
fn the_program_runs() {
    let mut cargo = Command::new(env!("CARGO"));
    // Set for this test, and to whoever compiles for it a reason to compile everything anew.
    cargo.env_remove("CARGO_MANIFEST_DIR");
    let output =
        cargo.args(["run", "--quiet", "-p", "pubsub-examples", "--example", "custom_adapter"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("passed"), "{text}");
}

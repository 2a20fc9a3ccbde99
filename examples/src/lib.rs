//! Examples: each file beside this one shows one thing. Run one with `cargo run --example <name>`.

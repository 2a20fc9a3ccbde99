//! Fuzz targets for everything in `pubsub` that reads foreign bytes.
//!
//! A target takes bytes, checks that whatever was accepted keeps its promises, and says whether it was accepted; a
//! panic is a fault. To add one: write the function in `targets`, name it in [`TARGETS`], and put at least one input
//! into `seeds/<name>/`. The stable driver, its short run in the tests, and `cargo-fuzz/` all work from there.
//!
//! `cargo run --release -p pubsub-fuzz -- [--seconds N] [--seed S] [TARGET…]`

mod driver;
mod mutate;
mod targets;

pub use driver::{Crash, Report, run, seeds_folder};
pub use targets::{attributes, cloudevents, document, names, positions, timestamps, urls};

/// A named target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, also that of its folder of seeds.
    pub name: &'static str,
    /// Tries one input; whether it was accepted.
    pub run: fn(&[u8]) -> bool,
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        &[$(Target { name: stringify!($name), run: $name }),*]
    };
}

/// All targets.
pub const TARGETS: &[Target] = targets![document, attributes, cloudevents, names, positions, timestamps, urls];

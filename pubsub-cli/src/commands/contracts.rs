//! `pubsub codegen` and `pubsub contracts`, over a catalog that a program has exported.

use std::{
    io::{stderr, stdout},
    process::ExitCode,
};

use pubsub::codegen::{DocumentOptions, Source, run as obey};

pub(crate) fn run(words: &[String]) -> ExitCode {
    let unnamed = DocumentOptions::new("Events", "0.0.0");
    obey(Source::File, unnamed, words, &mut stdout().lock(), &mut stderr().lock())
}

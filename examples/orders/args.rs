//! The command line.

use std::{ffi::OsString, fmt, path::PathBuf};

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
Publishes the orders of a JSON Lines file, lets three groups consume them, and
reconciles what they did with the input.

usage: orders [--json] [--show-rejected] [FILE | -]

  FILE             the orders, one JSON object per line; without it, the file
                   that comes with the example
  -                reads standard input
  --json           prints the outcome as one JSON object
  --show-rejected  names every rejected line on standard error
  -h, --help       prints this

PUBSUB_URL names the broker; the default is `memory:`, a bus in this process.

exit status: 0 if everything is accounted for, 1 if not, 2 if it cannot begin";

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Run(Args),
}

/// How to run.
#[derive(Debug, PartialEq)]
pub(crate) struct Args {
    pub(crate) source: Source,
    pub(crate) json: bool,
    pub(crate) show_rejected: bool,
}

/// Where the orders come from.
#[derive(Debug, PartialEq)]
pub(crate) enum Source {
    Shipped,
    File(PathBuf),
    Stdin,
}

impl Source {
    /// The file, unless it is standard input.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Shipped => Some(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/data/orders.jsonl"))),
            Self::File(path) => Some(path.clone()),
            Self::Stdin => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shipped => f.write_str("examples/data/orders.jsonl"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

/// Reads the arguments that follow the program's name.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut parsed = Args { source: Source::Shipped, json: false, show_rejected: false };
    let mut only_files = false;
    for arg in args {
        let source = match arg.to_str() {
            Some("--") if !only_files => {
                only_files = true;
                continue;
            }
            Some("-h" | "--help") if !only_files => return Ok(Command::Help),
            Some("--json") if !only_files => {
                parsed.json = true;
                continue;
            }
            Some("--show-rejected") if !only_files => {
                parsed.show_rejected = true;
                continue;
            }
            Some("-") if !only_files => Source::Stdin,
            Some(option) if option.starts_with('-') && !only_files => return Err(format!("unknown option {option:?}")),
            _ => Source::File(arg.into()),
        };
        if parsed.source != Source::Shipped {
            return Err(format!("one input at a time, not both {} and {source}", parsed.source));
        }
        parsed.source = source;
    }
    Ok(Command::Run(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Command, String> {
        parse(args.iter().map(OsString::from))
    }

    fn run(source: Source, json: bool) -> Result<Command, String> {
        Ok(Command::Run(Args { source, json, show_rejected: false }))
    }

    #[test]
    fn one_source_and_known_options() {
        assert_eq!(parsed(&[]), run(Source::Shipped, false));
        assert_eq!(parsed(&["--json", "-"]), run(Source::Stdin, true));
        assert_eq!(parsed(&["a.jsonl", "--json"]), run(Source::File("a.jsonl".into()), true));
        assert_eq!(parsed(&["--", "--json"]), run(Source::File("--json".into()), false));
        assert_eq!(parsed(&["a", "--help"]), Ok(Command::Help));
        assert!(parsed(&["a", "b"]).is_err_and(|problem| problem.contains("both a and b")));
        assert!(parsed(&["--jsno"]).is_err_and(|problem| problem.contains("--jsno")));
    }
}

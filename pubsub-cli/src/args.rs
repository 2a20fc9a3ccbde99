//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args as Group, Parser, Subcommand};
use pubsub::{EventId, LetterFilter, StartPosition, Timestamp};

/// What a person at a terminal does with a bus.
#[derive(Debug, Parser)]
#[command(name = "pubsub", version)]
pub(crate) struct Args {
    /// The address of the bus, such as nats://localhost:4222?prefix=shop.
    #[arg(long, env = "PUBSUB_URL", hide_env_values = true, default_value = "memory:", global = true)]
    pub(crate) url: String,
    /// Prints one JSON document per line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Looks at dead letters, delivers them again, or drops them.
    #[command(subcommand)]
    Dlq(Dlq),
    /// Prints the events of channels as they come.
    Tail(Tail),
    /// Publishes an event.
    Publish(Publish),
    /// Asks a question, and prints the answer.
    Request(Request),
    /// Lists the events of a catalog that a program has exported.
    Catalog {
        /// The file, as `Catalog::export` writes it.
        #[arg(default_value = "catalog.json")]
        file: PathBuf,
    },
    /// Writes schemas, documents, types and pages from such a catalog; `pubsub codegen --help` tells how.
    #[command(disable_help_flag = true)]
    Codegen(Words),
    /// Checks such a catalog against what was published, and keeps that list; `pubsub contracts --help` tells how.
    #[command(disable_help_flag = true)]
    Contracts(Words),
}

/// Words that somebody else reads: a program that offers the same over its own catalog.
#[derive(Debug, Group)]
pub(crate) struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Words {
    /// The words behind the command.
    pub(crate) fn behind(self, command: &str) -> Vec<String> {
        std::iter::once(command.to_owned()).chain(self.words).collect()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// Lists letters, oldest first.
    List {
        #[command(flatten)]
        of: LettersOf,
        #[command(flatten)]
        which: Which,
        /// The most letters to list.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one letter whole.
    Show {
        #[command(flatten)]
        of: LettersOf,
        /// Its id.
        #[arg(value_parser = EventId::parse)]
        id: EventId,
    },
    /// Delivers letters again, to their group alone.
    Redrive {
        #[command(flatten)]
        of: LettersOf,
        #[command(flatten)]
        which: Chosen,
    },
    /// Drops letters.
    Drop {
        #[command(flatten)]
        of: LettersOf,
        #[command(flatten)]
        which: Chosen,
    },
}

/// Whose letters.
#[derive(Debug, Group)]
pub(crate) struct LettersOf {
    /// The channel that the events were on.
    pub(crate) channel: String,
    /// The group that gave them up.
    pub(crate) group: String,
}

/// Which letters; all, unless something is said.
#[derive(Debug, Group)]
pub(crate) struct Which {
    /// The one of this id.
    #[arg(long, value_parser = EventId::parse)]
    id: Option<EventId>,
    /// Those of an event name, `category:*` or `*`.
    #[arg(long)]
    name: Option<String>,
    /// Those whose reason holds this text.
    #[arg(long)]
    reason: Option<String>,
    /// Those given up at this time or later, as in 2026-01-31T12:00:00Z.
    #[arg(long, value_parser = Timestamp::parse)]
    since: Option<Timestamp>,
    /// Those given up before this time.
    #[arg(long, value_parser = Timestamp::parse)]
    until: Option<Timestamp>,
}

/// Which letters, said explicitly.
#[derive(Debug, Group)]
pub(crate) struct Chosen {
    #[command(flatten)]
    which: Which,
    /// All of them: needed where nothing else chooses.
    #[arg(long)]
    all: bool,
}

impl Which {
    pub(crate) fn filter(self) -> pubsub::Result<LetterFilter> {
        let mut filter = self.id.map_or_else(LetterFilter::all, LetterFilter::id);
        if let Some(name) = &self.name {
            filter = filter.names(name)?;
        }
        if let Some(reason) = self.reason {
            filter = filter.reason(reason);
        }
        if let Some(since) = self.since {
            filter = filter.since(since);
        }
        Ok(match self.until {
            Some(until) => filter.until(until),
            None => filter,
        })
    }

    fn chooses(&self) -> bool {
        self.id.is_some()
            || self.name.is_some()
            || self.reason.is_some()
            || self.since.is_some()
            || self.until.is_some()
    }
}

impl Chosen {
    /// The filter, if the command line says which letters it means.
    pub(crate) fn filter(self) -> Result<LetterFilter, crate::Fault> {
        if self.all == self.which.chooses() {
            return Err("say which letters: --all, or any of --id --name --reason --since --until".into());
        }
        Ok(self.which.filter()?)
    }
}

#[derive(Debug, Group)]
pub(crate) struct Tail {
    /// A channel, `family.*` or `*`.
    pub(crate) channel: String,
    /// Where to start: `latest`, `earliest`, or a time as in 2026-01-31T12:00:00Z.
    #[arg(long, default_value = "latest", value_parser = start)]
    pub(crate) from: StartPosition,
    /// Ends after so many events.
    #[arg(long)]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Group)]
pub(crate) struct Publish {
    /// The event's name, `category:event`.
    pub(crate) name: String,
    /// Its payload as JSON; `-` reads it from standard input.
    #[arg(default_value = "-")]
    pub(crate) data: String,
    /// Its channel, where that is not the category of the name.
    #[arg(long)]
    pub(crate) channel: Option<String>,
    /// Its version.
    #[arg(long, default_value_t = 1)]
    pub(crate) event_version: u32,
    /// Its ordering key.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Its id; use the same one again after an uncertain failure.
    #[arg(long, value_parser = EventId::parse)]
    pub(crate) id: Option<EventId>,
}

#[derive(Debug, Group)]
pub(crate) struct Request {
    #[command(flatten)]
    pub(crate) event: Publish,
    /// How many seconds to wait for the answer.
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// Prints the items of an answer that comes as a stream.
    #[arg(long)]
    pub(crate) stream: bool,
}

fn start(text: &str) -> pubsub::Result<StartPosition> {
    Ok(match text {
        "latest" => StartPosition::Latest,
        "earliest" => StartPosition::Earliest,
        time => StartPosition::Time(Timestamp::parse(time)?),
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_changes_letters_must_be_told_which() {
        let parse = |more: &[&str]| {
            let words = ["pubsub", "dlq", "drop", "orders", "billing"].iter().chain(more);
            match Args::try_parse_from(words).unwrap().command {
                Command::Dlq(Dlq::Drop { which, .. }) => which.filter().is_ok(),
                other => panic!("{other:?}"),
            }
        };
        assert!(parse(&["--all"]) && parse(&["--reason", "timeout"]) && parse(&["--id", "7"]));
        assert!(!parse(&[]) && !parse(&["--all", "--reason", "timeout"]) && !parse(&["--name", "no name"]));
    }

    #[test]
    fn words_for_others_are_left_as_they_are() {
        let parse = |line: &str| match Args::try_parse_from(line.split(' ')).unwrap().command {
            Command::Codegen(words) => words.behind("codegen"),
            Command::Contracts(words) => words.behind("contracts"),
            other => panic!("{other:?}"),
        };
        assert_eq!(parse("pubsub codegen --check --out x"), ["codegen", "--check", "--out", "x"]);
        assert_eq!(parse("pubsub contracts check --lock x"), ["contracts", "check", "--lock", "x"]);
        assert_eq!(parse("pubsub codegen --help"), ["codegen", "--help"]);
    }

    #[test]
    fn times_and_ids_are_checked() {
        for bad in [["--from", "yesterday"], ["--count", "x"]] {
            assert!(Args::try_parse_from(["pubsub", "tail", "orders"].iter().chain(&bad)).is_err(), "{bad:?}");
        }
        assert!(Args::try_parse_from(["pubsub", "tail", "orders", "--from", "2026-01-31T12:00:00Z"]).is_ok());
        assert!(seconds("1.5").is_ok() && seconds("-1").is_err() && seconds("NaN").is_err());
    }
}

//! The command line. A dozen words do not need a library.

use pubsub_testkit::broker::BrokerKind;

use crate::Fault;
use crate::chaos::ChaosOptions;
use crate::install::Consent;
use crate::parts::PARTS;

pub(crate) enum Request {
    Help,
    Test(TestOptions),
    BrokersUp(Vec<BrokerKind>, Consent),
    BrokersDown,
    BrokersStatus,
    Bench(Vec<String>),
    Codegen { check: bool },
    Chaos(ChaosOptions),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TestOptions {
    /// Names of parts or of groups of parts; empty means all.
    pub(crate) only: Vec<String>,
    pub(crate) no_brokers: bool,
    pub(crate) long: bool,
    pub(crate) consent: Consent,
}

pub(crate) fn usage() -> String {
    let mut usage = String::from(
        "\
cargo xtask test [--only PART…] [--no-brokers] [--long] [--yes]
        gets and starts the four brokers, runs every part, stops them
        --only        these parts, groups or families (as `faults`) alone
        --no-brokers  leaves out the parts that need a broker
        --long        full counts, seeds and soaks
        --yes         installs packages without asking, as CI=true does
cargo xtask brokers up [--yes] [redis] [nats] [kafka] [rabbitmq] | down | status
        the same servers for a person; `up` prints their URLs as environment lines
cargo xtask codegen [--check]
        writes what follows from the events of the examples into examples/contracts; `--check` fails if it is stale
cargo xtask chaos [--minutes N] [--seed S] [--broker B]… [--yes]
        breaks brokers, connections and consumers at random, and fails if something confirmed is lost;
        4 minutes over all four brokers; a seed makes the same things happen again
cargo xtask bench [--quick] [--pairs=N] [--limits] [--cpu] [CASE…]
        measures, and prints case, ours, limit, ratio, unit, pairs, spread; starts the brokers that the cases need
        --quick       three pairs, or as many as `--pairs` says, and fewer events
        --limits      the bare clients of the brokers alone
        --cpu         also what this process spends on an event, with brokers
cargo xtask bench rss [--quick] [memory] [redis] [nats] [kafka] [rabbitmq]
        the memory of a process that reads a million events, or that publishes into a full bus

Parts of `test`:
",
    );
    for part in PARTS {
        usage += &format!("  {:<20} {:<6} {}\n", part.name, part.group, part.about);
    }
    usage
}

pub(crate) fn parse(arguments: &[String]) -> Result<Request, Fault> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["help" | "--help" | "-h", ..] => Ok(Request::Help),
        ["test", ref rest @ ..] => test(rest).map(Request::Test),
        ["brokers", "up", ref rest @ ..] => up(rest),
        ["codegen"] => Ok(Request::Codegen { check: false }),
        ["codegen", "--check"] => Ok(Request::Codegen { check: true }),
        ["brokers", "down"] => Ok(Request::BrokersDown),
        ["brokers", "status"] => Ok(Request::BrokersStatus),
        ["chaos", ref rest @ ..] => chaos(rest).map(Request::Chaos),
        ["bench", ..] => Ok(Request::Bench(arguments[1..].to_vec())),
        _ => Err(format!("not a command: {}", arguments.join(" ")).into()),
    }
}

fn test(words: &[&str]) -> Result<TestOptions, Fault> {
    let mut options = TestOptions { consent: Consent::from_environment(), ..TestOptions::default() };
    let mut naming = false;
    for &word in words {
        match word {
            "--only" => naming = true,
            "--no-brokers" => options.no_brokers = true,
            "--long" => options.long = true,
            "--yes" => options.consent = Consent::Given,
            part if naming && PARTS.iter().any(|known| known.answers_to(part)) => {
                options.only.push(part.into());
            }
            other if naming && !other.starts_with('-') => {
                return Err(format!("not a part: {other}").into());
            }
            other => return Err(format!("not an option of test: {other}").into()),
        }
    }
    if naming && options.only.is_empty() {
        return Err("--only needs the name of a part".into());
    }
    Ok(options)
}

fn chaos(words: &[&str]) -> Result<ChaosOptions, Fault> {
    let mut options = ChaosOptions { consent: Consent::from_environment(), ..ChaosOptions::default() };
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let mut value = || words.next().copied().ok_or(format!("{word} needs a value"));
        match word {
            "--minutes" => options.minutes = Some(value()?.parse()?),
            "--seed" => options.seed = Some(value()?.parse()?),
            "--broker" => {
                let name = value()?;
                options.brokers.push(BrokerKind::from_name(name).ok_or(format!("not a broker: {name}"))?);
            }
            "--yes" => options.consent = Consent::Given,
            other => return Err(format!("not an option of chaos: {other}").into()),
        }
    }
    Ok(options)
}

fn up(words: &[&str]) -> Result<Request, Fault> {
    let mut kinds = Vec::new();
    let mut consent = Consent::from_environment();
    for &word in words {
        match BrokerKind::from_name(word) {
            Some(kind) => kinds.push(kind),
            None if word == "--yes" => consent = Consent::Given,
            None => return Err(format!("not a broker: {word}").into()),
        }
    }
    if kinds.is_empty() {
        kinds.extend(BrokerKind::ALL);
    }
    Ok(Request::BrokersUp(kinds, consent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Request, Fault> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_of_test_are_read() -> Result<(), Fault> {
        let Request::Test(options) = parsed("test --yes --only fmt gates --long --no-brokers")? else {
            return Err("not a test request".into());
        };
        let only = vec!["fmt".to_owned(), "gates".to_owned()];
        assert_eq!(options, TestOptions { only, no_brokers: true, long: true, consent: Consent::Given });
        Ok(())
    }

    #[test]
    fn options_of_chaos_are_read() -> Result<(), Fault> {
        let Request::Chaos(options) = parsed("chaos --seed 7 --broker nats --minutes 2 --broker redis --yes")? else {
            return Err("not a chaos request".into());
        };
        let brokers = vec![BrokerKind::Nats, BrokerKind::Redis];
        let expected = ChaosOptions { minutes: Some(2), seed: Some(7), brokers, consent: Consent::Given };
        assert_eq!(options, expected);
        Ok(())
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for line in [
            "tset",
            "test --only",
            "test --only nonsense",
            "test fmt",
            "brokers",
            "brokers up redis mqtt",
            "brokers down x",
            "chaos --minutes",
            "chaos --minutes x",
            "chaos --broker mqtt",
            "chaos 1",
        ] {
            assert!(parsed(line).is_err(), "{line} was accepted");
        }
    }
}

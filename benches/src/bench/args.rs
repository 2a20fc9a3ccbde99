//! The command line.

pub(crate) const USAGE: &str =
    "usage: bench [--quick] [--pairs=N] [--limits] [--cpu] [--part PART] [CASE…] | bench rss [--quick] [--part PART]";

pub(crate) enum Command {
    Measure(Options),
    Rss(Options),
    /// What `rss` starts a process of its own for.
    RssOf(Job),
    /// The server that cases of the web edge start a process of its own for.
    SseOf(String),
}

#[derive(Default)]
pub(crate) struct Options {
    /// Three pairs, unless more are asked for, and fewer events.
    pub(crate) quick: bool,
    pub(crate) pairs: Option<usize>,
    /// The limits of the brokers alone.
    pub(crate) limits: bool,
    /// What this process spends on an event, too.
    pub(crate) cpu: bool,
    pub(crate) part: Option<String>,
    pub(crate) words: Vec<String>,
}

/// Reads so many events out of a backlog, or through memory where there is no address.
pub(crate) struct Job {
    pub(crate) address: Option<String>,
    pub(crate) count: usize,
}

impl Options {
    pub(crate) fn takes(&self, part: &str) -> bool {
        self.part.as_deref().is_none_or(|wanted| wanted == part)
    }

    pub(crate) fn pairs(&self) -> usize {
        self.pairs.unwrap_or(if self.quick { 3 } else { 11 })
    }
}

pub(crate) fn parse(arguments: &[String]) -> Result<Command, String> {
    match arguments {
        [first, count, rest @ ..] if first == "rss-of" => {
            let count = count.parse().map_err(|_| "rss-of needs a number of events")?;
            Ok(Command::RssOf(Job { address: rest.first().cloned(), count }))
        }
        [first, name] if first == "sse-of" => Ok(Command::SseOf(name.clone())),
        [first, rest @ ..] if first == "rss" => options(rest).map(Command::Rss),
        all => options(all).map(Command::Measure),
    }
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--limits" => options.limits = true,
            "--cpu" => options.cpu = true,
            "--part" => options.part = Some(arguments.next().ok_or("--part needs a name")?.clone()),
            pairs if pairs.starts_with("--pairs=") => {
                let pairs = pairs["--pairs=".len()..].parse().ok().filter(|pairs| *pairs > 0);
                options.pairs = Some(pairs.ok_or("--pairs= needs a number")?);
            }
            unknown if unknown.starts_with("--") => return Err(format!("unknown option {unknown}")),
            word => options.words.push(word.to_owned()),
        }
    }
    Ok(options)
}

//! The command line: `codegen` and `contracts`. A program offers it over its own catalog in one line, and the program
//! `pubsub` over an exported one. A dozen words do not need a library.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use pubsub_core::{Catalog, Error, ErrorKind, EventName, Result};

use crate::{
    Contracts, DocumentOptions, Files, Kind, Lock,
    files::{failed, replace},
};

/// The name of the lock file.
const LOCK: &str = "contracts.lock.json";
/// The word for it, beside those for the kinds of files.
const LOCK_WORD: &str = "lock";

/// Where the events come from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Source<'a> {
    /// The catalog of the program itself.
    Catalog(&'a Catalog),
    /// A file that a program has exported; `--catalog` names it.
    File,
}

/// How the command line is used.
pub fn usage() -> String {
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).chain([LOCK_WORD]).collect();
    format!(
        "\
codegen [--out DIR] [--check] [--only KIND,…] [--public] [--title TEXT] [--api-version TEXT] [--base-path PATH]
        [--server URL]… [--catalog FILE]
        writes what follows from the events into DIR, `contracts` by default; refuses to if they break what was published
        --check    writes nothing, and fails if something is stale
        --only     these kinds alone: {}
        --public   leaves out the events that stay among services, but not in the lock
contracts check [--lock FILE] [--catalog FILE]
        fails if a published schema is changed, a version is dropped that a consumer pins, or an upcaster is missing, and
        says what the smallest legal change is
contracts lock [--lock FILE] [--catalog FILE]
        takes what is new as published
contracts pin | unpin CONSUMER EVENT VERSION [--lock FILE]
        notes that a consumer reads a version, or no longer does
contracts retire EVENT VERSION [--lock FILE]
        forgets a version of which nothing is left anywhere
FILE is `contracts/{LOCK}` for the lock, and `catalog.json` for an exported catalog, if nothing else is said.",
        kinds.join(" ")
    )
}

/// `codegen` and `contracts` for a program's own catalog, by the arguments of the process:
///
/// ```no_run
/// # use pubsub_core::Catalog;
/// # fn catalog() -> Catalog { Catalog::new() }
/// use pubsub_codegen::DocumentOptions;
///
/// fn main() -> std::process::ExitCode {
///     pubsub_codegen::main(&catalog(), DocumentOptions::new("shop", env!("CARGO_PKG_VERSION")))
/// }
/// ```
///
/// The status is 0 for success, 1 for a failure, and 2 for a command line that makes no sense.
pub fn main(catalog: &Catalog, options: DocumentOptions) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    run(Source::Catalog(catalog), options, &arguments, &mut io::stdout().lock(), &mut io::stderr().lock())
}

/// The same with the arguments given, and with results and faults written to where they are wanted.
pub fn run(
    source: Source<'_>,
    options: DocumentOptions,
    arguments: &[String],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    // Nobody is left to be told that the terminal is gone.
    let mut tell = |text: &str| writeln!(err, "{text}").unwrap_or_default();
    let request = match parse(source, arguments) {
        Ok(request) => request,
        Err(fault) => {
            tell(&format!("{fault}\n\n{}", usage()));
            return ExitCode::from(2);
        }
    };
    match obey(source, options, &request, out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                text += &format!(": {inner}");
                cause = inner.source();
            }
            tell(&text);
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Help,
    Codegen,
    Check,
    Lock,
    Pin(String, EventName, u32),
    Unpin(String, EventName, u32),
    Retire(EventName, u32),
}

#[derive(Debug)]
struct Request {
    verb: Verb,
    out: PathBuf,
    check: bool,
    /// Nothing: all of them.
    only: Vec<String>,
    public: bool,
    title: Option<String>,
    version: Option<String>,
    base_path: Option<String>,
    servers: Vec<String>,
    lock: Option<PathBuf>,
    catalog: PathBuf,
}

fn parse(source: Source<'_>, arguments: &[String]) -> Result<Request, String> {
    let mut request = Request {
        verb: Verb::Help,
        out: "contracts".into(),
        check: false,
        only: Vec::new(),
        public: false,
        title: None,
        version: None,
        base_path: None,
        servers: Vec::new(),
        lock: None,
        catalog: "catalog.json".into(),
    };
    let (mut words, mut options) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        let mut value = || rest.next().map(str::to_owned).ok_or_else(|| format!("{word} needs a value"));
        match word {
            "--help" | "-h" => return Ok(request),
            "--check" => request.check = true,
            "--public" => request.public = true,
            "--out" => request.out = value()?.into(),
            "--only" => request.only = value()?.split(',').map(str::to_owned).collect(),
            "--title" => request.title = Some(value()?),
            "--api-version" => request.version = Some(value()?),
            "--base-path" => request.base_path = Some(value()?),
            "--server" => request.servers.push(value()?),
            "--lock" => request.lock = Some(value()?.into()),
            "--catalog" if matches!(source, Source::File) => request.catalog = value()?.into(),
            option if option.starts_with('-') => return Err(format!("not an option: {option}")),
            word => {
                words.push(word);
                continue;
            }
        }
        options.push(word);
    }
    let version = |text: &str| text.parse::<u32>().map_err(|_| format!("not a version: {text}"));
    let event = |text: &str| EventName::parse(text).map_err(|error| error.message().to_owned());
    let (verb, takes): (Verb, &[&str]) = match words[..] {
        [] | ["help"] => (Verb::Help, &[]),
        ["codegen"] => (
            Verb::Codegen,
            &[
                "--out",
                "--check",
                "--only",
                "--public",
                "--title",
                "--api-version",
                "--base-path",
                "--server",
                "--catalog",
            ],
        ),
        ["contracts", "check"] => (Verb::Check, &["--lock", "--catalog"]),
        ["contracts", "lock"] => (Verb::Lock, &["--lock", "--catalog"]),
        ["contracts", "pin", who, name, number] => (Verb::Pin(who.into(), event(name)?, version(number)?), &["--lock"]),
        ["contracts", "unpin", who, name, number] => {
            (Verb::Unpin(who.into(), event(name)?, version(number)?), &["--lock"])
        }
        ["contracts", "retire", name, number] => (Verb::Retire(event(name)?, version(number)?), &["--lock"]),
        _ => return Err(format!("not a command: {}", words.join(" "))),
    };
    if let Some(option) = options.iter().find(|option| !takes.contains(option)) {
        return Err(format!("not an option of {}: {option}", words.join(" ")));
    }
    let is_kind = |word: &str| word == LOCK_WORD || Kind::ALL.iter().any(|kind| kind.as_str() == word);
    if let Some(word) = request.only.iter().find(|word| !is_kind(word)) {
        return Err(format!("not a kind of file: {word}"));
    }
    request.verb = verb;
    Ok(request)
}

/// Returns whether all is well.
fn obey(source: Source<'_>, options: DocumentOptions, request: &Request, out: &mut dyn Write) -> Result<bool> {
    let file = request.lock.clone().unwrap_or_else(|| request.out.join(LOCK));
    let mut say = |text: &str| writeln!(out, "{text}").map_err(|error| failed("write", Path::new("the output"), error));
    match &request.verb {
        Verb::Help => say(&usage()).map(|()| true),
        Verb::Codegen => codegen(&contracts(source, request)?, options, request, &mut say),
        Verb::Check => {
            let (lock, contracts) = (read_lock(&file)?, contracts(source, request)?);
            if !kept(&lock, &contracts, &mut say)? {
                return Ok(false);
            }
            for new in lock.unlocked(&contracts) {
                say(&format!(
                    "event `{}` version {} is new: `contracts lock` takes it as published",
                    new.name, new.version
                ))?;
            }
            say(&format!("{} published contracts are kept", lock.events().count())).map(|()| true)
        }
        Verb::Lock => {
            let (mut lock, contracts) = (read_lock(&file)?, contracts(source, request)?);
            if !kept(&lock, &contracts, &mut say)? {
                return Ok(false);
            }
            lock.publish(&contracts)?;
            replace(&file, &lock.to_text())?;
            say(&format!("{} contracts are published", lock.events().count())).map(|()| true)
        }
        Verb::Pin(who, name, version) => change(&file, |lock| lock.pin(who, name, *version)),
        Verb::Unpin(who, name, version) => change(&file, |lock| lock.unpin(who, name, *version)),
        Verb::Retire(name, version) => change(&file, |lock| lock.retire(name, *version)),
    }
}

fn change(file: &Path, edit: impl FnOnce(&mut Lock) -> Result<()>) -> Result<bool> {
    let mut lock = read_lock(file)?;
    edit(&mut lock)?;
    replace(file, &lock.to_text()).map(|()| true)
}

fn codegen(
    contracts: &Contracts,
    mut options: DocumentOptions,
    request: &Request,
    say: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<bool> {
    let Request { title, version, base_path, .. } = request;
    if let Some(title) = title {
        options.title.clone_from(title);
    }
    if let Some(version) = version {
        options.version.clone_from(version);
    }
    if let Some(path) = base_path {
        options = options.base_path(path);
    }
    options.servers.extend(request.servers.iter().cloned());
    options.internal = !request.public;

    let wanted = |word: &str| request.only.is_empty() || request.only.iter().any(|only| only == word);
    let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| wanted(kind.as_str())).collect();
    let shown = if request.public { contracts.public() } else { contracts.clone() };
    let mut files = Files::of(&shown, &kinds, &options)?;
    if wanted(LOCK_WORD) {
        let mut lock = read_lock(&request.out.join(LOCK))?;
        if !kept(&lock, contracts, say)? {
            return Ok(false);
        }
        lock.publish(contracts)?;
        files.insert(LOCK, lock.to_text());
    }
    let stale = if request.check { files.stale_in(&request.out)? } else { files.write(&request.out)? };
    let folder = request.out.display();
    for change in &stale {
        say(&if request.check { format!("{folder}/{change}") } else { format!("{folder}/{change}: done") })?;
    }
    say(&format!("{folder}: {} files, {} of them changed", files.iter().count(), stale.len()))?;
    Ok(!request.check || stale.is_empty())
}

/// Whether the catalog keeps what was published; what it breaks is said.
fn kept(lock: &Lock, contracts: &Contracts, say: &mut dyn FnMut(&str) -> Result<()>) -> Result<bool> {
    let breaches = lock.breaches(contracts);
    breaches.iter().try_for_each(|breach| say(&breach.to_string()))?;
    Ok(breaches.is_empty())
}

fn contracts(source: Source<'_>, request: &Request) -> Result<Contracts> {
    match source {
        Source::Catalog(catalog) => Ok(Contracts::of(catalog)),
        Source::File => {
            let text = fs::read_to_string(&request.catalog).map_err(|error| failed("read", &request.catalog, error))?;
            let document = serde_json::from_str(&text).map_err(|error| {
                Error::new(ErrorKind::Invalid, "read catalog", request.catalog.display().to_string()).because(error)
            })?;
            Contracts::read(&document)
        }
    }
}

/// The lock, or an empty one where nothing was published yet.
fn read_lock(file: &Path) -> Result<Lock> {
    match fs::read_to_string(file) {
        Ok(text) => Lock::read(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Lock::default()),
        Err(error) => Err(failed("read", file, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Request, String> {
        parse(Source::File, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn commands_are_read() {
        assert_eq!(parsed("").unwrap().verb, Verb::Help);
        let request =
            parsed("codegen --out x --only schemas,lock --check --server https://a --server https://b").unwrap();
        assert_eq!((request.verb, request.check), (Verb::Codegen, true));
        assert_eq!((request.out, request.only.len(), request.servers.len()), ("x".into(), 2, 2));
        let name = EventName::parse("a:b").unwrap();
        assert_eq!(parsed("contracts pin billing a:b 2").unwrap().verb, Verb::Pin("billing".into(), name, 2));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "nosuch",
            "codegen x",
            "codegen --nosuch",
            "codegen --out",
            "codegen --only nosuch",
            "codegen --lock x",
            "contracts",
            "contracts check --out x",
            "contracts pin billing a:b",
            "contracts pin billing a:b x",
            "contracts retire ab 1",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        let own = Catalog::new();
        let words = ["codegen", "--catalog", "x"].map(str::to_owned);
        assert!(parse(Source::Catalog(&own), &words).is_err());
    }
}

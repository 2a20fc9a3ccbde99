//! All that is written from a catalog, as files: which there are, whether a folder has them, and putting them there.

use std::{collections::BTreeMap, fmt, fs, io, path::Path};

use pubsub_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::{
    Contracts, DocumentOptions, asyncapi, html, json, json_schemas, markdown, openapi, schemas, typescript,
    typescript_client,
};

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// `catalog.json`, from which the command line works.
    Catalog,
    /// `schemas/…`: a JSON Schema per version.
    Schemas,
    /// `asyncapi.json`
    AsyncApi,
    /// `openapi.json`
    OpenApi,
    /// `contracts.d.ts`
    TypeScript,
    /// `client.ts`
    Client,
    /// `events.md`
    Markdown,
    /// `events.html`
    Html,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Catalog,
        Self::Schemas,
        Self::AsyncApi,
        Self::OpenApi,
        Self::TypeScript,
        Self::Client,
        Self::Markdown,
        Self::Html,
    ];

    /// The word for it on a command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Schemas => "schemas",
            Self::AsyncApi => "asyncapi",
            Self::OpenApi => "openapi",
            Self::TypeScript => "typescript",
            Self::Client => "client",
            Self::Markdown => "markdown",
            Self::Html => "html",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Generated files: path in their folder, with `/`, and content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    files: BTreeMap<String, String>,
    owns_schemas: bool,
}

/// How a folder differs from what would be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stale {
    /// It lacks the file.
    Missing(String),
    /// The file is another.
    Differs(String),
    /// A schema of an event or version that is no more.
    LeftOver(String),
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{path} is missing"),
            Self::Differs(path) => write!(f, "{path} is stale"),
            Self::LeftOver(path) => write!(f, "{path} is left over"),
        }
    }
}

impl Files {
    /// The files of these kinds.
    ///
    /// # Errors
    /// Those of the functions that write each kind.
    pub fn of(contracts: &Contracts, kinds: &[Kind], options: &DocumentOptions) -> Result<Self> {
        let mut files = BTreeMap::new();
        for kind in kinds {
            let (name, content) = match kind {
                Kind::Catalog => {
                    let events: Vec<_> = contracts.iter().collect();
                    ("catalog.json", json::document(&json!({ "catalogVersion": 1, "events": events })))
                }
                Kind::Schemas => {
                    files.extend(
                        json_schemas(contracts)?.into_iter().map(|(path, schema)| (path, json::document(&schema))),
                    );
                    continue;
                }
                Kind::AsyncApi => ("asyncapi.json", json::document(&asyncapi(contracts, options))),
                Kind::OpenApi => ("openapi.json", json::document(&openapi(contracts, options)?)),
                Kind::TypeScript => ("contracts.d.ts", typescript(contracts)?),
                Kind::Client => ("client.ts", typescript_client().to_owned()),
                Kind::Markdown => ("events.md", markdown(contracts, options.title())?),
                Kind::Html => ("events.html", html(contracts, options.title())?),
            };
            files.insert(name.to_owned(), content);
        }
        Ok(Self { files, owns_schemas: kinds.contains(&Kind::Schemas) })
    }

    /// Adds a file.
    pub(crate) fn insert(&mut self, name: &str, content: String) {
        self.files.insert(name.to_owned(), content);
    }

    /// The paths and contents.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, content)| (path.as_str(), content.as_str()))
    }

    /// How the folder differs from these files. Line breaks count as equal, for Git may change them.
    ///
    /// # Errors
    /// `Backend` if a file cannot be read.
    pub fn stale_in(&self, folder: &Path) -> Result<Vec<Stale>> {
        let mut stale = Vec::new();
        for (name, content) in &self.files {
            match fs::read_to_string(folder.join(name)) {
                Ok(there) if there.replace("\r\n", "\n") == *content => {}
                Ok(_) => stale.push(Stale::Differs(name.clone())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => stale.push(Stale::Missing(name.clone())),
                Err(error) => return Err(failed("read", &folder.join(name), error)),
            }
        }
        stale.extend(self.left_over(folder)?.into_iter().map(Stale::LeftOver));
        Ok(stale)
    }

    /// Writes what differs, and removes schemas of events that are no more. A file is there whole or as it was.
    ///
    /// # Errors
    /// `Backend` if a file cannot be written; those before it are.
    pub fn write(&self, folder: &Path) -> Result<Vec<Stale>> {
        let stale = self.stale_in(folder)?;
        for change in &stale {
            match change {
                Stale::LeftOver(name) => {
                    let path = folder.join(name);
                    fs::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
                }
                Stale::Missing(name) | Stale::Differs(name) => {
                    let content = self.files.get(name).map_or("", String::as_str);
                    replace(&folder.join(name), content)?;
                }
            }
        }
        Ok(stale)
    }

    /// Files among the schemas that are ours by their name, and that nothing writes any more.
    fn left_over(&self, folder: &Path) -> Result<Vec<String>> {
        let mut found = Vec::new();
        if !self.owns_schemas {
            return Ok(found);
        }
        for category in names_in(&folder.join(schemas::FOLDER))? {
            for file in names_in(&folder.join(schemas::FOLDER).join(&category))? {
                let path = format!("{}/{category}/{file}", schemas::FOLDER);
                if file.ends_with(schemas::ENDING) && !self.files.contains_key(&path) {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Puts a file into its place at once: whoever reads meanwhile finds the old one whole.
pub(crate) fn replace(path: &Path, content: &str) -> Result<()> {
    let outcome = (|| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        fs::write(&beside, content)?;
        fs::rename(&beside, path)
    })();
    outcome.map_err(|error| failed("write", path, error))
}

/// The names in a folder; none if it is no folder.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed("read", folder, error)),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(|error| failed("read", folder, error))
}

pub(crate) fn failed(what: &'static str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Backend, what, path.display().to_string()).because(error)
}

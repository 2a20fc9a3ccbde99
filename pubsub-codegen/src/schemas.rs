//! JSON Schemas as files.

use std::collections::BTreeMap;

use pubsub_core::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::Contracts;

/// The folder of the files, which holds nothing else.
pub(crate) const FOLDER: &str = "schemas";
/// What their names end in.
pub(crate) const ENDING: &str = ".schema.json";

/// The JSON Schema of each version of each event, and of each reply, by the file that it belongs into:
/// `schemas/orders/created.v1.schema.json`, `schemas/quotes/get.v1.reply.schema.json`.
///
/// # Errors
/// `Conflict` if two names differ in upper and lower case alone: not every file system tells them apart.
pub fn json_schemas(contracts: &Contracts) -> Result<BTreeMap<String, Value>> {
    let mut files = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for contract in contracts.iter() {
        let category = file_name(contract.name.category());
        let start = format!("{FOLDER}/{category}/{}.v{}", file_name(contract.action()), contract.version);
        if let Some(other) = seen.insert(start.to_ascii_lowercase(), &contract.name) {
            let message = format!("events `{other}` and `{}` differ in upper and lower case alone", contract.name);
            return Err(Error::new(ErrorKind::Conflict, "write schemas", message));
        }
        files.insert(format!("{start}{ENDING}"), contract.payload_schema.clone());
        if let Some(reply) = &contract.reply_schema {
            files.insert(format!("{start}.reply{ENDING}"), reply.clone());
        }
    }
    Ok(files)
}

/// Part of an event's name as the name of a file: what no file system refuses stays, the rest is percent-encoded.
fn file_name(part: &str) -> String {
    let mut name = String::with_capacity(part.len());
    for (index, byte) in part.bytes().enumerate() {
        match byte {
            b'.' if index == 0 => name.push_str("%2E"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use pubsub_core::{Catalog, EventDefinition};
    use serde_json::json;

    use super::*;

    fn files(names: &[&str]) -> Result<Vec<String>> {
        let mut catalog = Catalog::new();
        for name in names {
            catalog.insert(EventDefinition::dynamic(name, "a", 1, json!({}))?)?;
        }
        Ok(json_schemas(&Contracts::of(&catalog))?.into_keys().collect())
    }

    #[test]
    fn names_of_files_stay_in_the_folder() {
        let expected = ["schemas/%2E./..%2F..%2Fetc.v1.schema.json", "schemas/a/b%2Ac.v1.schema.json"];
        // A leading dot alone would do for a hidden file; two would lead out.
        assert_eq!(files(&["..:x/y"]).unwrap(), ["schemas/%2E./x%2Fy.v1.schema.json"]);
        assert_eq!(
            files(&["..:../../etc", "a:b*c"]).unwrap(),
            [expected[0].replace("/..%2F", "/%2E.%2F"), expected[1].to_owned()]
        );
    }

    #[test]
    fn names_that_some_file_systems_confuse_are_refused() {
        assert_eq!(files(&["orders:Created", "orders:created"]).unwrap_err().kind(), ErrorKind::Conflict);
    }
}

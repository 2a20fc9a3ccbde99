//! When two schemas are the same contract.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    json,
    schema::{children_mut, local_refs, resolve, without_prose},
};

/// `sha256:` and the hash of what the schema demands. Descriptions and titles do not count, nor do the names of its parts
/// (`$defs`: they are the names of Rust types), nor any order.
pub(super) fn hash(schema: &Value) -> String {
    let digest = Sha256::digest(json::text_in_a_line(&canonical(schema)));
    digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// The schema without prose and in a settled order, its parts by their own names.
pub(super) fn readable(schema: &Value) -> Value {
    let mut schema = without_prose(schema);
    settle(&mut schema);
    schema
}

/// The same with its parts named by the order in which they are met, and without those that nothing refers to.
fn canonical(schema: &Value) -> Value {
    let schema = readable(schema);
    let mut names: BTreeMap<String, String> = BTreeMap::from([("#".into(), "#".into())]);
    let mut out = without_parts(&schema);
    let mut parts = Map::new();
    let mut pending = Vec::new();
    rename(&mut out, &mut names, &mut pending);
    let mut next = 0;
    while let Some(target) = pending.get(next).cloned() {
        next += 1;
        let mut part = resolve(&schema, &target).map_or(Value::Null, without_parts);
        rename(&mut part, &mut names, &mut pending);
        parts.insert(next.to_string(), part);
    }
    if let Value::Object(map) = &mut out
        && !parts.is_empty()
    {
        map.insert("$defs".into(), Value::Object(parts));
    }
    out
}

/// Names what is referred to, and notes what has a name for the first time.
fn rename(schema: &mut Value, names: &mut BTreeMap<String, String>, pending: &mut Vec<String>) {
    in_order(schema, &mut |target| {
        let name = names.entry(target.clone()).or_insert_with(|| {
            pending.push(target.clone());
            format!("#/$defs/{}", pending.len())
        });
        target.clone_from(name);
    });
}

/// The references of a schema, by the sorted keys on their way, in whatever order a map keeps them.
fn in_order(schema: &mut Value, each: &mut impl FnMut(&mut String)) {
    if let Value::Object(map) = schema {
        let mut sorted: Vec<_> = std::mem::take(map).into_iter().collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (key, mut value) in sorted {
            let mut holder = Value::Object(Map::from_iter([(key.clone(), value.take())]));
            sort_maps(&mut holder);
            local_refs(&mut holder, each);
            if let Value::Object(holder) = holder {
                map.extend(holder);
            }
        }
    }
}

/// Sorts the keys of all objects, where maps keep the order of insertion.
fn sort_maps(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = std::mem::take(map).into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.iter_mut().for_each(|(_, value)| sort_maps(value));
            map.extend(entries);
        }
        Value::Array(items) => items.iter_mut().for_each(sort_maps),
        _ => {}
    }
}

fn without_parts(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(map) = &mut schema {
        map.remove("$defs");
        map.remove("definitions");
    }
    schema
}

/// Brings into one order what may be in any.
fn settle(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    children_mut(map, settle);
    for keyword in ["enum", "required", "type", "allOf", "anyOf", "oneOf"] {
        if let Some(Value::Array(items)) = map.get_mut(keyword) {
            items.sort_by_cached_key(|item| {
                // Parts have no names yet that say something.
                let mut item = item.clone();
                local_refs(&mut item, &mut String::clear);
                json::text_in_a_line(&item)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(line: &str) -> Value {
        json!({
            "title": line,
            "type": "object",
            "properties": {
                "lines": { "type": "array", "items": { "$ref": format!("#/$defs/{line}") } },
                "state": { "anyOf": [{ "const": "open" }, { "$ref": "#/$defs/Closed" }, { "type": "null" }] },
            },
            "required": ["lines", "state"],
            "$defs": {
                line: { "type": "object", "description": line, "properties": { "parent": { "$ref": format!("#/$defs/{line}") } } },
                "Closed": { "type": "string" },
            },
        })
    }

    #[test]
    fn words_names_and_order_do_not_count() {
        let mut other = order("OrderLine");
        other["required"] = json!(["state", "lines"]);
        other["properties"]["state"]["anyOf"].as_array_mut().unwrap().reverse();
        other["$defs"]["Unused"] = json!({ "type": "null" });
        assert_eq!(hash(&order("Line")), hash(&other));
        // A name that is met earlier than its neighbour, too.
        assert_eq!(hash(&order("A")), hash(&order("Z")));
    }

    #[test]
    fn what_is_demanded_counts() {
        let base = hash(&order("Line"));
        for (pointer, value) in [
            ("/required", json!(["lines"])),
            ("/$defs/Closed/type", json!("integer")),
            ("/properties/state/anyOf/0/const", json!("opened")),
            ("/properties/lines/items", json!({ "$ref": "#/$defs/Closed" })),
            ("/$defs/Line/properties/parent", json!({ "$ref": "#" })),
        ] {
            let mut changed = order("Line");
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_ne!(hash(&changed), base, "{pointer}");
        }
    }
}

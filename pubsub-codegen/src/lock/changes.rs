//! What differs between two schemas, in words, and what an upcaster has to do about it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{json, schema::resolve};

/// More are not told: whoever changes so much looks at the schemas themselves.
const MOST: usize = 12;
/// Schemas that refer to themselves have no end.
const DEEPEST: usize = 24;

/// What changed between two schemas.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Each with its place.
    pub(super) lines: Vec<String>,
    /// What must be done to an older payload, by place; nothing if each fits as it is.
    pub(super) repairs: Vec<String>,
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    changes: Changes,
    seen: BTreeSet<String>,
}

/// The changes from one form of a schema to the next.
pub(super) fn between(old: &Value, new: &Value) -> Changes {
    let mut comparison = Comparison { old, new, changes: Changes::default(), seen: BTreeSet::new() };
    comparison.compare(old, new, "", 0);
    let mut changes = comparison.changes;
    if changes.lines.is_empty() {
        // They differ, or nobody had asked.
        changes.lines.push("the schema".into());
        changes.repairs.push("see to whatever changed".into());
    }
    changes.repairs.dedup();
    if changes.lines.len() > MOST {
        let more = changes.lines.len() - MOST;
        changes.lines.truncate(MOST);
        changes.lines.push(format!("and {more} more"));
    }
    changes
}

impl Comparison<'_> {
    fn say(&mut self, place: &str, what: &str) {
        let place = if place.is_empty() { "the payload" } else { place };
        self.changes.lines.push(format!("{place} {what}"));
    }

    fn repair(&mut self, what: String) {
        self.changes.repairs.push(what);
    }

    fn compare(&mut self, old: &Value, new: &Value, place: &str, depth: usize) {
        let (from, to) = (followed(self.old, old), followed(self.new, new));
        let visit = format!("{place}\n{}\n{}", json::text_in_a_line(&from), json::text_in_a_line(&to));
        if depth > DEEPEST || !self.seen.insert(visit) {
            return;
        }
        let (Value::Object(from), Value::Object(to)) = (&from, &to) else {
            if from != to {
                self.say(place, &format!("was {}, and is {}", short(&from), short(&to)));
                self.repair(format!("convert {}", named(place)));
            }
            return;
        };
        self.values(from, to, place);
        self.properties(from, to, place, depth);
        let none = Value::Bool(true);
        for keyword in ["items", "additionalProperties"] {
            if from.contains_key(keyword) || to.contains_key(keyword) {
                let (old, new) = (from.get(keyword).unwrap_or(&none), to.get(keyword).unwrap_or(&none));
                self.compare(old, new, &format!("{place}/*"), depth + 1);
            }
        }
    }

    /// Everything but where other schemas lie.
    fn values(&mut self, from: &Map<String, Value>, to: &Map<String, Value>, place: &str) {
        let keywords: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        for keyword in keywords {
            if matches!(
                &**keyword,
                "properties" | "required" | "items" | "additionalProperties" | "$defs" | "definitions"
            ) {
                continue;
            }
            let (old, new) = (from.get(keyword), to.get(keyword));
            if self.same(old, new) {
                continue;
            }
            match (old, new) {
                (Some(Value::Array(old)), Some(Value::Array(new)))
                    if matches!(&**keyword, "enum" | "anyOf" | "oneOf") =>
                {
                    let gone = old.iter().filter(|value| !new.contains(value)).map(short).collect::<Vec<_>>();
                    let come = new.iter().filter(|value| !old.contains(value)).map(short).collect::<Vec<_>>();
                    if !come.is_empty() {
                        self.say(place, &format!("may also be {}", come.join(", ")));
                    }
                    if !gone.is_empty() {
                        self.say(place, &format!("may no longer be {}", gone.join(", ")));
                        self.repair(format!("convert {}", named(place)));
                    }
                }
                (old, new) => {
                    let told = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), short);
                    self.say(place, &format!("has `{keyword}` {}, and had {}", told(new), told(old)));
                    if new.is_some() {
                        self.repair(format!("convert {}", named(place)));
                    }
                }
            }
        }
    }

    /// Whether two values mean the same where parts of a schema may have been renamed.
    fn same(&self, old: Option<&Value>, new: Option<&Value>) -> bool {
        match (old, new) {
            (Some(old), Some(new)) => {
                super::canonical::hash(&with_parts(old, self.old)) == super::canonical::hash(&with_parts(new, self.new))
            }
            (old, new) => old == new,
        }
    }

    fn properties(&mut self, from: &Map<String, Value>, to: &Map<String, Value>, place: &str, depth: usize) {
        let of =
            |map: &Map<String, Value>| map.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let required = |map: &Map<String, Value>, name: &String| {
            map.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|one| one == name))
        };
        let (old, new) = (of(from), of(to));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let inner = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
            let (was, is) = (required(from, name), required(to, name));
            match (old.get(name), new.get(name)) {
                (Some(_), None) => {
                    self.say(&inner, "is gone");
                    if to.get("additionalProperties") == Some(&Value::Bool(false)) {
                        self.repair(format!("remove `{inner}`"));
                    }
                }
                (None, Some(_)) => {
                    self.say(&inner, if is { "is new, and required" } else { "is new" });
                    if is {
                        self.repair(format!("set `{inner}`"));
                    }
                }
                (Some(before), Some(after)) => {
                    if is && !was {
                        self.say(&inner, "is required now");
                        self.repair(format!("set `{inner}` where it is missing"));
                    } else if was && !is {
                        self.say(&inner, "is no longer required");
                    }
                    self.compare(before, after, &inner, depth + 1);
                }
                (None, None) => {}
            }
        }
    }
}

fn named(place: &str) -> String {
    if place.is_empty() { "the payload".into() } else { format!("`{place}`") }
}

/// A schema without the reference that it consists of.
fn followed(root: &Value, schema: &Value) -> Value {
    let mut schema = schema;
    for _ in 0..DEEPEST {
        match schema["$ref"].as_str().and_then(|target| resolve(root, target)) {
            Some(part) => schema = part,
            None => break,
        }
    }
    schema.clone()
}

/// Some value of a schema as a schema of its own, with the parts that it may refer to.
fn with_parts(value: &Value, root: &Value) -> Value {
    let parts = |keyword: &str| root.get(keyword).cloned().unwrap_or_else(|| Value::Object(Map::new()));
    serde_json::json!({ "allOf": [{ "anyOf": value, "const": value }], "$defs": parts("$defs"), "definitions": parts("definitions") })
}

fn short(value: &Value) -> String {
    let text = json::text_in_a_line(value);
    if text.chars().count() <= 60 { text } else { text.chars().take(59).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_told_with_their_places() {
        let old = json!({
            "properties": {
                "total": { "type": "number" }, "gone": true, "state": { "enum": ["open", "closed"] },
                "line": { "$ref": "#/$defs/Line" }, "note": { "type": "string" },
            },
            "required": ["total", "note"],
            "$defs": { "Line": { "properties": { "sku": { "type": "string" } } } },
        });
        let new = json!({
            "properties": {
                "total": { "type": "string" }, "userId": { "type": "string" }, "state": { "enum": ["open", "paid"] },
                "line": { "$ref": "#/$defs/Row" }, "note": { "type": "string" }, "more": true,
            },
            "required": ["total", "userId"],
            "$defs": { "Row": { "properties": { "sku": { "type": "string", "maxLength": 9 } } } },
        });
        let changes = between(&old, &new);
        assert_eq!(
            changes.lines,
            [
                "/gone is gone",
                "/line/sku has `maxLength` 9, and had nothing",
                "/more is new",
                "/note is no longer required",
                "/state may also be \"paid\"",
                "/state may no longer be \"closed\"",
                "/total has `type` \"string\", and had \"number\"",
                "/userId is new, and required",
            ]
        );
        assert_eq!(changes.repairs, ["convert `/line/sku`", "convert `/state`", "convert `/total`", "set `/userId`"]);
    }

    #[test]
    fn a_schema_of_itself_has_an_end() {
        let tree = |leaf: &str| {
            json!({
                "$ref": "#/$defs/Tree",
                "$defs": { "Tree": { "properties": { "left": { "$ref": "#/$defs/Tree" }, "leaf": { "type": leaf } } } },
            })
        };
        let changes = between(&tree("string"), &tree("number"));
        assert!(changes.lines.iter().any(|line| line.starts_with("/leaf has `type`")), "{changes:?}");
        assert!(between(&tree("string"), &tree("string")).repairs.len() == 1);
    }
}

//! The fields of a schema as a flat list.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{json, schema::resolve};

/// Deeper ones are left to the schema.
const DEEPEST: usize = 5;

/// A field of a payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Such as `lines[].sku`; empty for the payload itself.
    pub(super) path: String,
    pub(super) kind: String,
    pub(super) required: bool,
    pub(super) meaning: String,
}

/// The fields of a schema, each behind the one that it is in.
pub(super) fn of(schema: &Value) -> Vec<Field> {
    let mut list = List { root: schema, fields: Vec::new(), open: Vec::new() };
    list.inside(schema, "", 0);
    if list.fields.is_empty() {
        let meaning = String::new();
        list.fields.push(Field { path: String::new(), kind: kind(schema, schema), required: true, meaning });
    }
    list.fields
}

struct List<'a> {
    root: &'a Value,
    fields: Vec<Field>,
    /// The references that lead here: a schema that contains itself is opened once.
    open: Vec<&'a str>,
}

impl<'a> List<'a> {
    fn inside(&mut self, schema: &'a Value, path: &str, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        let followed = schema["$ref"].as_str();
        if let Some(target) = followed {
            let Some(part) = resolve(self.root, target).filter(|_| !self.open.contains(&target)) else { return };
            self.open.push(target);
            self.inside(part, path, depth);
            self.open.pop();
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for part in schema[keyword].as_array().into_iter().flatten() {
                self.inside(part, path, depth);
            }
        }
        if schema["items"].is_object() {
            self.inside(&schema["items"], &format!("{path}[]"), depth + 1);
        }
        if schema["additionalProperties"].is_object() {
            self.inside(&schema["additionalProperties"], &format!("{path}{{}}"), depth + 1);
        }
        // Sorted, in whatever order a map keeps them.
        let properties: BTreeMap<&String, &Value> = schema["properties"].as_object().into_iter().flatten().collect();
        for (name, property) in properties {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if self.fields.iter().any(|field| field.path == inner) {
                continue; // of another variant
            }
            let required = schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
            let own = property["description"].as_str();
            let meaning = own.or_else(|| resolve(self.root, property["$ref"].as_str()?)?["description"].as_str());
            let (kind, meaning) = (kind(self.root, property), meaning.unwrap_or_default().to_owned());
            self.fields.push(Field { path: inner.clone(), kind, required, meaning });
            self.inside(property, &inner, depth + 1);
        }
    }
}

/// What a value is, in a few words.
fn kind(root: &Value, schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap_or_default();
        let part = resolve(root, target);
        return match part {
            // Its values say more than its name.
            Some(part) if part.get("enum").is_some() => kind(root, part),
            _ => name.to_owned(),
        };
    }
    if let Some(value) = schema.get("const") {
        return json::text_in_a_line(value);
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(json::text_in_a_line).collect::<Vec<_>>().join(" or ");
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(variants) = schema[keyword].as_array() {
            let mut kinds: Vec<String> = variants.iter().map(|variant| kind(root, variant)).collect();
            kinds.dedup();
            return kinds.join(" or ");
        }
    }
    let one = |name: &str| match name {
        "array" if schema["items"].is_object() => format!("array of {}", kind(root, &schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(root, &schema["additionalProperties"]))
        }
        other => match schema["format"].as_str() {
            Some(format) if other != "null" => format!("{other} ({format})"),
            _ => other.to_owned(),
        },
    };
    match &schema["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(one).collect::<Vec<_>>().join(" or "),
        _ if schema == &Value::Bool(false) => "nothing".into(),
        _ => "anything".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_listed_with_their_paths() {
        let schema = json!({
            "properties": {
                "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" } },
                "state": { "anyOf": [{ "$ref": "#/$defs/State" }, { "type": "null" }] },
                "at": { "type": "string", "format": "date-time", "description": "when" },
            },
            "required": ["lines"],
            "$defs": {
                "Line": { "properties": { "sku": { "type": "string" }, "parent": { "$ref": "#/$defs/Line" } } },
                "State": { "enum": ["open", "closed"] },
            },
        });
        let told: Vec<String> =
            of(&schema).iter().map(|f| format!("{} {} {} {}", f.path, f.kind, f.required, f.meaning)).collect();
        assert_eq!(
            told,
            [
                "at string (date-time) false when",
                "lines array of Line true ",
                "lines[].parent Line false ",
                "lines[].sku string false ",
                "state \"open\" or \"closed\" or null false ",
            ]
        );
        assert_eq!(of(&json!({ "type": "number" }))[0].kind, "number");
        assert_eq!(of(&json!(true))[0].kind, "anything");
    }
}

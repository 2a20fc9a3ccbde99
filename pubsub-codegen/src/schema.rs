//! JSON Schemas as values: where schemas lie inside one, what they refer to, and how one moves into a larger document.

use serde_json::{Map, Value, json};

/// What a keyword's value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Schema,
    /// A list of them.
    List,
    /// An object of them.
    Map,
    /// Data, in which nothing is a schema whatever it looks like.
    Data,
}

pub(crate) fn holds(keyword: &str) -> Holds {
    match keyword {
        "additionalItems"
        | "additionalProperties"
        | "contains"
        | "contentSchema"
        | "else"
        | "if"
        | "items"
        | "not"
        | "propertyNames"
        | "then"
        | "unevaluatedItems"
        | "unevaluatedProperties" => Holds::Schema,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Holds::List,
        "$defs" | "definitions" | "dependencies" | "dependentSchemas" | "patternProperties" | "properties" => {
            Holds::Map
        }
        _ => Holds::Data,
    }
}

/// Calls with each schema directly inside, and the keyword that it is under.
pub(crate) fn children_mut(schema: &mut Map<String, Value>, mut each: impl FnMut(&mut Value)) {
    for (keyword, value) in schema.iter_mut() {
        match (holds(keyword), value) {
            (Holds::Schema, value @ (Value::Object(_) | Value::Bool(_))) => each(value),
            // Before 2020-12 the schemas of a tuple lay under `items`.
            (Holds::Schema | Holds::List, Value::Array(list)) => list.iter_mut().for_each(&mut each),
            (Holds::Map, Value::Object(map)) => map.values_mut().filter(|value| !value.is_array()).for_each(&mut each),
            _ => {}
        }
    }
}

/// Calls with each reference of a schema to a part of the same document.
pub(crate) fn local_refs(schema: &mut Value, each: &mut impl FnMut(&mut String)) {
    let Value::Object(map) = schema else { return };
    if let Some(Value::String(target)) = map.get_mut("$ref")
        && target.starts_with('#')
    {
        each(target);
    }
    children_mut(map, |child| {
        // A schema with an id is a document of its own: `#` means itself there.
        if child.get("$id").is_none() {
            local_refs(child, each);
        }
    });
}

/// The schema for a larger document in which it lies at `place`, a pointer such as `#/components/schemas/Order`.
pub(crate) fn embedded(schema: &Value, place: &str) -> Value {
    // Not all tools know that a schema may be `true` or `false`.
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        Value::Bool(false) => json!({ "not": {} }),
        other => other.clone(),
    };
    if let Value::Object(map) = &mut schema {
        map.remove("$schema");
        map.remove("$id");
    }
    local_refs(&mut schema, &mut |target| target.replace_range(..1, place));
    schema
}

/// The part of a document that a local reference such as `#/$defs/Line` means.
pub(crate) fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    root.pointer(&percent_decoded(pointer)?)
}

/// A pointer in a URI may have its characters as `%XX`.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// A schema without what only people read: two that are equal so accept the same payloads by the same words.
pub(crate) fn without_prose(schema: &Value) -> Value {
    let mut schema = schema.clone();
    strip(&mut schema);
    schema
}

fn strip(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.retain(|keyword, _| {
        !matches!(keyword.as_str(), "$comment" | "$schema" | "deprecated" | "description" | "examples" | "title")
    });
    children_mut(map, strip);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Order",
            "properties": {
                "$ref": { "const": { "$ref": "#/is/data" }, "description": "a property, not a reference" },
                "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" } },
                "own": { "$id": "urn:own", "$ref": "#/$defs/Mine" },
                "self": { "$ref": "#" },
            },
            "$defs": { "Line": { "anyOf": [{ "$ref": "#/$defs/A%20b" }, true] }, "A b": { "type": "null" } },
        })
    }

    #[test]
    fn references_move_with_the_schema_and_data_stays() {
        let moved = embedded(&sample(), "#/components/schemas/Order");
        assert_eq!(moved["properties"]["lines"]["items"]["$ref"], "#/components/schemas/Order/$defs/Line");
        assert_eq!(moved["properties"]["self"]["$ref"], "#/components/schemas/Order");
        assert_eq!(moved["$defs"]["Line"]["anyOf"][0]["$ref"], "#/components/schemas/Order/$defs/A%20b");
        assert_eq!(moved["properties"]["own"]["$ref"], "#/$defs/Mine");
        assert_eq!(moved["properties"]["$ref"]["const"]["$ref"], "#/is/data");
        assert!(moved.get("$schema").is_none());
        assert_eq!([embedded(&json!(true), "#/x"), embedded(&json!(false), "#/x")], [json!({}), json!({ "not": {} })]);
    }

    #[test]
    fn references_are_found() {
        assert_eq!(resolve(&sample(), "#/$defs/A%20b"), Some(&json!({ "type": "null" })));
        assert!(resolve(&sample(), "#/$defs/None").is_none() && resolve(&sample(), "other#/x").is_none());
        assert!(resolve(&sample(), "#/%2").is_none());
    }

    #[test]
    fn prose_is_no_part_of_the_contract() {
        let mut reworded = sample();
        reworded["title"] = json!("Another");
        reworded["$defs"]["Line"]["description"] = json!("a line");
        assert_eq!(without_prose(&reworded), without_prose(&sample()));
        let mut property = sample();
        property["properties"]["title"] = json!({ "type": "string" });
        assert_ne!(without_prose(&property), without_prose(&sample()));
    }
}

//! From JSON Schema 2020-12 to draft 7, of which AsyncAPI's schemas are.

use serde_json::{Map, Value, json};

use crate::schema::{children_mut, embedded, local_refs};

/// The schema in the words of draft 7, for a document in which it lies at `place`.
pub(super) fn of(schema: &Value, place: &str) -> Value {
    let mut schema = embedded(schema, place);
    local_refs(&mut schema, &mut |target| *target = target.replace("/$defs/", "/definitions/"));
    rewrite(&mut schema);
    schema
}

fn rewrite(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    children_mut(map, rewrite);
    rename(map, "$defs", "definitions");
    if map.contains_key("prefixItems") {
        rename(map, "items", "additionalItems");
        rename(map, "prefixItems", "items");
    }
    let mut dependencies = Map::new();
    for keyword in ["dependentRequired", "dependentSchemas"] {
        if let Some(Value::Object(mut more)) = map.remove(keyword) {
            dependencies.append(&mut more);
        }
    }
    if !dependencies.is_empty() {
        map.insert("dependencies".into(), Value::Object(dependencies));
    }
    for without_words in ["unevaluatedProperties", "unevaluatedItems", "minContains", "maxContains"] {
        map.remove(without_words);
    }
    // Beside a reference, draft 7 looks at nothing.
    let says_more = |map: &Map<String, Value>| map.keys().any(|keyword| !matches!(&**keyword, "$ref" | "definitions"));
    if map.contains_key("$ref")
        && says_more(map)
        && let Some(target) = map.remove("$ref")
    {
        let mut all = vec![json!({ "$ref": target })];
        if let Some(Value::Array(more)) = map.remove("allOf") {
            all.extend(more);
        }
        map.insert("allOf".into(), Value::Array(all));
    }
}

fn rename(map: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.into(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_words_become_older_ones() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": {
                "pair": { "prefixItems": [true, { "$ref": "#/$defs/A" }], "items": false },
                "told": { "$ref": "#/$defs/A", "description": "with words" },
            },
            "dependentRequired": { "pair": ["told"] },
            "unevaluatedProperties": false,
            "$defs": { "A": { "type": "null" } },
        });
        let expected = json!({
            "properties": {
                "pair": { "items": [true, { "$ref": "#/x/definitions/A" }], "additionalItems": false },
                "told": { "allOf": [{ "$ref": "#/x/definitions/A" }], "description": "with words" },
            },
            "dependencies": { "pair": ["told"] },
            "definitions": { "A": { "type": "null" } },
        });
        assert_eq!(of(&schema, "#/x"), expected);
    }
}

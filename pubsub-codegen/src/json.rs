//! JSON as text that is the same whenever the value is: keys are sorted, in whatever order a map keeps them.

use serde_json::Value;

/// As a file: indented, with a line break at its end.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    write(value, Some(0), &mut text);
    text.push('\n');
    text
}

/// In one line, without spaces.
pub(crate) fn text_in_a_line(value: &Value) -> String {
    let mut text = String::new();
    write(value, None, &mut text);
    text
}

fn write(value: &Value, indent: Option<usize>, out: &mut String) {
    let inner = indent.map(|indent| indent + 2);
    let mut list = |open: char, close: char, items: Vec<(Option<&String>, &Value)>| {
        out.push(open);
        let is_empty = items.is_empty();
        for (index, (key, item)) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            break_line(inner, out);
            if let Some(key) = key {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(if inner.is_some() { ": " } else { ":" });
            }
            write(item, inner, out);
        }
        if !is_empty {
            break_line(indent, out);
        }
        out.push(close);
    };
    match value {
        Value::Array(items) => list('[', ']', items.iter().map(|item| (None, item)).collect()),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(key, value)| (Some(key), value)).collect();
            entries.sort_by_key(|(key, _)| *key);
            list('{', '}', entries);
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}

fn break_line(indent: Option<usize>, out: &mut String) {
    if let Some(indent) = indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_text_is_json_with_sorted_keys() {
        let value = json!({ "b": [1, { "z": "\"\n", "y": null }], "a": {}, "c": [] });
        let text = text_in_a_line(&value);
        assert_eq!(text, r#"{"a":{},"b":[1,{"y":null,"z":"\"\n"}],"c":[]}"#);
        let document = document(&value);
        assert!(document.starts_with("{\n  \"a\": {},\n  \"b\": [\n    1,\n"), "{document}");
        assert_eq!(serde_json::from_str::<Value>(&document).unwrap(), value);
    }
}

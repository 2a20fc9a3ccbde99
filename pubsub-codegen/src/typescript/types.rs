//! From JSON Schema to types.

use std::collections::{BTreeMap, BTreeSet};

use pubsub_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

use super::print::{Expr, doc, key, quoted};
use crate::{
    json,
    names::{Taken, type_name},
    schema,
};

/// Longer arrays of a fixed length are arrays.
const LONGEST_TUPLE: usize = 8;

/// The declarations that the payloads and replies of a catalog need. A part that several of them share by name and form is
/// declared once.
pub(super) struct Declarations {
    taken: Taken,
    out: Vec<String>,
    /// The declared parts by their form, with all that they refer to.
    parts: BTreeMap<String, String>,
}

impl Declarations {
    pub(super) fn new(taken: Taken) -> Self {
        Self { taken, out: Vec::new(), parts: BTreeMap::new() }
    }

    pub(super) fn finish(self) -> String {
        self.out.join("\n")
    }

    /// Declares a whole schema under its name, which is claimed already.
    pub(super) fn root(&mut self, name: &str, schema: &Value, meaning: &str) -> Result<()> {
        let mut writer = Writer { root: schema, name, declarations: self, found: BTreeMap::new(), pending: Vec::new() };
        writer.found.insert("#".into(), name.into());
        writer.declare(name, schema, meaning)?;
        // Declared one after the other and not inside one another: they may refer to each other in circles.
        while let Some((name, part)) = writer.pending.pop() {
            let meaning = part["description"].as_str().unwrap_or_default();
            writer.declare(&name, part, meaning)?;
        }
        Ok(())
    }
}

/// Writes the types of one schema.
struct Writer<'a> {
    root: &'a Value,
    name: &'a str,
    declarations: &'a mut Declarations,
    /// The types of the parts that were met, by reference.
    found: BTreeMap<String, String>,
    pending: Vec<(String, &'a Value)>,
}

impl<'a> Writer<'a> {
    fn declare(&mut self, name: &str, schema: &'a Value, meaning: &str) -> Result<()> {
        let expr = self.expr(schema, 0)?;
        // An interface is shown by its name in editors and errors, and is what a plain object is.
        let text = if expr.text.starts_with("{\n") && expr.text.find("\n}") == Some(expr.text.len() - 2) {
            format!("{}export interface {name} {}\n", doc(meaning, 0), expr.text)
        } else {
            format!("{}export type {name} = {};\n", doc(meaning, 0), expr.text)
        };
        self.declarations.out.push(text);
        Ok(())
    }

    fn expr(&mut self, schema: &'a Value, indent: usize) -> Result<Expr> {
        let map = match schema {
            Value::Bool(true) => return Ok(Expr::atom("unknown")),
            Value::Object(map) => map,
            _ => return Ok(Expr::atom("never")),
        };
        let mut parts = Vec::new();
        if let Some(target) = map.get("$ref").and_then(Value::as_str) {
            parts.push(Expr::atom(self.reference(target)?));
        }
        if let Some(value) = map.get("const") {
            parts.push(literal(value));
        } else if let Some(Value::Array(values)) = map.get("enum") {
            parts.push(Expr::union(values.iter().map(literal).collect()));
        } else {
            parts.extend(self.by_type(map, indent)?);
        }
        if let Some(Value::Array(all)) = map.get("allOf") {
            for schema in all {
                parts.push(self.expr(schema, indent)?);
            }
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(Value::Array(some)) = map.get(keyword) {
                let variants = some.iter().map(|schema| self.expr(schema, indent));
                parts.push(Expr::union(variants.collect::<Result<_>>()?));
            }
        }
        Ok(Expr::intersection(parts))
    }

    /// What `type` and the keywords that go with it say; nothing if they say nothing.
    fn by_type(&mut self, map: &'a Map<String, Value>, indent: usize) -> Result<Option<Expr>> {
        let has = |keywords: &[&str]| keywords.iter().any(|keyword| map.contains_key(*keyword));
        let kinds: Vec<&str> = match map.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ if has(&["properties", "additionalProperties", "patternProperties"]) => vec!["object"],
            _ if has(&["items", "prefixItems"]) => vec!["array"],
            _ => return Ok(None),
        };
        let mut parts = Vec::with_capacity(kinds.len());
        let is_refined = has(&["$ref", "allOf", "anyOf", "oneOf"]);
        for kind in kinds {
            parts.push(match kind {
                "string" | "boolean" | "null" => Expr::atom(kind),
                "number" | "integer" => Expr::atom("number"),
                "array" => self.array(map, indent)?,
                "object" => match self.object(map, indent)? {
                    Some(expr) => expr,
                    // Others say which objects.
                    None if is_refined => return Ok(None),
                    None => Expr::atom("Record<string, unknown>"),
                },
                _ => Expr::atom("unknown"),
            });
        }
        Ok(Some(Expr::union(parts)))
    }

    fn array(&mut self, map: &'a Map<String, Value>, indent: usize) -> Result<Expr> {
        // Before 2020-12 a tuple was a list under `items`.
        let (tuple, rest) = match (map.get("prefixItems"), map.get("items")) {
            (Some(Value::Array(tuple)), rest) => (tuple.as_slice(), rest),
            (_, Some(Value::Array(tuple))) => (tuple.as_slice(), map.get("additionalItems")),
            (_, rest) => (&[][..], rest),
        };
        let rest = rest.map(|schema| self.expr(schema, indent)).transpose()?;
        let of_rest = |rest: &Expr| Expr::atom(format!("{}[]", rest.operand()));
        let number = |keyword: &str| map.get(keyword).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let least = number("minItems").unwrap_or(0);
        if tuple.is_empty() {
            let item = rest.unwrap_or_else(|| Expr::atom("unknown"));
            // Arrays of a fixed length are tuples, as long as people can count them.
            let is_tuple = (1..=LONGEST_TUPLE).contains(&least) && number("maxItems") == Some(least);
            let tuple = || format!("[{}]", vec![item.text.as_str(); least].join(", "));
            return Ok(if is_tuple { Expr::atom(tuple()) } else { of_rest(&item) });
        }
        let mut items = Vec::with_capacity(tuple.len() + 1);
        for (index, schema) in tuple.iter().enumerate() {
            let item = self.expr(schema, indent)?;
            items.push(if index < least { item.text } else { format!("{}?", item.operand()) });
        }
        let is_full = number("maxItems").is_some_and(|most| most <= tuple.len());
        if !is_full && rest.as_ref().is_none_or(|rest| rest.text != "never") {
            let rest = rest.unwrap_or_else(|| Expr::atom("unknown"));
            items.push(format!("...{}", of_rest(&rest).text));
        }
        Ok(Expr::atom(format!("[{}]", items.join(", "))))
    }

    /// An object's properties, those that are not named among them. Nothing if no property is told of.
    fn object(&mut self, map: &'a Map<String, Value>, indent: usize) -> Result<Option<Expr>> {
        let required: BTreeSet<&str> =
            map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let margin = " ".repeat(indent + 2);
        let (mut lines, mut values) = (String::new(), Vec::new());
        for (name, schema) in sorted(map.get("properties")) {
            let value = self.expr(schema, indent + 2)?;
            let optional = if required.contains(name) { "" } else { "?" };
            lines += &doc(&describe(schema), indent + 2);
            lines += &format!("{margin}{}{optional}: {};\n", key(name), value.text);
            if !optional.is_empty() {
                values.push(Expr::atom("undefined"));
            }
            values.push(value);
        }
        let mut others = Vec::new();
        for (_, schema) in sorted(map.get("patternProperties")) {
            others.push(self.expr(schema, indent + 2)?);
        }
        match map.get("additionalProperties") {
            None => {}
            Some(schema) => match self.expr(schema, indent + 2)? {
                none if none.text == "never" => {}
                expr => others.push(expr),
            },
        }
        let closed = map.get("additionalProperties") == Some(&Value::Bool(false));
        if lines.is_empty() {
            let others = Expr::union(others);
            return Ok(match (others.text.as_str(), closed) {
                ("never", true) => Some(Expr::atom("Record<string, never>")),
                ("never", false) => None,
                (others, _) => Some(Expr::atom(format!("Record<string, {others}>"))),
            });
        }
        if !others.is_empty() {
            // TypeScript wants the named properties to fit as well.
            let any = Expr::union([others, values].concat());
            lines += &format!("{margin}[key: string]: {};\n", any.text);
        }
        Ok(Some(Expr::atom(format!("{{\n{lines}{}}}", " ".repeat(indent)))))
    }

    /// The type of a part that is referred to.
    fn reference(&mut self, target: &str) -> Result<String> {
        if let Some(name) = self.found.get(target) {
            return Ok(name.clone());
        }
        let part = schema::resolve(self.root, target).ok_or_else(|| {
            let message = format!("the schema of `{}` refers to `{target}`, which is not in it", self.name);
            Error::new(ErrorKind::Unsupported, "write types", message)
        })?;
        let form = form(self.root, target, part);
        if let Some(name) = self.declarations.parts.get(&form) {
            self.found.insert(target.to_owned(), name.clone());
            return Ok(name.clone());
        }
        let own = type_name(target.rsplit('/').next().unwrap_or_default());
        let taken = &mut self.declarations.taken;
        let name = if taken.has(&own) { taken.claim(&format!("{}{own}", self.name)) } else { taken.claim(&own) };
        self.found.insert(target.to_owned(), name.clone());
        self.declarations.parts.insert(form, name.clone());
        self.pending.push((name.clone(), part));
        Ok(name)
    }
}

/// The entries of an object of schemas, in an order that does not depend on how it is kept.
fn sorted(map: Option<&Value>) -> Vec<(&str, &Value)> {
    let mut entries: Vec<_> =
        map.and_then(Value::as_object).into_iter().flatten().map(|(k, v)| (k.as_str(), v)).collect();
    entries.sort_by_key(|(name, _)| *name);
    entries
}

fn literal(value: &Value) -> Expr {
    Expr::atom(match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|item| literal(item).text).collect::<Vec<_>>().join(", "))
        }
        Value::Object(_) => {
            let entries = sorted(Some(value)).into_iter();
            let entries = entries.map(|(name, value)| format!("{}: {}", key(name), literal(value).text));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join("; "))
        }
    })
}

/// What a property's comment says: its description, and the bounds that a type cannot express.
fn describe(schema: &Value) -> String {
    let mut lines: Vec<String> = schema["description"].as_str().map(str::to_owned).into_iter().collect();
    let said = |keyword: &str, tag: &str| match &schema[keyword] {
        Value::Null => None,
        value => Some(format!("@{tag} {}", value.as_str().map_or_else(|| json::text_in_a_line(value), str::to_owned))),
    };
    for keyword in
        ["format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "default"]
    {
        lines.extend(said(keyword, keyword));
    }
    if schema["deprecated"] == true {
        lines.push("@deprecated".into());
    }
    lines.join("\n")
}

/// A part with everything that it refers to, as one text: what makes two parts of the same name the same type.
fn form(root: &Value, target: &str, part: &Value) -> String {
    let mut seen = BTreeMap::from([(target.to_owned(), part.clone())]);
    let mut pending = vec![part.clone()];
    while let Some(mut schema) = pending.pop() {
        schema::local_refs(&mut schema, &mut |target| {
            if !seen.contains_key(target.as_str())
                && let Some(part) = schema::resolve(root, target)
            {
                seen.insert(target.clone(), part.clone());
                pending.push(part.clone());
            }
        });
    }
    let own = target.rsplit('/').next().unwrap_or_default();
    seen.iter().fold(own.to_owned(), |text, (target, part)| format!("{text}\n{target} {}", json::text_in_a_line(part)))
}

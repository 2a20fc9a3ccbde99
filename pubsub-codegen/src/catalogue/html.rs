//! The page in HTML.

use std::collections::BTreeMap;

use super::{Entry, facts, fields::Field};
use crate::json;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8881}\
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:1rem}\
code,pre{font:0.9em/1.4 ui-monospace,monospace}\
table{border-collapse:collapse;width:100%;margin:.5rem 0}\
th,td{text-align:left;vertical-align:top;padding:.25rem .5rem;border-bottom:1px solid var(--line)}\
article{border:1px solid var(--line);border-radius:.5rem;padding:0 1rem 1rem;margin:1rem 0}\
pre{background:var(--soft);padding:.75rem;overflow:auto}\
nav ul{columns:16rem;padding-left:1rem}";

pub(super) fn page(title: &str, channels: &BTreeMap<&str, Vec<Entry<'_>>>) -> String {
    let title = text(title);
    let mut out = format!(
        "<!doctype html>\n<!-- Written by `pubsub codegen`. What is changed here is lost. -->\n<html lang=\"en\">\n<head>\n\
         <meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<nav><ul>\n"
    );
    let all = || channels.values().flatten();
    for entry in all() {
        let (name, version) = (text(entry.contract.name.as_str()), entry.contract.version);
        out += &format!("<li><a href=\"#{}\"><code>{name}</code> {version}</a></li>\n", anchor(entry));
    }
    out += "</ul></nav>\n";
    for (channel, entries) in channels {
        out += &format!("<section>\n<h2>Channel <code>{}</code></h2>\n", text(channel));
        entries.iter().for_each(|entry| out += &event(entry));
        out += "</section>\n";
    }
    out + "</body>\n</html>\n"
}

fn event(entry: &Entry<'_>) -> String {
    let contract = entry.contract;
    let (name, version) = (text(contract.name.as_str()), contract.version);
    let mut out = format!("<article id=\"{}\">\n<h3><code>{name}</code> version {version}</h3>\n", anchor(entry));
    for paragraph in contract.meaning().unwrap_or_default().split("\n\n").filter(|text| !text.trim().is_empty()) {
        out += &format!("<p>{}</p>\n", text(paragraph.trim()));
    }
    out += "<ul>\n";
    for (what, value) in facts(entry) {
        out += &format!("<li>{what}: {}</li>\n", text(&value));
    }
    out += "</ul>\n";
    out += &table("payload", &entry.payload);
    if let Some(reply) = &entry.reply {
        out += &table("reply", reply);
    }
    for (what, schema) in [("payload", Some(&contract.payload_schema)), ("reply", contract.reply_schema.as_ref())] {
        if let Some(schema) = schema {
            let schema = text(&json::document(schema));
            out += &format!("<details><summary>JSON Schema of the {what}</summary>\n<pre>{schema}</pre></details>\n");
        }
    }
    out + "</article>\n"
}

fn table(what: &str, fields: &[Field]) -> String {
    let mut out = format!("<table>\n<tr><th>{what}</th><th>type</th><th>required</th><th>meaning</th></tr>\n");
    for Field { path, kind, required, meaning } in fields {
        let path = if path.is_empty() { "the whole".to_owned() } else { format!("<code>{}</code>", text(path)) };
        let required = if *required { "yes" } else { "" };
        let (kind, meaning) = (text(kind), text(meaning));
        out += &format!("<tr><td>{path}</td><td>{kind}</td><td>{required}</td><td>{meaning}</td></tr>\n");
    }
    out + "</table>\n"
}

/// A place on the page: what is safe in a URL stays, the rest is written by its number.
fn anchor(entry: &Entry<'_>) -> String {
    let mut out = String::new();
    for c in entry.contract.name.as_str().chars() {
        if c.is_ascii_alphanumeric() || matches!(c, ':' | '-') {
            out.push(c);
        } else {
            out += &format!("_{:x}_", u32::from(c));
        }
    }
    format!("{out}_v{}", entry.contract.version)
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

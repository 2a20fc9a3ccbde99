//! The page in Markdown.

use std::collections::BTreeMap;

use super::{Entry, facts, fields::Field};
use crate::json;

pub(super) fn page(title: &str, channels: &BTreeMap<&str, Vec<Entry<'_>>>) -> String {
    let mut out = format!("<!-- Written by `pubsub codegen`. What is changed here is lost. -->\n\n# {}\n", text(title));
    for (channel, entries) in channels {
        out += &format!("\n## Channel {}\n\n", code(channel));
        out += "| event | version | direction | meaning |\n|---|---|---|---|\n";
        for entry in entries {
            let contract = entry.contract;
            let (name, meaning) =
                (cell(&code(contract.name.as_str())), cell(&text(contract.meaning().unwrap_or_default())));
            out += &format!("| {name} | {} | {} | {meaning} |\n", contract.version, contract.direction);
        }
        entries.iter().for_each(|entry| out += &event(entry));
    }
    out
}

fn event(entry: &Entry<'_>) -> String {
    let contract = entry.contract;
    let mut out = format!("\n### {} version {}\n\n", code(contract.name.as_str()), contract.version);
    if let Some(meaning) = contract.meaning() {
        out += &format!("{}\n\n", text(meaning));
    }
    for (what, value) in facts(entry) {
        out += &format!("- {what}: {}\n", text(&value));
    }
    out += &table("payload", &entry.payload);
    if let Some(reply) = &entry.reply {
        out += &table("reply", reply);
    }
    for (what, schema) in [("payload", Some(&contract.payload_schema)), ("reply", contract.reply_schema.as_ref())] {
        if let Some(schema) = schema {
            let schema = json::document(schema);
            // Longer than any run of backticks inside.
            let fence = "`".repeat(3.max(longest_run(&schema) + 1));
            out += &format!(
                "\n<details><summary>JSON Schema of the {what}</summary>\n\n{fence}json\n{schema}{fence}\n\n</details>\n"
            );
        }
    }
    out
}

fn table(what: &str, fields: &[Field]) -> String {
    let mut out = format!("\n| {what} | type | required | meaning |\n|---|---|---|---|\n");
    for Field { path, kind, required, meaning } in fields {
        let path = if path.is_empty() { "the whole".to_owned() } else { code(path) };
        let required = if *required { "yes" } else { "" };
        out += &format!("| {} | {} | {required} | {} |\n", cell(&path), cell(&text(kind)), cell(&text(meaning)));
    }
    out
}

/// Foreign text: its own Markdown is wanted, its HTML is not.
fn text(text: &str) -> String {
    text.trim().replace('&', "&amp;").replace('<', "&lt;")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    if fence.len() == 1 { format!("`{text}`") } else { format!("{fence} {text} {fence}") }
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_in_its_place() {
        assert_eq!(code("a:b"), "`a:b`");
        assert_eq!(code("a:`b"), "`` a:`b ``");
        assert_eq!(cell("a | b\n c"), "a \\| b c");
        assert_eq!(text(" <script>& "), "&lt;script>&amp;");
    }
}

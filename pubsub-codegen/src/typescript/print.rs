//! How TypeScript is spelled.

/// A type expression, and whether it needs parentheses inside another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expr {
    pub(super) text: String,
    is_compound: bool,
}

impl Expr {
    pub(super) fn atom(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_compound: false }
    }

    /// The expression where an operator is beside it.
    pub(super) fn operand(&self) -> String {
        if self.is_compound { format!("({})", self.text) } else { self.text.clone() }
    }

    /// One of these. What is there twice counts once.
    pub(super) fn union(parts: Vec<Self>) -> Self {
        if parts.iter().any(|part| part.text == "unknown") {
            return Self::atom("unknown");
        }
        Self::joined(parts, "never", " | ")
    }

    /// All of these at once. What anything fits says nothing.
    pub(super) fn intersection(mut parts: Vec<Self>) -> Self {
        parts.retain(|part| part.text != "unknown");
        Self::joined(parts, "unknown", " & ")
    }

    fn joined(parts: Vec<Self>, none: &str, operator: &str) -> Self {
        let mut distinct: Vec<Self> = Vec::with_capacity(parts.len());
        for part in parts {
            if part.text != none && !distinct.contains(&part) {
                distinct.push(part);
            }
        }
        match distinct.as_slice() {
            [] => Self::atom(none),
            [one] => one.clone(),
            several => {
                let text = several.iter().map(Self::operand).collect::<Vec<_>>().join(operator);
                Self { text, is_compound: true }
            }
        }
    }
}

/// Text as a string literal.
pub(super) fn quoted(text: &str) -> String {
    // JSON's strings are TypeScript's.
    serde_json::Value::from(text).to_string()
}

/// The key of a property: as it is where that is a name.
pub(super) fn key(name: &str) -> String {
    let mut chars = name.chars();
    let is_name = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '$')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
    if is_name { name.to_owned() } else { quoted(name) }
}

/// A doc comment, with a line break behind it; empty if there is nothing to say.
pub(super) fn doc(text: &str, indent: usize) -> String {
    let text = text.trim().replace("*/", "*\\/");
    let margin = " ".repeat(indent);
    if text.is_empty() {
        return String::new();
    }
    if !text.contains('\n') {
        return format!("{margin}/** {text} */\n");
    }
    let lines = text.lines().map(|line| format!("{margin} * {}", line.trim_end()));
    let body: String = lines.map(|line| line.trim_end().to_owned() + "\n").collect();
    format!("{margin}/**\n{body}{margin} */\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_does_not_break_out() {
        assert_eq!(doc("ends */ early", 2), "  /** ends *\\/ early */\n");
        assert_eq!(doc("two\n\nparts", 0), "/**\n * two\n *\n * parts\n */\n");
        assert_eq!(quoted("a'b\"c\n"), r#""a'b\"c\n""#);
        assert_eq!(
            [key("orderId"), key("order-id"), key("9"), key("ü")],
            ["orderId", "\"order-id\"", "\"9\"", "\"ü\""]
        );
    }

    #[test]
    fn operators_have_parentheses_where_they_need_them() {
        let atom = |text: &str| Expr::atom(text);
        let union = Expr::union(vec![atom("A"), atom("B"), atom("A")]);
        assert_eq!(union.text, "A | B");
        assert_eq!(Expr::intersection(vec![union, atom("C"), atom("unknown")]).text, "(A | B) & C");
        assert_eq!(Expr::union(vec![atom("never"), atom("A")]).text, "A");
        assert_eq!(Expr::union(vec![atom("A"), atom("unknown")]).text, "unknown");
        assert_eq!(Expr::intersection(vec![]).text, "unknown");
    }
}

//! How TypeScript is spelled.

/// A type expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expr {
    pub(super) text: String,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Atom,
    Intersection,
    /// Of these.
    Union(Vec<Expr>),
}

impl Expr {
    pub(super) fn atom(text: impl Into<String>) -> Self {
        Self { text: text.into(), shape: Shape::Atom }
    }

    /// The expression where something follows that binds closer than any operator.
    pub(super) fn operand(&self) -> String {
        if self.shape == Shape::Atom { self.text.clone() } else { format!("({})", self.text) }
    }

    /// One of these. What is there twice counts once.
    pub(super) fn union(parts: Vec<Self>) -> Self {
        if parts.iter().any(|part| part.text == "unknown") {
            return Self::atom("unknown");
        }
        let flat = parts.into_iter().flat_map(|part| match part.shape {
            Shape::Union(parts) => parts,
            _ => vec![part],
        });
        let parts = distinct(flat, "never");
        let text = parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(" | ");
        match parts.as_slice() {
            [] => Self::atom("never"),
            [one] => one.clone(),
            _ => Self { text, shape: Shape::Union(parts) },
        }
    }

    /// All of these at once. What anything fits says nothing.
    pub(super) fn intersection(parts: Vec<Self>) -> Self {
        match distinct(parts, "unknown").as_slice() {
            [] => Self::atom("unknown"),
            [one] => one.clone(),
            several => {
                let bound =
                    |part: &Self| if part.shape == Shape::Intersection { part.text.clone() } else { part.operand() };
                let text = several.iter().map(bound).collect::<Vec<_>>().join(" & ");
                Self { text, shape: Shape::Intersection }
            }
        }
    }
}

/// Each part once, without those that say nothing.
fn distinct(parts: impl IntoIterator<Item = Expr>, says_nothing: &str) -> Vec<Expr> {
    let mut distinct = Vec::new();
    for part in parts {
        if part.text != says_nothing && !distinct.contains(&part) {
            distinct.push(part);
        }
    }
    distinct
}

/// Text as a string literal.
pub(super) fn quoted(text: &str) -> String {
    // JSON's strings are TypeScript's, too.
    let json = serde_json::Value::from(text).to_string();
    if json.contains(['\\', '\'']) { json } else { json.replace('"', "'") }
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
        assert_eq!([key("orderId"), key("order-id"), key("9"), key("ü")], ["orderId", "'order-id'", "'9'", "'ü'"]);
    }

    #[test]
    fn operators_have_parentheses_where_they_need_them() {
        let atom = |text: &str| Expr::atom(text);
        let union = Expr::union(vec![atom("A"), atom("B"), atom("A")]);
        assert_eq!(union.text, "A | B");
        let both = Expr::intersection(vec![union.clone(), atom("C"), atom("unknown")]);
        assert_eq!(both.text, "(A | B) & C");
        assert_eq!(Expr::intersection(vec![both.clone(), atom("D")]).text, "(A | B) & C & D");
        assert_eq!(Expr::union(vec![union.clone(), atom("B"), both]).text, "A | B | (A | B) & C");
        assert_eq!(union.operand(), "(A | B)");
        assert_eq!(Expr::union(vec![atom("never"), atom("A")]).text, "A");
        assert_eq!(Expr::union(vec![atom("A"), atom("unknown")]).text, "unknown");
        assert_eq!(Expr::intersection(vec![]).text, "unknown");
    }
}

//! The description of an event that a doc comment holds.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The first paragraph of the doc comment, on one line.
pub(crate) fn doc_paragraph(attrs: &[Attribute]) -> Option<String> {
    let text: Vec<String> = attrs.iter().filter_map(doc_text).collect();
    let paragraph: Vec<&str> = text
        .iter()
        .flat_map(|text| text.lines().chain(text.is_empty().then_some("")))
        .map(|line| line.trim())
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty())
        .collect();
    (!paragraph.is_empty()).then(|| paragraph.join(" "))
}

fn doc_text(attr: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attr.meta else {
        return None;
    };
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &meta.value else {
        return None;
    };
    meta.path.is_ident("doc").then(|| without_stars(&text.value()))
}

/// A block comment `/** … */` may begin each of its lines with a star.
fn without_stars(text: &str) -> String {
    let starred = |line: &str| line.trim_start().starts_with('*');
    let blank = |line: &str| line.trim().is_empty();
    if !text.contains('\n') || !text.lines().skip(1).all(|line| starred(line) || blank(line)) {
        return text.to_owned();
    }
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start().strip_prefix('*').unwrap_or(line)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn of(item: &syn::ItemStruct) -> Option<String> {
        doc_paragraph(&item.attrs)
    }

    #[test]
    fn first_paragraph_on_one_line() {
        let item = parse_quote! {
            ///
            /// An order was placed
            ///   and paid.
            ///
            /// More about it.
            struct A;
        };
        assert_eq!(of(&item).as_deref(), Some("An order was placed and paid."));
    }

    #[test]
    fn block_comments_with_and_without_stars() {
        let starred = parse_quote! {
            /**
             * An order
             * was placed.
             *
             * More.
             */
            struct A;
        };
        assert_eq!(of(&starred).as_deref(), Some("An order was placed."));
        let plain = parse_quote! {
            /** An order
                was placed.

                More. */
            struct A;
        };
        assert_eq!(of(&plain).as_deref(), Some("An order was placed."));
    }

    #[test]
    fn no_text_no_description() {
        assert_eq!(of(&parse_quote! { #[doc(hidden)] #[serde(default)] struct A; }), None);
        assert_eq!(of(&parse_quote! { #[doc = ""] struct A; }), None);
        assert_eq!(of(&parse_quote! { #[doc = include_str!("a.md")] struct A; }), None);
    }
}

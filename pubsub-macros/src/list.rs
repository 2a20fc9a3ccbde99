//! Reads the list inside `#[event(...)]` and goes on after a mistake, so that later ones are seen too.

use proc_macro2::{Span, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::ParseStream;
use syn::parse::discouraged::Speculative as _;
use syn::spanned::Spanned as _;
use syn::{Expr, Ident, Lit, Token, Type, token};

use crate::errors::Errors;
use crate::keys::Key;

/// One entry of the list.
pub(crate) enum Item {
    /// A literal without a key.
    Bare(Lit),
    /// `key`, or `key = value`.
    Keyed { key: Ident, value: Value },
}

/// What follows a key.
pub(crate) enum Value {
    Absent,
    Expr(Box<Expr>),
    Type(Box<Type>),
    /// Neither, or of a key that nobody knows: shown at the place where the value begins.
    Broken(Span),
}

impl Value {
    /// Where a complaint about the value belongs: on the value, or on `key` if there is none.
    pub(crate) fn span_or(&self, key: &Ident) -> Span {
        match self {
            Self::Absent => key.span(),
            Self::Expr(expr) => expr.span(),
            Self::Type(ty) => ty.span(),
            Self::Broken(span) => *span,
        }
    }
}

/// All entries that can be made out; what cannot goes to `errors`.
pub(crate) fn parse(input: ParseStream<'_>, errors: &mut Errors) -> Vec<Item> {
    let mut items = Vec::new();
    while !input.is_empty() {
        match item(input) {
            Some(item) => items.push(item),
            None => {
                errors.at(
                    input.span(),
                    r#"expected a key, for example `name = "orders:created"`"#,
                );
                skip(input);
            }
        }
        if !input.is_empty()
            && input
                .parse::<Option<Token![,]>>()
                .is_ok_and(|comma| comma.is_none())
        {
            errors.at(input.span(), "expected `,` before this");
            if !input.peek(Ident::peek_any) {
                skip(input);
                input.parse::<Option<Token![,]>>().ok();
            }
        }
    }
    items
}

fn item(input: ParseStream<'_>) -> Option<Item> {
    if input.peek(Lit) {
        return input.parse().ok().map(Item::Bare);
    }
    if !input.peek(Ident::peek_any) || input.peek2(Token![::]) {
        return None;
    }
    let key = input.call(Ident::parse_any).ok()?;
    let value = value(&key, input);
    Some(Item::Keyed { key, value })
}

fn value(key: &Ident, input: ParseStream<'_>) -> Value {
    if input.peek(token::Paren) {
        return broken(input);
    }
    if !input.peek(Token![=]) || input.parse::<Token![=]>().is_err() {
        return Value::Absent;
    }
    if input.is_empty() || input.peek(Token![,]) {
        return Value::Absent;
    }
    let ahead = input.fork();
    let value = match Key::find(key) {
        Some(Key::Reply) => ahead.parse().map(Value::Type),
        Some(_) => ahead.parse().map(Value::Expr),
        None => return broken(input),
    };
    match value {
        Ok(value) => {
            input.advance_to(&ahead);
            value
        }
        Err(_) => broken(input),
    }
}

fn broken(input: ParseStream<'_>) -> Value {
    let span = input.span();
    skip(input);
    Value::Broken(span)
}

/// Goes to the next comma that is not between angle brackets, as in `reply = Map<A, B>`.
fn skip(input: ParseStream<'_>) {
    let mut depth = 0_usize;
    while !(input.is_empty() || depth == 0 && input.peek(Token![,])) {
        match input.parse::<TokenTree>() {
            Ok(TokenTree::Punct(punct)) if punct.as_char() == '<' => depth += 1,
            Ok(TokenTree::Punct(punct)) if punct.as_char() == '>' => {
                depth = depth.saturating_sub(1);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

//! Reads the list inside `#[event(...)]` and goes on after a mistake, so that later ones are seen too.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt as _;
use syn::parse::discouraged::Speculative as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Expr, Ident, Lit, Token, Type, token};

use crate::errors::Errors;
use crate::keys::Key;

/// One entry of the list.
pub(crate) enum Item {
    /// A literal without a key.
    Bare(Lit),
    /// `key`, or `key = value`.
    Keyed { key: Ident, value: Value },
    /// Something else, up to the next comma.
    Unreadable(TokenStream),
}

/// What follows a key.
pub(crate) enum Value {
    Absent,
    Expr(Box<Expr>),
    Type(Box<Type>),
    /// Neither, or of a key that nobody knows.
    Broken(TokenStream),
}

impl Value {
    /// What a complaint about the value is shown at: the value, or `key` if there is none.
    pub(crate) fn place(&self, key: &Ident) -> TokenStream {
        match self {
            Self::Absent => key.to_token_stream(),
            Self::Expr(expr) => expr.to_token_stream(),
            Self::Type(ty) => ty.to_token_stream(),
            Self::Broken(tokens) => tokens.clone(),
        }
    }
}

/// All entries; a missing comma goes to `errors`.
pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Vec<Item> {
    let parser = |input: ParseStream<'_>| {
        let mut items = Vec::new();
        while !input.is_empty() {
            items.push(item(input));
            comma(input, errors);
        }
        Ok(items)
    };
    // Items take in every token, so that nothing is left over for the parser to refuse.
    parser.parse2(tokens).unwrap_or_default()
}

fn comma(input: ParseStream<'_>, errors: &mut Errors) {
    if input.is_empty() || input.parse::<Token![,]>().is_ok() {
        return;
    }
    errors.at(input.span(), "expected `,` before this");
    if !input.peek(Ident::peek_any) {
        skip(input);
        input.parse::<Token![,]>().ok();
    }
}

fn item(input: ParseStream<'_>) -> Item {
    if let Ok(lit) = input.parse::<Lit>() {
        return Item::Bare(lit);
    }
    if input.peek2(Token![::]) {
        return Item::Unreadable(skip(input));
    }
    match input.call(Ident::parse_any) {
        Ok(key) => {
            let value = value(&key, input);
            Item::Keyed { key, value }
        }
        Err(_) => Item::Unreadable(skip(input)),
    }
}

fn value(key: &Ident, input: ParseStream<'_>) -> Value {
    if input.peek(token::Paren) {
        return Value::Broken(skip(input));
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
        None => return Value::Broken(skip(input)),
    };
    match value {
        Ok(value) => {
            input.advance_to(&ahead);
            value
        }
        Err(_) => Value::Broken(skip(input)),
    }
}

/// Takes everything up to the next comma that is not between angle brackets, as in `reply = Map<A, B>`.
fn skip(input: ParseStream<'_>) -> TokenStream {
    let mut skipped = TokenStream::new();
    let mut depth = 0_usize;
    while depth > 0 || !input.peek(Token![,]) {
        let Ok(token) = input.parse::<TokenTree>() else {
            break;
        };
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct) if punct.as_char() == '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        skipped.extend([token]);
    }
    skipped
}

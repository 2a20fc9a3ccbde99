//! `#[event(...)]` on a type and on a field: which keys are there, and do their values have the right form?

use proc_macro2::{Span, TokenStream};
use syn::parse::Parser as _;
use syn::spanned::Spanned as _;
use syn::{Attribute, Expr, ExprLit, Ident, Lit, LitBool, LitInt, LitStr, Meta, Path, Type};

use crate::errors::Errors;
use crate::keys::{self, Key};
use crate::list::{self, Item, Value};

/// Everything that the `#[event(...)]` attributes of a type say; the texts are not checked yet.
#[derive(Default)]
pub(crate) struct ContainerAttrs {
    /// The first attribute: where something missing is reported.
    pub(crate) span: Option<Span>,
    pub(crate) name: Option<LitStr>,
    pub(crate) channel: Option<LitStr>,
    pub(crate) version: Option<LitInt>,
    pub(crate) direction: Option<LitStr>,
    pub(crate) reply: Option<Type>,
    pub(crate) read_only: Option<LitBool>,
    pub(crate) description: Option<LitStr>,
    pub(crate) krate: Option<Path>,
    given: Vec<Key>,
}

impl ContainerAttrs {
    pub(crate) fn read(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut container = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("event")) {
            container.span.get_or_insert(attr.path().span());
            match &attr.meta {
                Meta::Path(_) => {}
                Meta::List(list) => container.read_list(list.tokens.clone(), errors),
                Meta::NameValue(meta) => {
                    errors.at(
                        meta.eq_token.span(),
                        r#"write `#[event(name = "orders:created")]`"#,
                    );
                    container.given.push(Key::Name);
                }
            }
        }
        container
    }

    /// Adds what stands between the parentheses of one attribute.
    pub(crate) fn read_list(&mut self, tokens: TokenStream, errors: &mut Errors) {
        let items =
            (|input: syn::parse::ParseStream<'_>| Ok(list::parse(input, errors))).parse2(tokens);
        for (index, item) in items.unwrap_or_default().into_iter().enumerate() {
            match item {
                Item::Bare(Lit::Str(name)) if index == 0 => {
                    if self.first_time(Key::Name, name.span(), errors) {
                        self.name = Some(name);
                    }
                }
                Item::Bare(lit) if index == 0 => {
                    self.given.push(Key::Name);
                    errors.at(lit.span(), Key::Name.takes());
                }
                Item::Bare(lit) => errors.at(
                    lit.span(),
                    "this value has no key; only the event name may do without, as the first entry",
                ),
                Item::Keyed { key, value } => match Key::find(&key) {
                    Some(known) => self.read_key(known, &key, value, errors),
                    None if key == "key" => errors.at(
                        key.span(),
                        "`key` marks a field: write `#[event(key)]` above the field",
                    ),
                    None => errors.at(key.span(), keys::unknown(&key)),
                },
            }
        }
    }

    /// Whether the key was written at all, be it with a wrong value.
    pub(crate) fn gives(&self, key: Key) -> bool {
        self.given.contains(&key)
    }

    fn first_time(&mut self, key: Key, span: Span, errors: &mut Errors) -> bool {
        let first = !self.gives(key);
        if first {
            self.given.push(key);
        } else {
            errors.at(span, format_args!("`{}` is given twice", key.as_str()));
        }
        first
    }

    fn read_key(&mut self, key: Key, ident: &Ident, value: Value, errors: &mut Errors) {
        if !self.first_time(key, ident.span(), errors) {
            return;
        }
        let span = value.span_or(ident);
        let fits = match key {
            Key::Name => store(&mut self.name, string(value)),
            Key::Channel => store(&mut self.channel, string(value)),
            Key::Version => store(&mut self.version, integer(value)),
            Key::Direction => store(&mut self.direction, string(value)),
            Key::Reply => store(&mut self.reply, ty(value)),
            Key::ReadOnly => store(&mut self.read_only, flag(value, span)),
            Key::Description => store(&mut self.description, string(value)),
            Key::Crate => store(&mut self.krate, path(value)),
        };
        if !fits {
            errors.at(span, key.takes());
        }
    }
}

/// The `key` of `#[event(key)]`, if the field (or, wrongly, the variant) has it.
pub(crate) fn field_key(attrs: &[Attribute], errors: &mut Errors) -> Option<Ident> {
    let mut found: Option<Ident> = None;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("event")) {
        let Meta::List(meta) = &attr.meta else {
            errors.at(attr.path().span(), "on a field, write `#[event(key)]`");
            continue;
        };
        let parser = |input: syn::parse::ParseStream<'_>| Ok(list::parse(input, errors));
        let items = parser.parse2(meta.tokens.clone()).unwrap_or_default();
        if items.is_empty() {
            errors.at(attr.path().span(), "on a field, write `#[event(key)]`");
        }
        for item in items {
            match item {
                Item::Keyed {
                    key,
                    value: Value::Absent,
                } if key == "key" && found.is_none() => found = Some(key),
                Item::Keyed {
                    key,
                    value: Value::Absent,
                } if key == "key" => {
                    errors.at(key.span(), "`key` is given twice");
                }
                Item::Keyed { key, value } if key == "key" => {
                    errors.at(
                        value.span_or(&key),
                        "`key` takes no value: write `#[event(key)]`",
                    );
                }
                Item::Keyed { key, .. } if Key::find(&key).is_some() => {
                    errors.at(
                        key.span(),
                        format_args!("`{key}` belongs to the whole event: write it above the type"),
                    );
                }
                Item::Keyed { key, .. } => {
                    errors.at(
                        key.span(),
                        format_args!("unknown key `{key}`: a field knows only `#[event(key)]`"),
                    );
                }
                Item::Bare(lit) => errors.at(lit.span(), "on a field, write `#[event(key)]`"),
            }
        }
    }
    found
}

fn store<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    *slot = value;
    slot.is_some()
}

/// A literal, also one that came through a `macro_rules!` parameter.
fn literal(value: Value) -> Option<Lit> {
    let Value::Expr(mut expr) = value else {
        return None;
    };
    while let Expr::Group(group) = *expr {
        expr = group.expr;
    }
    match *expr {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        _ => None,
    }
}

fn string(value: Value) -> Option<LitStr> {
    match literal(value)? {
        Lit::Str(text) => Some(text),
        _ => None,
    }
}

fn integer(value: Value) -> Option<LitInt> {
    match literal(value)? {
        Lit::Int(int) if matches!(int.suffix(), "" | "u32") => Some(int),
        _ => None,
    }
}

fn flag(value: Value, span: Span) -> Option<LitBool> {
    if matches!(value, Value::Absent) {
        return Some(LitBool::new(true, span));
    }
    match literal(value)? {
        Lit::Bool(flag) => Some(flag),
        _ => None,
    }
}

fn ty(value: Value) -> Option<Type> {
    match value {
        Value::Type(ty) => Some(*ty),
        _ => None,
    }
}

fn path(value: Value) -> Option<Path> {
    let Value::Expr(expr) = value else {
        return None;
    };
    match *expr {
        Expr::Path(path) => {
            let plain = path.qself.is_none()
                && path
                    .path
                    .segments
                    .iter()
                    .all(|segment| segment.arguments.is_none());
            plain.then_some(path.path)
        }
        other => string(Value::Expr(Box::new(other)))?
            .parse_with(Path::parse_mod_style)
            .ok(),
    }
}

//! `#[event(...)]` on a type and on a field: which keys are there, and do their values have the right form?

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{Attribute, Expr, ExprLit, ExprPath, Ident, Lit, LitBool, LitInt, LitStr, Meta, Path, Type};

use crate::errors::Errors;
use crate::keys::{self, Key};
use crate::list::{self, Item, Value};

/// Everything that the `#[event(...)]` attributes of a type say; the texts are not checked yet.
#[derive(Default)]
pub(crate) struct ContainerAttrs {
    /// The first attribute: where something missing is reported.
    pub(crate) place: Option<Path>,
    pub(crate) name: Option<LitStr>,
    pub(crate) channel: Option<LitStr>,
    pub(crate) version: Option<LitInt>,
    pub(crate) direction: Option<LitStr>,
    pub(crate) reply: Option<Type>,
    pub(crate) read_only: Option<LitBool>,
    pub(crate) description: Option<LitStr>,
    pub(crate) krate: Option<Path>,
    given: Vec<Key>,
    /// Something unreadable may have been meant as the name.
    name_unclear: bool,
}

impl ContainerAttrs {
    pub(crate) fn read(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut container = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("event")) {
            container.place.get_or_insert(attr.path().clone());
            match &attr.meta {
                Meta::Path(_) => {}
                Meta::List(list) => container.read_list(list.tokens.clone(), errors),
                Meta::NameValue(meta) => {
                    errors.on(meta.eq_token, r#"write `#[event(name = "orders:created")]`"#);
                    container.name_unclear = true;
                }
            }
        }
        container
    }

    /// Adds what stands between the parentheses of one attribute.
    pub(crate) fn read_list(&mut self, tokens: TokenStream, errors: &mut Errors) {
        for (index, item) in list::parse(tokens, errors).into_iter().enumerate() {
            match item {
                Item::Bare(Lit::Str(name)) if index == 0 => {
                    if self.first_time(Key::Name, &name, errors) {
                        self.name = Some(name);
                    }
                }
                Item::Bare(lit) => {
                    self.name_unclear = true;
                    errors.on(lit, "only the event name may stand without a key, as the first entry and as a string");
                }
                Item::Keyed { key, value } => match Key::find(&key) {
                    Some(known) => self.read_key(known, &key, value, errors),
                    None => self.unknown(&key, errors),
                },
                Item::Unreadable(tokens) => {
                    self.name_unclear = true;
                    errors.on(tokens, r#"expected a key, for example `name = "orders:created"`"#);
                }
            }
        }
    }

    fn unknown(&mut self, key: &Ident, errors: &mut Errors) {
        if key == "key" {
            errors.on(key, "`key` marks a field: write `#[event(key)]` above the field");
            return;
        }
        let nearest = keys::nearest(key);
        if nearest == Some(Key::Name) {
            self.name_unclear = true;
        }
        errors.on(key, keys::unknown(key, nearest));
    }

    /// Whether the key was written at all, be it with a wrong value.
    pub(crate) fn gives(&self, key: Key) -> bool {
        self.given.contains(&key)
    }

    /// Whether a missing name is the user's mistake, and not the consequence of one that is reported already.
    pub(crate) fn lacks_name(&self) -> bool {
        !self.gives(Key::Name) && !self.name_unclear
    }

    fn first_time(&mut self, key: Key, tokens: impl ToTokens, errors: &mut Errors) -> bool {
        let first = !self.gives(key);
        if first {
            self.given.push(key);
        } else {
            errors.on(tokens, format_args!("`{}` is given twice", key.as_str()));
        }
        first
    }

    fn read_key(&mut self, key: Key, ident: &Ident, value: Value, errors: &mut Errors) {
        if !self.first_time(key, ident, errors) {
            return;
        }
        let place = value.place(ident);
        let fits = match key {
            Key::Name => store(&mut self.name, string(value)),
            Key::Channel => store(&mut self.channel, string(value)),
            Key::Version => store(&mut self.version, integer(value)),
            Key::Direction => store(&mut self.direction, string(value)),
            Key::Reply => store(&mut self.reply, ty(value)),
            Key::ReadOnly => store(&mut self.read_only, flag(value)),
            Key::Description => store(&mut self.description, string(value)),
            Key::Crate => store(&mut self.krate, path(value)),
        };
        if !fits {
            errors.on(place, key.takes());
        }
    }
}

const ON_A_FIELD: &str = "on a field, write `#[event(key)]`";

/// The `key` of `#[event(key)]`, if the field (or, wrongly, the variant) has it.
pub(crate) fn field_key(attrs: &[Attribute], errors: &mut Errors) -> Option<Ident> {
    let mut found: Option<Ident> = None;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("event")) {
        let Meta::List(meta) = &attr.meta else {
            errors.on(attr.path(), ON_A_FIELD);
            continue;
        };
        let items = list::parse(meta.tokens.clone(), errors);
        if items.is_empty() {
            errors.on(attr.path(), ON_A_FIELD);
        }
        for item in items {
            match item {
                Item::Keyed { key, value: Value::Absent } if key == "key" && found.is_none() => found = Some(key),
                Item::Keyed { key, value: Value::Absent } if key == "key" => {
                    errors.on(&key, "`key` is given twice");
                }
                Item::Keyed { key, value } if key == "key" => {
                    errors.on(value.place(&key), "`key` takes no value: write `#[event(key)]`");
                }
                Item::Keyed { key, .. } if Key::find(&key).is_some() => {
                    errors.on(&key, format_args!("`{key}` belongs to the whole event: write it above the type"));
                }
                Item::Keyed { key, .. } => {
                    errors.on(&key, format_args!("unknown key `{key}`: a field knows only `#[event(key)]`"));
                }
                Item::Bare(lit) => errors.on(lit, ON_A_FIELD),
                Item::Unreadable(tokens) => errors.on(tokens, ON_A_FIELD),
            }
        }
    }
    found
}

fn store<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    *slot = value;
    slot.is_some()
}

/// The expression, out of the invisible brackets that a `macro_rules!` parameter brings along.
fn expr(value: Value) -> Option<Expr> {
    let Value::Expr(mut expr) = value else {
        return None;
    };
    while let Expr::Group(group) = *expr {
        expr = group.expr;
    }
    Some(*expr)
}

fn literal(value: Value) -> Option<Lit> {
    match expr(value)? {
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

fn flag(value: Value) -> Option<LitBool> {
    if matches!(value, Value::Absent) {
        return Some(LitBool::new(true, Span::call_site()));
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
    match expr(value)? {
        Expr::Path(ExprPath { qself: None, path, .. }) => {
            let plain = path.segments.iter().all(|segment| segment.arguments.is_none());
            plain.then_some(path)
        }
        Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => path.parse_with(Path::parse_mod_style).ok(),
        _ => None,
    }
}

//! From what was written to an event that may be expanded: every rule that a single value or the type must keep.

use quote::format_ident;
use syn::{Data, DeriveInput, Fields, GenericParam, Ident, LitInt, LitStr, Member, Path, Type, parse_quote};

use crate::attr::{self, ContainerAttrs};
use crate::describe::doc_paragraph;
use crate::errors::Errors;
use crate::keys::{Key, nearest_word};
use crate::names;

#[cfg(test)]
mod tests;

/// The directions as they are written, with their variants of `Direction`.
const DIRECTIONS: [(&str, &str); 4] = [("sse", "Sse"), ("cse", "Cse"), ("both", "Both"), ("internal", "Internal")];

/// A checked event.
pub(crate) struct Event<'a> {
    pub(crate) input: &'a DeriveInput,
    pub(crate) krate: Path,
    pub(crate) name: LitStr,
    pub(crate) channel: LitStr,
    pub(crate) version: Option<LitInt>,
    pub(crate) direction: Option<Ident>,
    pub(crate) reply: Option<Type>,
    pub(crate) read_only: bool,
    pub(crate) description: Option<String>,
    pub(crate) key: Option<KeyField<'a>>,
}

/// The field marked with `#[event(key)]`.
pub(crate) struct KeyField<'a> {
    pub(crate) member: Member,
    pub(crate) ty: &'a Type,
}

/// The path of the library: as given, else `::pubsub`.
pub(crate) fn crate_path(attrs: &ContainerAttrs) -> Path {
    attrs.krate.clone().unwrap_or_else(|| parse_quote!(::pubsub))
}

/// Checks everything and records all faults; `None` if the event has no usable name or channel.
pub(crate) fn event<'a>(input: &'a DeriveInput, attrs: ContainerAttrs, errors: &mut Errors) -> Option<Event<'a>> {
    generics(input, errors);
    let key = key_field(input, errors);
    let krate = crate_path(&attrs);
    if attrs.lacks_name() {
        let missing = "the event has no name: write `#[event(name = \"orders:created\")]`, with category and event around a colon";
        match &attrs.place {
            Some(place) => errors.on(place, missing),
            None => errors.on(&input.ident, missing),
        }
    }
    let Texts { name, channel, direction } = texts(&attrs, errors);
    let description = match &attrs.description {
        Some(text) => Some(text.value()).filter(|text| !text.is_empty()),
        None => doc_paragraph(&input.attrs),
    };
    Some(Event {
        input,
        krate,
        name: name?,
        channel: channel?,
        version: attrs.version,
        direction,
        reply: attrs.reply,
        read_only: attrs.read_only.is_some_and(|flag| flag.value),
        description,
        key,
    })
}

/// What the keys say, as far as it may be said.
pub(crate) struct Texts {
    name: Option<LitStr>,
    channel: Option<LitStr>,
    direction: Option<Ident>,
}

/// Checks what the keys say, whatever they stand on.
pub(crate) fn texts(attrs: &ContainerAttrs, errors: &mut Errors) -> Texts {
    let name = attrs.name.as_ref().filter(|name| no_fault(name, names::event_fault(&name.value()), errors));
    let channel = match &attrs.channel {
        Some(channel) => no_fault(channel, names::channel_fault(&channel.value()), errors).then(|| channel.clone()),
        None if attrs.gives(Key::Channel) => None,
        None => name.and_then(|name| category_channel(name, errors)),
    };
    version(attrs.version.as_ref(), errors);
    let direction = attrs.direction.as_ref().and_then(|text| direction(text, errors));
    Texts { name: name.cloned(), channel, direction }
}

/// An event has one name, one schema and owns its data, so its type takes no parameters.
fn generics(input: &DeriveInput, errors: &mut Errors) {
    for param in &input.generics.params {
        match param {
            GenericParam::Lifetime(lifetime) => errors.on(
                &lifetime.lifetime,
                "an event owns its data and cannot borrow: use `String` for `&str`, `Vec<T>` for `&[T]`",
            ),
            GenericParam::Type(ty) => errors.on(&ty.ident, parameter("type")),
            GenericParam::Const(value) => errors.on(&value.ident, parameter("const")),
        }
    }
}

fn parameter(kind: &str) -> String {
    format!("an event cannot have {kind} parameters: its one name stands for one payload; define a type without them")
}

fn key_field<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Option<KeyField<'a>> {
    let fields = match &input.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(data) => {
            for variant in &data.variants {
                let attrs = std::iter::once(&variant.attrs).chain(variant.fields.iter().map(|field| &field.attrs));
                for attrs in attrs {
                    if let Some(key) = attr::field_key(attrs, errors) {
                        errors
                            .on(&key, "an enum has no key field: use a struct with the key and the enum side by side");
                    }
                }
            }
            return None;
        }
        Data::Union(data) => {
            errors.on(data.union_token, "an event is a struct or an enum, a union has no schema");
            for field in &data.fields.named {
                attr::field_key(&field.attrs, errors);
            }
            return None;
        }
    };
    only_key(fields, errors)
}

fn only_key<'a>(fields: &'a Fields, errors: &mut Errors) -> Option<KeyField<'a>> {
    let mut found: Option<KeyField<'a>> = None;
    for (index, field) in fields.iter().enumerate() {
        let Some(key) = attr::field_key(&field.attrs, errors) else {
            continue;
        };
        let member = field.ident.clone().map_or_else(|| Member::from(index), Member::from);
        match &found {
            Some(first) => {
                let first = member_name(&first.member);
                errors.on(&key, format_args!("an event has one key, and {first} is marked already"));
            }
            None => {
                found = Some(KeyField { member, ty: &field.ty });
            }
        }
    }
    found
}

fn member_name(member: &Member) -> String {
    match member {
        Member::Named(ident) => format!("`{ident}`"),
        Member::Unnamed(index) => format!("field {}", index.index),
    }
}

fn no_fault(text: &LitStr, fault: Option<String>, errors: &mut Errors) -> bool {
    match fault {
        Some(fault) => {
            errors.on(text, fault);
            false
        }
        None => true,
    }
}

/// The channel of an event that names none.
fn category_channel(name: &LitStr, errors: &mut Errors) -> Option<LitStr> {
    let text = name.value();
    let category = names::category(&text);
    if let Some(fault) = names::channel_fault(category) {
        errors.on(name, format_args!("the category cannot be the channel, give `channel = \"…\"`: {fault}"));
        return None;
    }
    Some(LitStr::new(category, name.span()))
}

fn version(version: Option<&LitInt>, errors: &mut Errors) {
    let Some(version) = version else { return };
    match version.base10_parse::<u32>() {
        Ok(0) => errors.on(version, "versions begin at 1"),
        Ok(_) => {}
        Err(_) => errors.on(version, Key::Version.takes()),
    }
}

fn direction(text: &LitStr, errors: &mut Errors) -> Option<Ident> {
    let written = text.value();
    let found = DIRECTIONS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(&written));
    if found.is_none() {
        let hint = nearest_word(&written, &DIRECTIONS.map(|(name, _)| name));
        let hint = hint.map(|name| format!("did you mean {name:?}? ")).unwrap_or_default();
        errors.on(text, format_args!("unknown direction: {hint}{}", Key::Direction.takes()));
    }
    found.map(|(_, variant)| format_ident!("{variant}", span = text.span()))
}

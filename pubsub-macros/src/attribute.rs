//! `#[pubsub::event(...)]` and `#[pubsub::payload]`: turn into derives that go through the library's re-exports.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::{Attribute, Data, DeriveInput, Meta, Path, Token};

use crate::attr::ContainerAttrs;
use crate::errors::Errors;
use crate::expand::is_attribute_form;
use crate::validate::{crate_path, texts};

#[cfg(test)]
mod tests;

pub(crate) fn expand(args: &TokenStream, item: &TokenStream) -> TokenStream {
    let mut input = match syn::parse2::<DeriveInput>(item.clone()) {
        Ok(input) if !matches!(input.data, Data::Union(_)) => input,
        _ => {
            let mut errors = misplaced();
            let mut keys = ContainerAttrs::default();
            keys.read_list(args.clone(), &mut errors);
            texts(&keys, &mut errors);
            let errors = errors.into_tokens();
            return quote!(#item #errors);
        }
    };
    let krate = library(args, &input.attrs);
    let mut errors = Errors::default();
    input.attrs.retain(|attr| {
        let again = is_attribute_form(attr, &krate);
        if again {
            errors.on(attr.path(), "an event has one `#[event(…)]` of this kind: put all keys into one");
        }
        !again
    });
    let derives = derives(&input.attrs, &krate, true);
    // A helper attribute is only known below the derive that it helps, which may be one of the user's own.
    match Attribute::parse_outer.parse2(quote!(#[event(#args)])) {
        Ok(helper) => input.attrs.extend(helper),
        Err(error) => errors.push(error),
    }
    let errors = errors.into_tokens();
    quote!(#derives #input #errors)
}

/// `#[pubsub::payload]`: the derives that a part of an event needs, and nothing of an event.
pub(crate) fn expand_payload(args: &TokenStream, item: &TokenStream) -> TokenStream {
    let input = match syn::parse2::<DeriveInput>(item.clone()) {
        Ok(input) if !matches!(input.data, Data::Union(_)) => Some(input),
        _ => None,
    };
    let mut errors = if input.is_some() { Errors::default() } else { misplaced() };
    let keys = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(args.clone());
    match keys {
        Ok(keys) => {
            for key in keys.iter().filter(|key| !key.path().is_ident("crate")) {
                errors.on(key, "a part of an event has no keys but `crate`: the event itself has the others");
            }
        }
        Err(_) if args.is_empty() => {}
        Err(error) => errors.push(error),
    }
    let derives = input.and_then(|input| derives(&input.attrs, &library(args, &[]), false));
    let errors = errors.into_tokens();
    quote!(#derives #item #errors)
}

/// The mistake of an attribute above something else than a type; what it says may be wrong beside that.
fn misplaced() -> Errors {
    let mut errors = Errors::default();
    errors.at(Span::call_site(), "an event or a part of one is a struct or an enum: write this attribute above one");
    errors
}

/// The path of the library; mistakes are left to the derive, which reads the same keys.
fn library(args: &TokenStream, attrs: &[Attribute]) -> Path {
    let mut ignored = Errors::default();
    let mut container = ContainerAttrs::read(attrs, &mut ignored);
    container.read_list(args.clone(), &mut ignored);
    crate_path(&container)
}

/// The derives that the user did not write, and where they find their crates.
fn derives(attrs: &[Attribute], krate: &Path, event: bool) -> Option<TokenStream> {
    let own = crate_name(krate);
    let written = written_derives(attrs);
    let has = |name: &str, homes: &[&str]| written.iter().any(|path| names(path, name, homes));
    let private = quote!(#krate::__private);
    let mut missing = Vec::new();
    let mut redirects = TokenStream::new();

    let serde = ["Serialize", "Deserialize"].map(|name| (name, has(name, &["serde", "serde_derive"])));
    for name in serde.into_iter().filter(|(_, written)| !written).map(|(name, _)| name) {
        let name = format_ident!("{name}");
        missing.push(quote!(#private::serde::#name));
    }
    if !missing.is_empty() && !redirected(attrs, "serde") {
        redirects.extend(redirect(&private, "serde"));
    }
    if !has("JsonSchema", &["schemars", "schemars_derive"]) {
        missing.push(quote!(#private::schemars::JsonSchema));
        if !redirected(attrs, "schemars") {
            redirects.extend(redirect(&private, "schemars"));
        }
    }
    if event && !has("Event", &["pubsub", "pubsub_macros", &own]) {
        missing.push(quote!(#krate::Event));
    }
    (!missing.is_empty()).then(|| quote!(#[derive(#(#missing),*)] #redirects))
}

/// Whether `path` is the derive `name`, alone or below one of `homes`: `rkyv::Serialize` is not serde's.
fn names(path: &Path, name: &str, homes: &[&str]) -> bool {
    let mut segments = path.segments.iter().rev();
    segments.next().is_some_and(|last| last.ident == name)
        && segments.next().is_none_or(|home| homes.iter().any(|known| home.ident == known))
}

fn crate_name(krate: &Path) -> String {
    krate.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default()
}

fn written_derives(attrs: &[Attribute]) -> Vec<Path> {
    let derives = attrs.iter().filter(|attr| attr.path().is_ident("derive"));
    derives
        .filter_map(|attr| attr.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated).ok())
        .flatten()
        .collect()
}

/// Whether the user's own `#[serde(crate = "…")]` (or schemars') already says where the crate is.
fn redirected(attrs: &[Attribute], helper: &str) -> bool {
    attrs.iter().filter(|attr| attr.path().is_ident(helper)).any(|attr| {
        let entries = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        entries.is_ok_and(|entries| entries.iter().any(|entry| entry.path().is_ident("crate")))
    })
}

/// `#[serde(crate = "…")]`: both serde and schemars want the path as a string.
fn redirect(private: &TokenStream, helper: &str) -> TokenStream {
    let helper = format_ident!("{helper}");
    let path = quote!(#private::#helper).to_string().replace(' ', "");
    quote!(#[#helper(crate = #path)])
}

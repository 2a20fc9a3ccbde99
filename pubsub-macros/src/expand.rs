//! `#[derive(Event)]`: read, check, and only then write the implementation.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, DeriveInput, Path};

use crate::attr::ContainerAttrs;
use crate::errors::Errors;
use crate::validate::{self, Event};

#[cfg(test)]
mod tests;

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input = match syn::parse2::<DeriveInput>(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let attrs = ContainerAttrs::read(&input.attrs, &mut errors);
    let krate = validate::crate_path(&attrs);
    if let Some(attr) = input.attrs.iter().find(|attr| is_attribute_form(attr, &krate)) {
        errors.on(attr.path(), "this attribute derives `Event` itself: write it above `#[derive(…)]`");
        return errors.into_tokens().unwrap_or_default();
    }
    let event = validate::event(&input, attrs, &mut errors);
    match (errors.into_tokens(), event) {
        (None, Some(event)) => implementation(&event),
        (errors, _) => {
            let fallback = fallback(&input, &krate);
            quote!(#errors #fallback)
        }
    }
}

/// Whether `attr` is `#[pubsub::event(...)]` and not the helper `#[event(...)]`.
pub(crate) fn is_attribute_form(attr: &Attribute, krate: &Path) -> bool {
    let library = krate.segments.last();
    let mut segments = attr.path().segments.iter().rev();
    segments.next().is_some_and(|last| last.ident == "event")
        && segments.next().is_some_and(|before| {
            before.ident == "pubsub" || library.is_some_and(|library| before.ident == library.ident)
        })
}

fn implementation(event: &Event<'_>) -> TokenStream {
    let Event { krate, name, channel, .. } = event;
    let ident = &event.input.ident;
    let (impl_generics, ty_generics, where_clause) = event.input.generics.split_for_impl();
    let version = event.version.as_ref().map(|version| quote!(const VERSION: u32 = #version;));
    let direction = event
        .direction
        .as_ref()
        .map(|direction| quote!(const DIRECTION: #krate::Direction = #krate::Direction::#direction;));
    let read_only = event.read_only.then(|| {
        quote!(
            const READ_ONLY: bool = true;
        )
    });
    let description = event.description.as_ref().map(
        |text| quote!(const DESCRIPTION: ::core::option::Option<&'static str> = ::core::option::Option::Some(#text);),
    );
    let key = event.key.as_ref().map(|field| {
        // The type is named by the user's own tokens, so that a type that cannot be a key is reported there.
        let (member, ty) = (&field.member, field.ty);
        quote! {
            fn key(&self) -> ::core::option::Option<::std::borrow::Cow<'_, str>> {
                <#ty as #krate::EventKey>::event_key(&self.#member)
            }
        }
    });
    let reply_schema = event.reply.as_ref().map(|_| {
        // Generic over the request: a type that cannot be a reply is reported once, at `type Reply`.
        let schemars = quote!(#krate::__private::schemars);
        quote! {
            const REPLY_SCHEMA: ::core::option::Option<fn() -> #schemars::Schema> = ::core::option::Option::Some({
                fn schema<R: #krate::Request>() -> #schemars::Schema {
                    <#schemars::SchemaGenerator as ::core::default::Default>::default()
                        .into_root_schema_for::<R::Reply>()
                }
                schema::<Self>
            });
        }
    });
    let request = event.reply.as_ref().map(|reply| {
        quote! {
            #[automatically_derived]
            impl #impl_generics #krate::Request for #ident #ty_generics #where_clause {
                type Reply = #reply;
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics #krate::Event for #ident #ty_generics #where_clause {
            const NAME: &'static str = #name;
            const CHANNEL: &'static str = #channel;
            #version
            #direction
            #read_only
            #description
            #reply_schema
            #key
        }
        #request
    }
}

/// Stands in for the implementation after a mistake, so that uses of the type raise no further errors.
fn fallback(input: &DeriveInput, krate: &Path) -> Option<TokenStream> {
    if !input.generics.params.is_empty() || matches!(input.data, syn::Data::Union(_)) {
        return None;
    }
    let (ident, where_clause) = (&input.ident, &input.generics.where_clause);
    Some(quote! {
        #[automatically_derived]
        impl #krate::Event for #ident #where_clause {
            const NAME: &'static str = "invalid:event";
            const CHANNEL: &'static str = "invalid";
        }
    })
}

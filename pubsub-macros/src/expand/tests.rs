use proc_macro2::TokenStream;
use quote::quote;

use super::derive;

/// Compares as text, which is what a reader sees; spans are the business of the cases in `tests/ui`.
#[track_caller]
fn expands(input: TokenStream, expected: &TokenStream) {
    assert_eq!(derive(input).to_string(), expected.to_string());
}

#[test]
fn only_a_name() {
    expands(
        quote! {
            #[event(name = "orders:created")]
            struct OrderCreated;
        },
        &quote! {
            #[automatically_derived]
            impl ::pubsub::Event for OrderCreated {
                const NAME: &'static str = "orders:created";
                const CHANNEL: &'static str = "orders";
            }
        },
    );
}

#[test]
fn every_key() {
    expands(
        quote! {
            /// Not this text.
            #[event("quotes:get", channel = "pricing", version = 3, direction = "CSE", reply = Map<u8, Quote>, read_only)]
            #[event(description = "The price of a product", crate = my::events)]
            pub struct GetQuote {
                currency: String,
                #[event(key)]
                product: Option<u64>,
            }
        },
        &quote! {
            #[automatically_derived]
            impl my::events::Event for GetQuote {
                const NAME: &'static str = "quotes:get";
                const CHANNEL: &'static str = "pricing";
                const VERSION: u32 = 3;
                const DIRECTION: my::events::Direction = my::events::Direction::Cse;
                const READ_ONLY: bool = true;
                const DESCRIPTION: ::core::option::Option<&'static str> =
                    ::core::option::Option::Some("The price of a product");
                const REPLY_SCHEMA: ::core::option::Option<fn() -> my::events::__private::schemars::Schema> =
                    ::core::option::Option::Some({
                        fn schema<R: my::events::Request>() -> my::events::__private::schemars::Schema {
                            <my::events::__private::schemars::SchemaGenerator as ::core::default::Default>::default()
                                .into_root_schema_for::<R::Reply>()
                        }
                        schema::<Self>
                    });
                fn key(&self) -> ::core::option::Option<::std::borrow::Cow<'_, str>> {
                    <Option<u64> as my::events::EventKey>::event_key(&self.product)
                }
            }
            #[automatically_derived]
            impl my::events::Request for GetQuote {
                type Reply = Map<u8, Quote>;
            }
        },
    );
}

#[test]
fn tuple_struct_with_key_doc_comment_and_where_clause() {
    expands(
        quote! {
            /// A user left.
            ///
            /// Sent once.
            #[event(name = "users:left", read_only = false, crate = "crate")]
            struct UserLeft(String, #[event(key)] u64) where String: Clone;
        },
        &quote! {
            #[automatically_derived]
            impl crate::Event for UserLeft where String: Clone {
                const NAME: &'static str = "users:left";
                const CHANNEL: &'static str = "users";
                const DESCRIPTION: ::core::option::Option<&'static str> =
                    ::core::option::Option::Some("A user left.");
                fn key(&self) -> ::core::option::Option<::std::borrow::Cow<'_, str>> {
                    <u64 as crate::EventKey>::event_key(&self.1)
                }
            }
        },
    );
}

#[test]
fn enum_without_a_description() {
    expands(
        quote! {
            /// Not described.
            #[event(name = "lamp:switched", description = "")]
            enum Lamp { On, Off { by: String } }
        },
        &quote! {
            #[automatically_derived]
            impl ::pubsub::Event for Lamp {
                const NAME: &'static str = "lamp:switched";
                const CHANNEL: &'static str = "lamp";
            }
        },
    );
}

#[test]
fn a_mistake_leaves_a_stand_in() {
    let expanded = derive(quote! {
        #[event(name = "orders")]
        struct OrderCreated { #[event(key)] id: String }
    });
    let stand_in = quote! {
        #[automatically_derived]
        impl ::pubsub::Event for OrderCreated {
            const NAME: &'static str = "invalid:event";
            const CHANNEL: &'static str = "invalid";
        }
    };
    assert!(expanded.to_string().contains("compile_error"));
    assert!(expanded.to_string().ends_with(&stand_in.to_string()), "{expanded}");
}

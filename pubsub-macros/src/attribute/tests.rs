use proc_macro2::TokenStream;
use quote::quote;

use super::{expand, expand_payload};

#[track_caller]
fn expands(args: &TokenStream, item: &TokenStream, expected: &TokenStream) {
    assert_eq!(expand(args, item).to_string(), expected.to_string());
}

#[test]
fn all_derives_and_redirects() {
    expands(
        &quote!("orders:created", version = 2),
        &quote! {
            /// An order was placed.
            #[derive(Debug)]
            struct OrderCreated { #[event(key)] #[serde(default)] id: String }
        },
        &quote! {
            #[derive(
                ::pubsub::__private::serde::Serialize,
                ::pubsub::__private::serde::Deserialize,
                ::pubsub::__private::schemars::JsonSchema,
                ::pubsub::Event
            )]
            #[serde(crate = "::pubsub::__private::serde")]
            #[schemars(crate = "::pubsub::__private::schemars")]
            /// An order was placed.
            #[derive(Debug)]
            #[event("orders:created", version = 2)]
            struct OrderCreated { #[event(key)] #[serde(default)] id: String }
        },
    );
}

#[test]
fn written_derives_are_not_repeated() {
    expands(
        &quote!(name = "orders:created"),
        &quote! {
            #[derive(Clone, serde::Serialize, Deserialize)]
            #[derive(rkyv::Serialize, bevy::Event)]
            enum OrderEvent { Created }
        },
        &quote! {
            #[derive(::pubsub::__private::schemars::JsonSchema, ::pubsub::Event)]
            #[schemars(crate = "::pubsub::__private::schemars")]
            #[derive(Clone, serde::Serialize, Deserialize)]
            #[derive(rkyv::Serialize, bevy::Event)]
            #[event(name = "orders:created")]
            enum OrderEvent { Created }
        },
    );
}

#[test]
fn nothing_to_add_but_the_keys() {
    expands(
        &quote!("orders:created"),
        &quote!(
            #[derive(Serialize, Deserialize, schemars::JsonSchema, pubsub::Event)]
            struct OrderCreated;
        ),
        &quote! {
            #[derive(Serialize, Deserialize, schemars::JsonSchema, pubsub::Event)]
            #[event("orders:created")]
            struct OrderCreated;
        },
    );
}

#[test]
fn own_redirects_and_another_path_of_the_library() {
    expands(
        &quote!("orders:created", crate = "facade::events"),
        &quote! {
            #[serde(rename_all = "camelCase", crate = "own_serde")]
            struct OrderCreated;
        },
        &quote! {
            #[derive(
                facade::events::__private::serde::Serialize,
                facade::events::__private::serde::Deserialize,
                facade::events::__private::schemars::JsonSchema,
                facade::events::Event
            )]
            #[schemars(crate = "facade::events::__private::schemars")]
            #[serde(rename_all = "camelCase", crate = "own_serde")]
            #[event("orders:created", crate = "facade::events")]
            struct OrderCreated;
        },
    );
}

#[test]
fn other_items_stay_as_they_are() {
    for item in [
        quote!(
            fn orders() {}
        ),
        quote!(union Orders { a: u8 }),
    ] {
        let expanded = expand(&quote!("orders:created"), &item).to_string();
        assert!(expanded.starts_with(&item.to_string()), "{expanded}");
        assert!(expanded.contains("is a struct or an enum"), "{expanded}");
    }
}

#[test]
fn a_second_attribute_is_taken_out_and_refused() {
    let expanded = expand(
        &quote!("a:b"),
        &quote!(
            #[pubsub::event("c:d")]
            struct A;
        ),
    )
    .to_string();
    assert!(!expanded.contains("c:d"), "{expanded}");
    assert!(expanded.contains("put all keys into one"), "{expanded}");
}

#[test]
fn an_attribute_in_the_wrong_place_is_read_all_the_same() {
    for item in [
        quote!(
            fn orders() {}
        ),
        quote!(union Orders { id: u64 }),
        quote!(
            type Shipped = u64;
        ),
    ] {
        let text = expand(&quote!("orders", nmae = "a:b", version = 0), &item).to_string();
        for mistake in ["is a struct or an enum", "unknown key `nmae`", "no colon", "versions begin at 1"] {
            assert!(text.contains(mistake), "{mistake}: {text}");
        }
        let text = expand_payload(&quote!(name = "a:b"), &item).to_string();
        assert!(text.contains("is a struct or an enum") && text.contains("has no keys but `crate`"), "{text}");
    }
}

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;

use crate::expand::derive;

/// The messages of all `compile_error!` calls, in order.
fn mistakes(input: TokenStream) -> Vec<String> {
    fn literals(tokens: TokenStream, found: &mut Vec<String>) {
        let mut after_macro = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => after_macro |= ident == "compile_error",
                TokenTree::Group(group) if after_macro => {
                    let message = syn::parse2::<syn::LitStr>(group.stream()).map(|text| text.value());
                    found.extend(message);
                    after_macro = false;
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    literals(derive(input), &mut found);
    found
}

#[test]
fn all_mistakes_together() {
    let found = mistakes(quote! {
        #[event(name = "orders", channel = "_o", version = 0, direction = "up", nmae = "a:b", reply = 5, reply = Created)]
        struct OrderCreated<'a, T> {
            #[event(key)] a: &'a str,
            #[event(key)] b: T,
            #[event(name = "x:y")] c: u8,
        }
    });
    let expected = [
        "unknown key `nmae`",
        "`reply` takes a type",
        "`reply` is given twice",
        "an event owns its data",
        "type parameters",
        "one key, and `a` is marked already",
        "`name` belongs to the whole event",
        "no colon",
        "starts with an ASCII letter",
        "begin at 1",
        "unknown direction",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (message, part) in found.iter().zip(expected) {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn a_wrong_name_is_not_also_a_missing_one() {
    for (input, message) in [
        (
            quote!(
                #[event(name = 5)]
                struct A;
            ),
            "`name` takes a string literal",
        ),
        (
            quote!(
                #[event(name)]
                struct A;
            ),
            "`name` takes a string literal",
        ),
        (
            quote!(
                #[event(name("a:b"))]
                struct A;
            ),
            "`name` takes a string literal",
        ),
        (
            quote!(
                #[event(5)]
                struct A;
            ),
            "only the event name may stand",
        ),
        (
            quote!(
                #[event = "a:b"]
                struct A;
            ),
            "write `#[event(name",
        ),
        (
            quote!(
                #[event]
                struct A;
            ),
            "the event has no name",
        ),
        (
            quote!(
                struct A;
            ),
            "the event has no name",
        ),
    ] {
        let found = mistakes(input);
        assert!(matches!(&found[..], [only] if only.contains(message)), "{message}: {found:?}");
    }
}

#[test]
fn broken_lists_do_not_hide_later_mistakes() {
    for (input, messages) in [
        (
            quote!(
                #[event(name = "a:b" version = 0)]
                struct A;
            ),
            &["expected `,`", "begin at 1"][..],
        ),
        (
            quote!(
                #[event(name = "a:b"; version = 2, version = 3)]
                struct A;
            ),
            &["expected `,`"][..],
        ),
        (
            quote!(
                #[event(name = , version = 0)]
                struct A;
            ),
            &["`name` takes", "begin at 1"][..],
        ),
        (
            quote!(
                #[event(= 1, name = "a:b", version = -1)]
                struct A;
            ),
            &["expected a key", "`version` takes"][..],
        ),
        (
            quote!(
                #[event(a::b = 1, name = "a:b", "c:d")]
                struct A;
            ),
            &["expected a key", "only the event name"][..],
        ),
        (
            quote!(
                #[event("a:b", topic = M<A, B>, key)]
                struct A;
            ),
            &["unknown key `topic`", "`key` marks a field"][..],
        ),
    ] {
        let found = mistakes(input);
        assert_eq!(found.len(), messages.len(), "{messages:?}: {found:#?}");
        for (found, message) in found.iter().zip(messages) {
            assert!(found.contains(message), "{message}: {found}");
        }
    }
}

#[test]
fn values_of_the_wrong_form() {
    for (keys, message) in [
        (quote!(channel = orders), "`channel` takes"),
        (quote!(version = "2"), "`version` takes"),
        (quote!(version = 2u64), "`version` takes"),
        (quote!(version = 4294967296), "`version` takes"),
        (quote!(direction = Both), "`direction` takes"),
        (quote!(direction = "bth"), "did you mean \"both\"?"),
        (quote!(reply = "Created"), "`reply` takes"),
        (quote!(reply), "`reply` takes"),
        (quote!(read_only = "yes"), "`read_only` stands alone"),
        (quote!(description = concat!("a", "b")), "`description` takes"),
        (quote!(crate = "not a path"), "`crate` takes"),
        (quote!(crate = <A as B>::c), "`crate` takes"),
    ] {
        let found = mistakes(quote!(
            #[event("a:b", #keys)]
            struct A;
        ));
        assert!(matches!(&found[..], [only] if only.contains(message)), "{keys}: {found:?}");
    }
}

#[test]
fn a_category_outside_the_channel_grammar_needs_a_channel() {
    let found = mistakes(quote!(
        #[event("größe:set")]
        struct A;
    ));
    assert!(
        matches!(&found[..], [only] if only.contains("give `channel = \"…\"`") && only.contains("'ö'")),
        "{found:?}"
    );
    assert!(
        mistakes(quote!(
            #[event("größe:set", channel = "sizes")]
            struct A;
        ))
        .is_empty()
    );
}

#[test]
fn the_attribute_form_below_the_derive_is_the_only_complaint() {
    let found = mistakes(quote!(
        #[pubsub::event("a")]
        struct A;
    ));
    assert!(matches!(&found[..], [only] if only.contains("above `#[derive")), "{found:?}");
}

#[test]
fn a_union_hides_no_other_mistake() {
    let found = mistakes(quote! {
        #[event(name = "orders", version = 0)]
        union OrderCreated { #[event(kay)] a: u8 }
    });
    let expected = ["a union has no schema", "unknown key `kay`", "no colon", "versions begin at 1"];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

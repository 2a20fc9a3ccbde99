//! `#[derive(Event)]` and `#[pubsub::event]` of pubsub.
//!
//! Use them through the library, which re-exports both: `pubsub::Event` and `pubsub::event`.
//!
//! # Where to look
//!
//! A definition goes through three steps: what was written (`list`, `attr`), which rules it keeps (`validate`, with the
//! grammars in `names`), and what becomes of it (`expand`). Nothing is expanded before everything has been checked, so
//! all mistakes of one definition are reported together. `attribute` only adds derives and leaves the rest to them.

use proc_macro::TokenStream;

mod attr;
mod attribute;
mod describe;
mod errors;
mod expand;
mod keys;
mod list;
mod names;
mod validate;

/// Implements `pubsub::Event` for a struct or an enum, and `pubsub::Request` if it has a reply.
///
/// The type also needs serde's `Serialize` and `Deserialize` and schemars' `JsonSchema`;
/// [`#[pubsub::event]`](macro@event) adds those as well.
///
/// ```
/// use pubsub::Event;
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// /// An order was placed.
/// #[derive(Event, Serialize, Deserialize, JsonSchema)]
/// #[event(name = "orders:created", version = 2, direction = "both")]
/// struct OrderCreated {
///     #[event(key)]
///     order_id: String,
///     total: f64,
/// }
///
/// assert_eq!(OrderCreated::NAME, "orders:created");
/// assert_eq!(OrderCreated::CHANNEL, "orders");
/// assert_eq!(OrderCreated::VERSION, 2);
/// assert_eq!(OrderCreated::DESCRIPTION, Some("An order was placed."));
///
/// let order = OrderCreated { order_id: "o-17".into(), total: 12.5 };
/// assert_eq!(order.key().as_deref(), Some("o-17"));
/// ```
///
/// # Keys
///
/// | key | value | when omitted |
/// |---|---|---|
/// | `name` | `"category:event"`: one colon, no whitespace or control characters, at most 128 bytes; as the first entry it may do without `name =` | required |
/// | `channel` | `"orders"`: a letter or digit, then up to 127 letters, digits, `.`, `_`, `-` (ASCII) | the category of the name |
/// | `version` | a whole number from 1 | 1 |
/// | `direction` | `"sse"`, `"cse"`, `"both"` or `"internal"`, in any case | `"internal"` |
/// | `reply` | a type; the event then is a `pubsub::Request` with this reply | no reply |
/// | `read_only` | none, or `true` / `false`: answering changes nothing | `false` |
/// | `description` | a text; `""` for none | the first paragraph of the doc comment |
/// | `crate` | the path of the library, as a path or a string, for re-exports under another name | `::pubsub` |
///
/// On one field of a struct, `#[event(key)]` marks the ordering key. Its type implements `pubsub::EventKey`: strings,
/// integers, `bool`, an `Option`, `Box` or `Arc` of such, or a type of your own.
///
/// ```
/// # use pubsub::Event;
/// # use schemars::JsonSchema;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize, JsonSchema)]
/// struct Quote {
///     price: f64,
/// }
///
/// #[derive(Event, Serialize, Deserialize, JsonSchema)]
/// #[event(name = "quotes:get", reply = Quote, read_only, direction = "cse")]
/// struct GetQuote {
///     #[event(key)]
///     product: u64,
/// }
///
/// fn reply_of<R: pubsub::Request<Reply = Quote>>() {}
/// reply_of::<GetQuote>();
/// ```
///
/// # What is an event
///
/// Structs of every form and enums, without lifetime, type or const parameters: an event owns its data, and its one
/// name stands for one payload. An enum has no key field.
///
/// # Mistakes
///
/// All mistakes of one definition are reported together, each at the token it is about.
///
/// ```compile_fail
/// # use pubsub::Event;
/// #[derive(Event, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// #[event(name = "orders", verison = 2, direction = "up")] // three mistakes, three messages
/// struct OrderCreated;
/// ```
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    expand::derive(input.into()).into()
}

/// Makes a struct or an enum an event, with all the derives that it needs.
///
/// It adds serde's `Serialize` and `Deserialize`, schemars' `JsonSchema` and [`Event`](macro@Event) through the
/// library's own re-exports, so that `pubsub` is the only dependency that a definition needs.
///
/// ```
/// #[pubsub::event("orders:created")]
/// struct OrderCreated {
///     #[event(key)]
///     order_id: String,
///     #[serde(default)]
///     #[schemars(range(min = 0.0))]
///     total: f64,
/// }
///
/// use pubsub::Event;
/// assert_eq!(OrderCreated::NAME, "orders:created");
/// ```
///
/// The name comes first, other keys of [`#[derive(Event)]`](macro@Event#keys) follow; the name may also be one of them:
///
/// ```
/// #[pubsub::event("orders:cancelled", version = 2, direction = "sse")]
/// #[derive(Debug, Clone)]
/// struct OrderCancelled {
///     order_id: String,
/// }
///
/// #[pubsub::event(name = "orders:shipped", channel = "shipping")]
/// #[derive(Debug, Clone)]
/// struct OrderShipped {
///     order_id: String,
/// }
/// ```
///
/// Write the attribute **above** `#[derive(...)]`: only then does it see which derives are there. Those that are
/// written already are not added again. They are recognised by name, alone or below their crate (`Serialize`,
/// `serde::Serialize`); `rkyv::Serialize` is another one. A type with a hand-written `Serialize` takes
/// [`#[derive(Event)]`](macro@Event) instead.
#[proc_macro_attribute]
pub fn event(args: TokenStream, item: TokenStream) -> TokenStream {
    attribute::expand(&args.into(), &item.into()).into()
}

/// Makes a struct or an enum fit to be a part of an event: adds serde's `Serialize` and `Deserialize` and schemars'
/// `JsonSchema`, as [`macro@event`] does, so that nested types need no dependency of their own either.
///
/// ```
/// #[pubsub::payload]
/// #[derive(Debug, Clone)]
/// struct OrderLine {
///     sku: String,
///     quantity: u32,
/// }
///
/// #[pubsub::event("orders:created")]
/// struct OrderCreated {
///     lines: Vec<OrderLine>,
/// }
/// ```
///
/// It takes no keys but `crate`, and stands above `#[derive(...)]` for the same reason.
#[proc_macro_attribute]
pub fn payload(args: TokenStream, item: TokenStream) -> TokenStream {
    attribute::expand_payload(&args.into(), &item.into()).into()
}

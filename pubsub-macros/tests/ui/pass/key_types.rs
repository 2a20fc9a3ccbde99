//! What a key may be.

use pubsub::Event;
use std::borrow::Cow;
use std::sync::Arc;

macro_rules! keys {
    ($($ty:ident($of:ty) = $value:expr => $key:expr;)*) => {
        $(#[pubsub::event("keys:tried")] struct $ty { #[event(key)] id: $of })*
        fn main() {
            $(assert_eq!($ty { id: $value }.key().as_deref(), $key, stringify!($ty));)*
        }
    };
}

keys! {
    Text(String) = "a".to_owned() => Some("a");
    Borrowed(Cow<'static, str>) = Cow::Borrowed("b") => Some("b");
    Small(u8) = 7 => Some("7");
    Negative(i64) = -7 => Some("-7");
    Large(u128) = u128::MAX => Some("340282366920938463463374607431768211455");
    Present(Option<String>) = Some("c".to_owned()) => Some("c");
    Absent(Option<u64>) = None => None;
    Boxed(Box<String>) = Box::new("d".to_owned()) => Some("d");
}

#[allow(dead_code)]
fn shared_keys(key: Arc<String>) -> Option<String> {
    pubsub::EventKey::event_key(&key).map(Cow::into_owned)
}

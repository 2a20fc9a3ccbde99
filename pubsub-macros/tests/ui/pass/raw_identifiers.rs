//! Names that need `r#`.

use pubsub::Event;

#[pubsub::event("raw:struct", r#reply = r#enum)]
#[allow(non_camel_case_types)]
struct r#struct {
    #[event(key)]
    r#type: String,
}

#[pubsub::event("raw:enum")]
#[allow(non_camel_case_types)]
enum r#enum {
    r#fn,
}

fn main() {
    assert_eq!(r#struct { r#type: "t".to_owned() }.key().as_deref(), Some("t"));
    assert_eq!(r#enum::r#fn.key(), None);
}

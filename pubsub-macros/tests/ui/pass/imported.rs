//! The attribute under its bare name does not collide with the helper attribute of the derive.

mod by_name {
    use pubsub::{Event, event};

    #[event("orders:created", version = 2)]
    pub struct Created {
        #[event(key)]
        pub id: String,
    }

    #[derive(Event, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    #[event(name = "orders:cancelled")]
    pub struct Cancelled {
        #[event(key)]
        pub id: String,
    }
}

mod by_glob {
    use pubsub::*;

    #[event("orders:created", version = 3)]
    pub struct Created {
        #[event(key)]
        pub id: String,
    }

    #[derive(Event, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    #[event(name = "orders:cancelled")]
    pub struct Cancelled {
        #[event(key)]
        pub id: String,
    }
}

fn key<E: pubsub::Event>(event: E) -> Option<String> {
    event.key().map(|key| key.into_owned())
}

fn main() {
    let id = || "o-1".to_owned();
    let expected = Some("o-1".to_owned());
    assert_eq!(key(by_name::Created { id: id() }), expected);
    assert_eq!(key(by_name::Cancelled { id: id() }), expected);
    assert_eq!(key(by_glob::Created { id: id() }), expected);
    assert_eq!(key(by_glob::Cancelled { id: id() }), expected);
}

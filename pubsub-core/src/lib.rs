//! Contracts of `pubsub`: envelope, event, catalog, policies, driver traits, and the portable handle over them.
//!
//! Users depend on the facade `pubsub-kit`; authors of adapters find everything they implement in [`driver`].

mod changes;
mod clock;
mod data;
mod delivery;
pub mod driver;
mod error;
mod event;
mod hold;
pub mod observe;
mod policy;
mod pubsub;
pub mod rpc;
pub mod store;
mod window;
pub mod wire;

pub use changes::Changes;
pub use clock::{Clock, ManualClock, Mark};
pub use data::{
    channel::{ChannelName, ChannelPattern, GroupName, MAX_CHANNEL_LEN, MAX_GROUP_LEN},
    envelope::Envelope,
    id::{EventId, IdKind, MAX_ID_LEN},
    key::{EventKey, Key, MAX_KEY_LEN},
    message::Message,
    meta::{Meta, MetaFields, Origin},
    name::{Category, EventName, MAX_NAME_LEN, NamePattern},
    payload::{ContentType, Payload},
    position::{Position, StartPosition},
    timestamp::Timestamp,
};
pub use delivery::{AckHandle, Delivery};
pub use error::{Error, ErrorKind, Fault, Result};
pub use event::{
    Direction, Event, Request,
    arg::EventArg,
    catalog::Catalog,
    decoder::{DecodedBy, Decoder},
    definition::EventDefinition,
    upcast::Upcaster,
};
pub use hold::{HoldGauge, HoldOptions, KeyHold};
pub use policy::{ChannelPolicy, DEFAULT_MAX_PAYLOAD, Durability, Ordering, Policies, Rate, Retention};
pub use pubsub::{
    Ack, Control, DeadLetterBox, EventItem, Events, Letter, LetterFilter, LettersDone, Prepared, PubSub, PubSubBuilder,
    Publish, Raw, Read, Received, Stats, Subscribe, Ticket, Unknown,
};
pub use window::{AckWindow, Settled, WindowRefusal};

/// What the macros need; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use schemars;
    pub use serde;
    pub use serde_json;
}

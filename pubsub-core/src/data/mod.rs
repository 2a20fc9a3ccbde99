//! The values an event is made of.

pub(crate) mod channel;
pub(crate) mod envelope;
pub(crate) mod id;
pub(crate) mod key;
pub(crate) mod message;
pub(crate) mod meta;
pub(crate) mod name;
pub(crate) mod payload;
pub(crate) mod position;
mod rfc3339;
pub(crate) mod timestamp;

//! The stock SDK of CloudEvents.

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::{parcel::Parcel, tool};

/// A form of the SDK: whose headers it writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Kafka,
    Amqp,
    /// Also of NATS, which has the rules of HTTP.
    Http,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Amqp => "amqp",
            Self::Http => "http",
        }
    }

    /// Writes an event: `binary` or `structured`.
    pub(crate) fn write(self, mode: &str, attributes: &Value, data: &Value) -> Result<Parcel, Failed> {
        let event = json!({"attributes": attributes, "data": data});
        let command = tool::script("cloudevents_sdk.py", &["write", self.name(), mode])?;
        Parcel::from_json(&tool::run(command, &event.to_string())?)
    }

    /// Reads an event, as an object with `attributes` and `data`.
    pub(crate) fn read(self, parcel: &Parcel) -> Result<Value, Failed> {
        let command = tool::script("cloudevents_sdk.py", &["read", self.name()])?;
        let printed = tool::run(command, &parcel.to_json()?)?;
        serde_json::from_str(&printed).map_err(|fault| format!("{fault} in {printed}").into())
    }
}

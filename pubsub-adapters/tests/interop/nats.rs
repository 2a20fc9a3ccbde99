//! `nats-py`: an event is a message of a stream.

use libtest_mimic::Failed;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::{client::Client, parcel::Parcel, sdk::Form, tool};

pub(crate) struct NatsPy {
    pub(crate) url: String,
    pub(crate) prefix: String,
}

impl NatsPy {
    fn run(&self, verb: &str, channel: &str, input: &str) -> Result<String, Failed> {
        let subject = format!("{}.d.-.{channel}", self.prefix);
        tool::run(tool::script("nats_client.py", &[&self.url, verb, &subject])?, input)
    }
}

impl Client for NatsPy {
    fn send(&self, channel: &str, parcel: &Parcel) -> Result<(), Failed> {
        self.run("publish", channel, &parcel.to_json()?).map(drop)
    }

    fn receive(&self, channel: &str) -> Result<Parcel, Failed> {
        Parcel::from_json(&self.run("read", channel, "")?)
    }

    fn attributes(&self, parcel: &Parcel) -> Map<String, Value> {
        parcel.attributes("ce-", |text| percent_decode_str(text).decode_utf8_lossy().into_owned())
    }

    fn options(&self) -> &'static str {
        "&wire=binary"
    }

    fn form(&self) -> Option<Form> {
        Some(Form::Http)
    }
}

//! `redis-cli`: an event is an entry of a stream.

use std::process::Command;

use libtest_mimic::Failed;
use pubsub_testkit::broker::find;
use serde_json::{Map, Value};

use crate::{client::Client, parcel::Parcel, sdk::Form, tool};

/// The field of the body where each attribute has a field of its own.
const BODY: &str = "data";
/// The field of a JSON document, which has no others beside it.
const DOCUMENT: &str = "json";

pub(crate) struct Cli {
    pub(crate) url: String,
    pub(crate) prefix: String,
}

pub(crate) fn is_here() -> Result<(), String> {
    find::program("redis-cli", &[]).map(drop).ok_or_else(|| {
        "redis-cli is not on PATH; Debian has it in redis-tools, and `cargo xtask test --only interop` gets it"
            .to_owned()
    })
}

impl Cli {
    fn run(&self, arguments: &[&str]) -> Result<String, Failed> {
        let mut command = Command::new(find::program("redis-cli", &[]).ok_or("no redis-cli")?);
        command.args(["-u", &self.url, "--json", "-e"]).args(arguments);
        tool::run(command, "")
    }

    fn stream(&self, channel: &str) -> String {
        format!("pubsub:{{{}/{channel}}}", self.prefix)
    }
}

impl Client for Cli {
    fn options(&self) -> &'static str {
        "&fields=cloudevents"
    }

    fn send(&self, channel: &str, parcel: &Parcel) -> Result<(), Failed> {
        let stream = self.stream(channel);
        let mut arguments = vec!["XADD", &stream, "*"];
        for (name, value) in &parcel.headers {
            arguments.extend([name.as_str(), value.as_str().ok_or("a field that is no text")?]);
        }
        let body = if parcel.headers.is_empty() { DOCUMENT } else { BODY };
        arguments.extend(parcel.body.iter().flat_map(|text| [body, text]));
        self.run(&arguments).map(drop)
    }

    fn receive(&self, channel: &str) -> Result<Parcel, Failed> {
        let printed = self.run(&["XRANGE", &self.stream(channel), "-", "+", "COUNT", "1"])?;
        let entries: Value = serde_json::from_str(&printed)?;
        let fields = entries[0][1].as_array().ok_or_else(|| format!("no entry: {printed}"))?;
        let mut headers = Map::new();
        for pair in fields.chunks_exact(2) {
            headers.insert(pair[0].as_str().unwrap_or_default().to_owned(), pair[1].clone());
        }
        let body = headers.remove(BODY).or_else(|| headers.remove(DOCUMENT));
        let body = body.and_then(|body| Some(body.as_str()?.to_owned()));
        Ok(Parcel { headers, key: None, body })
    }

    fn attributes(&self, parcel: &Parcel) -> Map<String, Value> {
        parcel.attributes("", str::to_owned)
    }

    fn form(&self) -> Option<Form> {
        None
    }

    /// The SDK has no form for streams: one field per attribute, or the whole in the body.
    fn foreign(&self, mode: &str, attributes: &Value, data: &Value) -> Result<Parcel, Failed> {
        let mut headers = attributes.as_object().cloned().unwrap_or_default();
        headers.insert("specversion".to_owned(), "1.0".into());
        if mode == "structured" {
            headers.insert("data".to_owned(), data.clone());
            return Ok(Parcel::of(Value::from(headers).to_string()));
        }
        let body = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
        Ok(Parcel { headers, ..Parcel::of(body) })
    }
}

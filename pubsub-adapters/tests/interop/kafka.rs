//! Kafka's own console programs: an event is a record.

use libtest_mimic::Failed;
use pubsub_testkit::broker::kafka_program;
use serde_json::{Map, Value};

use crate::{client::Client, parcel::Parcel, sdk::Form, tool};

const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
/// Between fields, and between headers: what no text has.
const FIELD: &str = "\u{1f}";
const HEADER: &str = "\u{1e}";
const NULL: &str = "<null>";

pub(crate) struct Console {
    pub(crate) url: String,
    pub(crate) prefix: String,
}

impl Console {
    fn run(&self, program: &str, channel: &str, more: &[String], input: &str) -> Result<String, Failed> {
        let mut command = kafka_program(program)?;
        let address = self.url.trim_start_matches("kafka://").split(['/', '?']).next().unwrap_or_default();
        command.args(["--bootstrap-server", address, "--topic", &self.topic(channel)]).args(more);
        tool::run(command, input)
    }

    fn topic(&self, channel: &str) -> String {
        format!("_p{}.{}.{channel}", self.prefix.len(), self.prefix)
    }
}

fn properties(of: &[(&str, &str)]) -> Vec<String> {
    of.iter().flat_map(|(name, value)| ["--property".to_owned(), format!("{name}={value}")]).collect()
}

impl Client for Console {
    fn send(&self, channel: &str, parcel: &Parcel) -> Result<(), Failed> {
        let options = properties(&[
            ("parse.headers", "true"),
            ("parse.key", "true"),
            ("headers.delimiter", FIELD),
            ("headers.separator", HEADER),
            ("key.separator", FIELD),
            ("null.marker", NULL),
        ]);
        let header = |(name, value): (&String, &Value)| format!("{name}:{}", value.as_str().unwrap_or_default());
        let headers: Vec<_> = parcel.headers.iter().map(header).collect();
        let headers = if headers.is_empty() { NULL.to_owned() } else { headers.join(HEADER) };
        let key = parcel.key.as_deref().unwrap_or(NULL);
        let body = parcel.body.as_deref().unwrap_or(NULL);
        self.run(PRODUCER, channel, &options, &format!("{headers}{FIELD}{key}{FIELD}{body}\n")).map(drop)
    }

    fn receive(&self, channel: &str) -> Result<Parcel, Failed> {
        let mut options = properties(&[
            ("print.headers", "true"),
            ("print.key", "true"),
            ("key.separator", FIELD),
            ("headers.separator", HEADER),
            ("null.literal", NULL),
        ]);
        options.extend(["--from-beginning", "--max-messages", "1", "--timeout-ms", "30000"].map(str::to_owned));
        let printed = self.run(CONSUMER, channel, &options, "")?;
        let fields: Vec<_> = printed.trim_end_matches('\n').split(FIELD).collect();
        let &[headers, key, body] = fields.as_slice() else { return Err(format!("no record: {printed:?}").into()) };
        let pairs = headers.split(HEADER).filter_map(|header| header.split_once(':'));
        let some = |text: &str| (text != NULL).then(|| text.to_owned());
        Ok(Parcel {
            headers: pairs.map(|(name, value)| (name.to_owned(), value.into())).collect(),
            key: some(key),
            body: some(body),
        })
    }

    fn attributes(&self, parcel: &Parcel) -> Map<String, Value> {
        parcel.attributes("ce_", str::to_owned)
    }

    fn form(&self) -> Option<Form> {
        Some(Form::Kafka)
    }
}

//! Plain clients of the brokers read what the adapters write, and are read by them: `redis-cli`, Kafka's own console
//! programs, `nats-py`, `pika`, and the stock SDK of CloudEvents. `cargo xtask test --only interop` gets them.
#![allow(missing_docs)]

#[path = "interop/client.rs"]
mod client;
#[path = "interop/incoming.rs"]
mod incoming;
#[path = "interop/kafka.rs"]
mod kafka;
#[path = "interop/nats.rs"]
mod nats;
#[path = "interop/order.rs"]
mod order;
#[path = "interop/outgoing.rs"]
mod outgoing;
#[path = "interop/parcel.rs"]
mod parcel;
#[path = "interop/rabbitmq.rs"]
mod rabbitmq;
#[path = "interop/redis.rs"]
mod redis;
#[path = "interop/sdk.rs"]
mod sdk;
#[path = "interop/stage.rs"]
mod stage;
#[path = "interop/tool.rs"]
mod tool;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use pubsub_testkit::broker::{BrokerKind, find};

use stage::{Case, Servers};

/// What every broker's plain clients do.
const CASES: &[(&str, Case)] = &[
    ("in: a plain JSON document", incoming::document),
    ("in: a CloudEvent in headers", incoming::binary),
    ("in: a CloudEvent in headers whose data is text", incoming::text),
    ("in: a CloudEvent as structured JSON", incoming::structured),
    ("in: JSON that is no event is kept as a dead letter", incoming::no_event),
    ("out: attributes in headers", outgoing::binary),
    ("out: attributes in headers of a dead letter", outgoing::dead_letter),
    ("out: one JSON document", outgoing::envelope),
];

/// What only some can show.
const MORE: &[(BrokerKind, &str, Case)] = &[
    (BrokerKind::Kafka, "in: a record's key is the event's", incoming::record_key),
    (BrokerKind::Kafka, "out: a tombstone is a record without a value", outgoing::tombstone),
    (BrokerKind::Kafka, "out: the stock SDK of CloudEvents reads it", outgoing::sdk),
    (BrokerKind::Nats, "out: the stock SDK of CloudEvents reads it", outgoing::sdk),
    (BrokerKind::RabbitMq, "out: the stock SDK of CloudEvents reads it", outgoing::sdk),
];

fn main() -> ExitCode {
    let servers = Arc::new(Servers::default());
    let mut trials = Vec::new();
    for kind in BrokerKind::ALL {
        let here = stage::is_possible(kind).is_ok() || find::is_required(kind);
        let more = MORE.iter().filter(|(of, ..)| *of == kind).map(|(_, title, case)| (title, case));
        for (title, case) in CASES.iter().map(|(title, case)| (title, case)).chain(more) {
            let servers = servers.clone();
            let trial = Trial::test(format!("{kind}: {title}"), move || stage::run(&servers, kind, *case));
            trials.push(trial.with_ignored_flag(!here));
        }
    }
    let mut arguments = Arguments::from_args();
    // Most of the time is that of the programs that are started, which have to share the machine.
    arguments.test_threads.get_or_insert(2);
    let conclusion = libtest_mimic::run(&arguments, trials);
    servers.stop();
    conclusion.exit_code()
}

//! What a broker holds, deleted behind the adapter's back; and a broker without room.

use std::net::SocketAddr;

use super::broken;
use crate::{
    broker::{
        Broker, BrokerKind,
        admin::{nats, redis},
    },
    conformance::{Failure, Verdict, ensure},
    faults::What,
};

/// Deletes what has `prefix` in its name.
pub(super) fn delete(broker: &Broker, prefix: &str, what: What) -> Verdict {
    let server = broker.address();
    let deleted = match broker.kind() {
        BrokerKind::Redis => from_redis(server, prefix, what)?,
        BrokerKind::Nats => from_nats(server, prefix, what)?,
        BrokerKind::Kafka => from_kafka(broker, prefix, what)?,
        BrokerKind::RabbitMq => from_rabbitmq(broker, prefix, what)?,
    };
    ensure(deleted > 0, format!("{what:?} with `{prefix}` in their names to delete"), "none")
}

fn from_redis(server: SocketAddr, prefix: &str, what: What) -> Verdict<usize> {
    let run = |words: &[&str]| redis::command(server, words).map_err(broken);
    let keys = run(&["KEYS", &format!("*{prefix}*")])?;
    let mut deleted = 0;
    for key in keys.texts() {
        if run(&["TYPE", key])?.texts() != ["stream"] {
            continue;
        }
        if what == What::Channels {
            run(&["DEL", key])?;
            deleted += 1;
            continue;
        }
        for group in names(&run(&["XINFO", "GROUPS", key])?) {
            if what == What::Groups {
                run(&["XGROUP", "DESTROY", key, &group])?;
                deleted += 1;
                continue;
            }
            for consumer in names(&run(&["XINFO", "CONSUMERS", key, &group])?) {
                run(&["XGROUP", "DELCONSUMER", key, &group, &consumer])?;
                deleted += 1;
            }
        }
    }
    Ok(deleted)
}

/// The values of the field `name` in the answer to `XINFO`.
fn names(answer: &redis::Answer) -> Vec<String> {
    let texts = answer.texts();
    let pairs = texts.iter().zip(texts.iter().skip(1));
    pairs.filter(|(field, _)| **field == "name").map(|(_, name)| (*name).to_owned()).collect()
}

fn from_nats(server: SocketAddr, prefix: &str, what: What) -> Verdict<usize> {
    let mut deleted = 0;
    for stream in nats::streams(server, prefix).map_err(broken)? {
        if what == What::Channels {
            nats::request(server, &format!("$JS.API.STREAM.DELETE.{stream}"), "").map_err(broken)?;
            deleted += 1;
            continue;
        }
        for consumer in nats::consumers(server, &stream).map_err(broken)? {
            nats::request(server, &format!("$JS.API.CONSUMER.DELETE.{stream}.{consumer}"), "").map_err(broken)?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

fn from_kafka(broker: &Broker, prefix: &str, what: What) -> Verdict<usize> {
    const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
    if what != What::Channels {
        return Err(Failure::new("something that Kafka lets one delete while it is used", format!("{what:?}")));
    }
    let list = broker.tool(&[TOPICS, "--list"]).map_err(broken)?;
    let topics: Vec<_> = list.lines().filter(|topic| topic.contains(prefix)).collect();
    if !topics.is_empty() {
        // The option takes a regular expression.
        let pattern = topics.iter().map(|topic| topic.replace('.', "\\.")).collect::<Vec<_>>().join("|");
        broker.tool(&[TOPICS, "--delete", "--topic", &pattern]).map_err(broken)?;
    }
    Ok(topics.len())
}

fn from_rabbitmq(broker: &Broker, prefix: &str, what: What) -> Verdict<usize> {
    // Queues hold the state of groups; what holds the events of a channel for those to come are exchanges and streams.
    let (kind, module, function) = match what {
        What::Channels => ("exchange", "rabbit_exchange", "list"),
        What::Groups => ("queue", "rabbit_amqqueue", "list"),
        What::Consumers => {
            return Err(Failure::new("something that RabbitMQ lets one delete", format!("{what:?}")));
        }
    };
    let delete = match what {
        What::Channels => "rabbit_exchange:delete(N, false, <<\"test\">>)",
        _ => "rabbit_amqqueue:with(N, fun(Q) -> rabbit_amqqueue:delete(Q, false, false, <<\"test\">>) end)",
    };
    let name = match what {
        What::Channels => "element(2, X)",
        _ => "amqqueue:get_name(X)",
    };
    let script = format!(
        "length([{delete} || X <- {module}:{function}(<<\"/\">>), N <- [{name}], \
         {{resource, _, {kind}, T}} <- [N], binary:match(T, <<\"{prefix}\">>) =/= nomatch])."
    );
    let printed = broker.tool(&["eval", &script]).map_err(broken)?;
    printed.trim().parse().map_err(|_| Failure::new("a number of deleted objects", printed.trim()))
}

/// Lets the broker run out of room, or have it again.
pub(super) fn alarm(broker: &Broker, on: bool) -> Verdict {
    let server = broker.address();
    match broker.kind() {
        BrokerKind::Redis => {
            let limit = if on { "1" } else { "0" };
            for words in [["CONFIG", "SET", "maxmemory-policy", "noeviction"], ["CONFIG", "SET", "maxmemory", limit]] {
                redis::command(server, &words).map_err(broken)?;
            }
        }
        BrokerKind::Nats => nats::fill(server, on).map_err(broken)?,
        BrokerKind::RabbitMq => {
            let mark = if on { "0.0000001" } else { "0.4" };
            broker.tool(&["set_vm_memory_high_watermark", mark]).map_err(broken)?;
        }
        BrokerKind::Kafka => return Err(Failure::new("a broker with an alarm", "Kafka")),
    }
    Ok(())
}

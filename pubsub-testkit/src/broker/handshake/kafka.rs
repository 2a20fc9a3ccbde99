//! ApiVersions, then Metadata: ready is a cluster that names a broker and a controller.

use std::time::Duration;

use super::{Endpoint, HandshakeError, Opened, ServerInfo, Session, unexpected};
use crate::broker::wire::{Fields, Wire};

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const CREATE_TOPICS: i16 = 19;
const UNKNOWN_TOPIC: i16 = 3;

struct Kafka {
    wire: Wire,
    correlation: i32,
}

struct Cluster {
    brokers: usize,
    controller: i32,
    /// The error code of the topic that was asked for.
    topic: Option<i16>,
}

pub(super) fn open(endpoint: &Endpoint, within: Duration) -> Opened {
    let mut session = Kafka { wire: Wire::connect(endpoint.address, within)?, correlation: 0 };
    let answer = session.call(API_VERSIONS, 0, &[])?;
    let mut fields = Fields(&answer);
    let error = fields.i16()?;
    let apis = fields.i32()?;
    if error != 0 || apis <= 0 {
        return unexpected(format!("ApiVersions with error {error} and {apis} entries"));
    }
    let cluster = session.metadata(None)?;
    if cluster.brokers == 0 || cluster.controller < 0 {
        return unexpected(format!("{} brokers, controller {}", cluster.brokers, cluster.controller));
    }
    let proof = format!("{} broker, controller {}", cluster.brokers, cluster.controller);
    Ok((Box::new(session), ServerInfo { version: None, proof }))
}

impl Kafka {
    fn call(&mut self, api: i16, version: i16, body: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        self.correlation += 1;
        let mut request = Vec::new();
        request.extend(api.to_be_bytes());
        request.extend(version.to_be_bytes());
        request.extend(self.correlation.to_be_bytes());
        put_text(&mut request, "pubsub-testkit");
        request.extend(body);
        let mut framed = (request.len() as u32).to_be_bytes().to_vec();
        framed.extend(request);
        self.wire.send(&framed)?;
        let length = Fields(&self.wire.receive(4)?).u32()?;
        let answer = self.wire.receive(length as usize)?;
        let mut fields = Fields(&answer);
        let correlation = fields.i32()?;
        if correlation != self.correlation {
            return unexpected(format!("correlation id {correlation} instead of {}", self.correlation));
        }
        Ok(fields.0.to_vec())
    }

    /// Metadata v4: the first version that can ask without creating the topic.
    fn metadata(&mut self, topic: Option<&str>) -> Result<Cluster, HandshakeError> {
        let mut body = (topic.iter().len() as u32).to_be_bytes().to_vec();
        if let Some(topic) = topic {
            put_text(&mut body, topic);
        }
        body.push(0);
        let answer = self.call(METADATA, 4, &body)?;
        let mut fields = Fields(&answer);
        fields.i32()?; // throttle time
        let brokers = fields.u32()?;
        for _ in 0..brokers {
            fields.i32()?;
            nullable_text(&mut fields)?;
            fields.i32()?;
            nullable_text(&mut fields)?;
        }
        nullable_text(&mut fields)?; // cluster id
        let controller = fields.i32()?;
        let topics = fields.i32()?;
        let topic = if topics > 0 { Some(fields.i16()?) } else { None };
        Ok(Cluster { brokers: brokers as usize, controller, topic })
    }
}

impl Session for Kafka {
    fn leave_mark(&mut self, name: &str) -> Result<(), HandshakeError> {
        let mut body = 1u32.to_be_bytes().to_vec();
        put_text(&mut body, name);
        body.extend(1i32.to_be_bytes()); // partitions
        body.extend(1i16.to_be_bytes()); // replicas
        body.extend([0; 8]); // no assignments, no settings
        body.extend(5_000i32.to_be_bytes()); // timeout in ms
        body.push(0); // not only validation
        let answer = self.call(CREATE_TOPICS, 2, &body)?;
        let mut fields = Fields(&answer);
        fields.i32()?; // throttle time
        fields.i32()?; // one topic
        nullable_text(&mut fields)?;
        match fields.i16()? {
            0 => Ok(()),
            error => {
                unexpected(format!("CreateTopics error {error}: {}", nullable_text(&mut fields)?.unwrap_or_default()))
            }
        }
    }

    fn has_mark(&mut self, name: &str) -> Result<bool, HandshakeError> {
        match self.metadata(Some(name))?.topic {
            Some(UNKNOWN_TOPIC) => Ok(false),
            Some(_) => Ok(true),
            None => unexpected("Metadata without the topic"),
        }
    }
}

fn put_text(request: &mut Vec<u8>, text: &str) {
    request.extend((text.len() as u16).to_be_bytes());
    request.extend(text.as_bytes());
}

fn nullable_text(fields: &mut Fields<'_>) -> Result<Option<String>, HandshakeError> {
    usize::try_from(fields.i16()?).ok().map(|length| fields.text(length)).transpose()
}

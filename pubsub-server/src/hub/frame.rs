//! Events as they go out: written once for all streams.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::{BufMut, Bytes, BytesMut};
use pubsub_core::{Message, Position, wire::document};

use crate::{
    cursor::{ChannelKey, Cursor, Mark},
    json::compact,
};

/// An event at its place.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) message: Arc<Message>,
    pub(crate) position: Position,
    /// Whether clients never see it. It keeps its place all the same: positions are counted by it.
    pub(crate) hidden: bool,
}

/// Some events that follow one another on a channel, with their text once somebody has asked for it. A stream that takes
/// all of them takes one slice of shared bytes.
#[derive(Debug)]
pub(crate) struct Run {
    key: ChannelKey,
    pub(crate) frames: Vec<Frame>,
    named: OnceLock<Text>,
    plain: OnceLock<Text>,
}

/// The text of a run for streams of one channel, and where its events begin.
#[derive(Debug)]
struct Text {
    bytes: Bytes,
    events: Vec<Place>,
}

/// Where an event's text is: all of it, and its data alone.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    data: usize,
    end: usize,
}

/// How an event begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heading {
    /// With a line `event:`, as `addEventListener` wants it.
    Named,
    /// Without one, as `onmessage` and tRPC want it.
    Plain,
}

impl Run {
    pub(crate) fn new(key: ChannelKey, frames: Vec<Frame>) -> Self {
        Self { key, frames, named: OnceLock::new(), plain: OnceLock::new() }
    }

    fn text(&self, heading: Heading) -> &Text {
        let cell = match heading {
            Heading::Named => &self.named,
            Heading::Plain => &self.plain,
        };
        cell.get_or_init(|| self.write(heading))
    }

    fn write(&self, heading: Heading) -> Text {
        let mut out =
            BytesMut::with_capacity(self.frames.iter().map(|frame| 512 + frame.message.payload().len()).sum());
        let mut events = Vec::with_capacity(self.frames.len());
        for frame in &self.frames {
            let start = out.len();
            if !frame.hidden {
                let cursor = Cursor::one(self.key, Mark::At(frame.position.clone())).encode();
                head(&mut out, heading, frame, &cursor);
            }
            let data = out.len();
            if !frame.hidden {
                write_data(&mut out, &frame.message);
            }
            events.push(Place { start, data, end: out.len() });
        }
        Text { bytes: out.freeze(), events }
    }

    /// The text of some events for a stream of this channel alone.
    pub(crate) fn slice(&self, heading: Heading, range: Range<usize>) -> Bytes {
        let text = self.text(heading);
        match (text.events.get(range.start), range.end.checked_sub(1).and_then(|last| text.events.get(last))) {
            (Some(first), Some(last)) if first.start < last.end => text.bytes.slice(first.start..last.end),
            _ => Bytes::new(),
        }
    }

    /// The text of one event for a stream of several channels, whose cursor is its own.
    pub(crate) fn single(&self, heading: Heading, index: usize, cursor: &str) -> [Bytes; 2] {
        let text = self.text(Heading::Plain);
        let mut out = BytesMut::with_capacity(cursor.len() + 160);
        head(&mut out, heading, &self.frames[index], cursor);
        let place = text.events[index];
        [out.freeze(), text.bytes.slice(place.data..place.end)]
    }
}

/// Everything before the data. Names and cursors hold no line breaks by their grammars.
fn head(out: &mut BytesMut, heading: Heading, frame: &Frame, cursor: &str) {
    if heading == Heading::Named {
        out.put_slice(b"event: ");
        out.put_slice(frame.message.name().as_str().as_bytes());
        out.put_slice(b"\n");
    }
    out.put_slice(b"id: ");
    out.put_slice(cursor.as_bytes());
    out.put_slice(b"\n");
}

fn write_data(out: &mut BytesMut, message: &Message) {
    out.put_slice(b"data: ");
    out.put_slice(&envelope_text(message));
    out.put_slice(b"\n\n");
}

/// An event as the document that clients get, on one line.
pub(crate) fn envelope_text(message: &Message) -> Bytes {
    let envelope = message.envelope();
    let meta = &envelope.meta;
    // Where a reply is awaited is the business of services.
    let text = if meta.reply_to.is_some() || meta.deadline.is_some() {
        let mut own = envelope.clone();
        (own.meta.reply_to, own.meta.deadline) = (None, None);
        document::encode(&own)
    } else {
        document::encode(envelope)
    };
    let text = text.unwrap_or_else(|error| {
        // Its metadata is beyond the limits that every publisher is held to.
        tracing::warn!(event = %envelope.id, channel = %envelope.channel, %error, "an event is sent without metadata");
        let mut bare = envelope.clone();
        bare.meta = pubsub_core::Meta::default();
        document::encode(&bare).unwrap_or_else(|_| Bytes::from_static(b"null"))
    });
    if !text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return text;
    }
    match std::str::from_utf8(&text) {
        Ok(lines) => Bytes::from(compact(lines).into_owned()),
        Err(_) => Bytes::from_static(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::{ChannelName, EventName, Payload};

    use super::*;

    fn run(payloads: &[&'static str]) -> Run {
        let channel = ChannelName::parse("a").unwrap();
        let frame = |(index, payload): (usize, &&'static str)| Frame {
            message: Arc::new(Message::new(EventName::parse("a:b").unwrap(), channel.clone(), Payload::json(*payload))),
            position: Position::pair("mem", index as u64, 1).unwrap(),
            hidden: payload.is_empty(),
        };
        Run::new(ChannelKey::of(&channel), payloads.iter().enumerate().map(frame).collect())
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_event_is_three_lines_and_an_empty_one() {
        let run = run(&["{\n \"x\": \"a\\nb\"\r\n}", "2"]);
        let all = run.slice(Heading::Named, 0..2);
        let lines: Vec<&str> = text(&all).split('\n').collect();
        assert_eq!(lines.len(), 9, "{lines:?}");
        assert_eq!(lines[0], "event: a:b");
        assert!(lines[1].starts_with("id: ") && lines[2].starts_with("data: {\"id\":\""));
        assert!(lines[2].contains(r#""payload":{"x":"a\nb"}"#), "{}", lines[2]);
        assert_eq!((lines[3], lines[4]), ("", "event: a:b"));
        assert!(text(&run.slice(Heading::Plain, 1..2)).starts_with("id: "));
    }

    #[test]
    fn what_is_hidden_leaves_nothing() {
        let run = run(&["1", "", "3"]);
        assert!(run.slice(Heading::Plain, 1..2).is_empty());
        let all = run.slice(Heading::Plain, 0..3);
        assert_eq!(text(&all).matches("data: ").count(), 2);
        let [head, data] = run.single(Heading::Named, 2, "own");
        assert_eq!(text(&head), "event: a:b\nid: own\n");
        assert!(all.ends_with(&data));
    }
}

//! Server-sent events as bytes (WHATWG HTML, section 9.2): a parser that takes them in any pieces.

use std::mem;

use pubsub_core::{Error, ErrorKind, Result};

/// An event of a stream of any server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SseMessage {
    /// The value of `event:`; `message` if there was none.
    pub event: String,
    /// The lines of `data:`, with line breaks between them.
    pub data: String,
    /// The last `id:` of the stream so far; empty if there was none.
    pub id: String,
}

/// What a piece of a stream can hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Message(SseMessage),
    /// The server's wish for the pause before a new connection, in milliseconds.
    Retry(u64),
}

/// Finds the events in a stream of bytes.
#[derive(Debug)]
pub(super) struct Parser {
    /// The line that is not whole yet.
    line: Vec<u8>,
    data: String,
    event: String,
    /// The id of the block that is not whole yet, and that of the last whole one.
    id: String,
    last_id: String,
    has_data: bool,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    after_return: bool,
    at_start: bool,
    limit: usize,
}

impl Parser {
    /// A parser of a stream behind the event of this id, none of whose events may be longer than `limit` bytes.
    pub(super) fn new(last_id: &str, limit: usize) -> Self {
        Self {
            line: Vec::new(),
            data: String::new(),
            event: String::new(),
            id: last_id.to_owned(),
            last_id: last_id.to_owned(),
            has_data: false,
            after_return: false,
            at_start: true,
            limit,
        }
    }

    /// Takes the next bytes, and gives what they complete.
    ///
    /// # Errors
    /// `TooLarge` if an event is longer than it may be.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<Parsed>) -> Result<()> {
        let mut rest = bytes;
        if mem::take(&mut self.after_return) {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            self.after_return = bytes.is_empty();
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.grow(&rest[..end])?;
            let is_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if is_return {
                match rest.strip_prefix(b"\n") {
                    Some(after) => rest = after,
                    None => self.after_return = rest.is_empty(),
                }
            }
            let line = mem::take(&mut self.line);
            self.end_of_line(&line, out);
        }
        self.grow(rest)
    }

    fn grow(&mut self, bytes: &[u8]) -> Result<()> {
        if self.line.len() + self.data.len() + bytes.len() > self.limit {
            let message = format!("an event of the stream is longer than {} bytes", self.limit);
            return Err(Error::new(ErrorKind::TooLarge, "read events", message));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_of_line(&mut self, line: &[u8], out: &mut Vec<Parsed>) {
        let line = String::from_utf8_lossy(line);
        let mut line = &*line;
        if mem::take(&mut self.at_start) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_of_block(out);
        }
        // A comment has an empty field name.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                out.extend(value.parse().ok().map(Parsed::Retry));
            }
            _ => {}
        }
    }

    fn end_of_block(&mut self, out: &mut Vec<Parsed>) {
        self.last_id.clone_from(&self.id);
        let (event, data) = (mem::take(&mut self.event), mem::take(&mut self.data));
        if !mem::take(&mut self.has_data) {
            return;
        }
        let event = if event.is_empty() { "message".to_owned() } else { event };
        out.push(Parsed::Message(SseMessage { event, data, id: self.last_id.clone() }));
    }

    /// The id behind which the next connection starts.
    pub(super) fn last_id(&self) -> &str {
        &self.last_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&[u8]]) -> (Vec<Parsed>, String) {
        let (mut parser, mut out) = (Parser::new("", 1 << 20), Vec::new());
        for piece in pieces {
            parser.feed(piece, &mut out).unwrap();
        }
        (out, parser.last_id().to_owned())
    }

    fn message(event: &str, data: &str, id: &str) -> Parsed {
        Parsed::Message(SseMessage { event: event.into(), data: data.into(), id: id.into() })
    }

    #[test]
    fn the_stream_may_be_cut_anywhere() {
        let stream = "\u{feff}: hello\r\nretry: 250\r\n\r\nid: 1\rdata: a\rdata:b\r\rdata\n\nevent:x\nid: 2\ndata:  ü\nother: z\n\n";
        let expected =
            [Parsed::Retry(250), message("message", "a\nb", "1"), message("message", "", "1"), message("x", " ü", "2")];
        let bytes = stream.as_bytes();
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], b"", &bytes[second..]];
                assert_eq!(
                    parse(&pieces),
                    (Vec::from_iter(expected.iter().map(copy)), "2".to_owned()),
                    "{first} {second}"
                );
            }
        }
    }

    fn copy(parsed: &Parsed) -> Parsed {
        match parsed {
            Parsed::Message(message) => Parsed::Message(message.clone()),
            Parsed::Retry(pause) => Parsed::Retry(*pause),
        }
    }

    #[test]
    fn a_block_counts_with_its_empty_line_alone() {
        assert_eq!(
            parse(&[b"id: 1\ndata: a\n\nid: 2\ndata: b\n"]),
            (vec![message("message", "a", "1")], "1".to_owned())
        );
        // An id without data moves the position all the same.
        assert_eq!(parse(&[b"id: 7\n\n"]), (vec![], "7".to_owned()));
        assert_eq!(parse(&[b"id: 7\n\nid\ndata: x\n\n"]).1, "");
        assert_eq!(
            parse(&[b"id: a\0b\ndata: x\n\nretry: 1x\nretry: \n\n"]),
            (vec![message("message", "x", "")], String::new())
        );
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::new("", 100);
        let mut out = Vec::new();
        for _ in 0..50 {
            parser.feed(b": a comment is no part of an event\n", &mut out).unwrap();
        }
        assert_eq!(parser.feed(&[b'x'; 101], &mut out).unwrap_err().kind(), ErrorKind::TooLarge);
        let mut parser = Parser::new("", 100);
        let outcome = (0..50).try_for_each(|_| parser.feed(b"data: 123456789\n", &mut out));
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TooLarge);
    }
}

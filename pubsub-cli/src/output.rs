//! What is printed.

use pubsub::Message;
use serde_json::{Value, json};

/// How results are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// One result: a document, or the words for it.
    pub(crate) fn say(self, document: &Value, words: impl FnOnce() -> String) {
        if self.json {
            println!("{document}");
        } else {
            println!("{}", words());
        }
    }
}

/// The document form of an event.
pub(crate) fn document(message: &Message) -> Value {
    // An event that was read or written can be written: the error is for foreign metadata beyond the limits.
    serde_json::to_value(message.envelope()).unwrap_or_else(|error| json!({ "error": error.to_string() }))
}

/// The payload in a line.
pub(crate) fn payload(message: &Message) -> String {
    match message.payload().data() {
        Some(bytes) => printable(&String::from_utf8_lossy(bytes)),
        None => "(tombstone)".to_owned(),
    }
}

/// Foreign text for a terminal: nothing that steers it.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_does_not_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}

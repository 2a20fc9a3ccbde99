//! JSON text that is passed on without being understood.

use std::borrow::Cow;

/// The same JSON without white space around its values: one line, whatever came in. `text` must be valid JSON.
///
/// Only blanks outside of strings go; a string cannot hold a raw line break. Numbers keep every digit, which reading and
/// writing them again would not promise.
pub(crate) fn compact(text: &str) -> Cow<'_, str> {
    let blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    if !text.bytes().any(blank) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if !quoted && blank(byte) => {
                // A blank is one byte, so both ends lie between characters.
                out.push_str(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push_str(&text[start..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_go_outside_of_strings_only() {
        for (text, short) in [
            ("{\"a\":1}", "{\"a\":1}"),
            (" { \"a\" :\r\n\t[1 , 2]} \n", "{\"a\":[1,2]}"),
            (r#"{"a b":"c \" d\\", "e": "é ü"}"#, r#"{"a b":"c \" d\\","e":"é ü"}"#),
            ("12345678901234567890.10 ", "12345678901234567890.10"),
            (" null ", "null"),
        ] {
            assert_eq!(compact(text), short);
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(read(&compact(text)), read(text));
        }
    }
}

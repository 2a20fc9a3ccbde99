//! How attributes are named in a broker's headers.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::{
    super::{Arrival, cloudevents, document, fault::fault, gather::Gathered},
    Attribute, HeaderText, encode,
};
use crate::{Envelope, Result};

const CONTENT_TYPE: &str = "content-type";

/// The names and rules of one broker's headers. Made once per adapter.
#[derive(Clone, Debug)]
pub struct Binding {
    prefix: Box<str>,
    text: HeaderText,
    names: [Box<str>; Attribute::ALL.len()],
    own: Option<Box<str>>,
}

impl Binding {
    /// A binding with a prefix such as `ce_`, `ce-` or `cloudEvents:`.
    ///
    /// Headers are found with any of `_`, `-` and `:` at the prefix's end, as the AMQP binding demands, and in any
    /// case. An empty prefix gives the bare names, `datacontenttype` included.
    pub fn new(prefix: &str, text: HeaderText) -> Self {
        let name = |attribute: Attribute| match attribute {
            Attribute::DataContentType if !prefix.is_empty() => CONTENT_TYPE.into(),
            _ => format!("{prefix}{}", attribute.as_str()).into(),
        };
        Self { prefix: prefix.into(), text, names: Attribute::ALL.map(name), own: None }
    }

    /// Sets the publisher's own source: an event that has it is not foreign, whatever it is called.
    #[must_use]
    pub fn of_source(mut self, source: &str) -> Self {
        self.own = Some(source.into());
        self
    }

    /// The header that carries an attribute.
    pub fn name(&self, attribute: Attribute) -> &str {
        &self.names[attribute as usize]
    }

    /// The attribute that a header carries.
    pub fn attribute(&self, header: &str) -> Option<Attribute> {
        match self.strip(header) {
            Some(name) if name.bytes().any(|b| b.is_ascii_uppercase()) => Attribute::parse(&name.to_ascii_lowercase()),
            Some(name) => Attribute::parse(name),
            None => None,
        }
        .or_else(|| header.eq_ignore_ascii_case(CONTENT_TYPE).then_some(Attribute::DataContentType))
    }

    /// The header's name without the prefix, if it has it.
    fn strip<'a>(&self, header: &'a str) -> Option<&'a str> {
        let (head, rest) = header.split_at_checked(self.prefix.len())?;
        let same = |(a, b): (u8, u8)| a.eq_ignore_ascii_case(&b) || (is_separator(a) && is_separator(b));
        head.bytes().zip(self.prefix.bytes()).all(same).then_some(rest)
    }

    /// Hands every header of an event to `put`, as [`encode`].
    ///
    /// # Errors
    /// As [`encode`].
    pub fn encode(&self, envelope: &Envelope, source: &str, put: impl FnMut(Attribute, &str)) -> Result<()> {
        encode(envelope, source, self.text, put)
    }

    /// Reads an event from headers and body. `body` is `None` where the broker says that there is none.
    ///
    /// A body whose content type is `application/cloudevents+json` is read as such, and one without any attribute as
    /// a JSON document; other headers are kept there too.
    ///
    /// # Errors
    /// `Codec` with the attribute at fault, `TooLarge` if the metadata passes the limits of [`wire`](crate::wire).
    pub fn decode<'a>(
        &self,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        body: Option<Bytes>,
        arrival: Arrival<'_>,
    ) -> Result<Envelope> {
        let mut gathered = Gathered::of(self.own.as_deref());
        for (header, value) in headers {
            match (self.attribute(header), std::str::from_utf8(value)) {
                (Some(attribute), Ok(text)) => gathered.put(attribute, self.unescape(attribute, text)?)?,
                (Some(attribute), Err(_)) => return Err(fault(&[attribute.as_str()], "is not UTF-8")),
                (None, Ok(text)) => match self.strip(header) {
                    Some(name) => gathered.extra.put(name, &self.unescape_lossless(text))?,
                    None => gathered.extra.put(header, text)?,
                },
                (None, Err(_)) => {}
            }
        }
        for attribute in [Attribute::Traceparent, Attribute::Tracestate] {
            if gathered.get(attribute).is_none()
                && let Some(text) = gathered.extra.take_text(attribute.as_str())
            {
                gathered.put(attribute, text.into())?;
            }
        }
        match body {
            Some(body) if is_structured(&gathered) => cloudevents::merged(&body, arrival, gathered),
            Some(body) if !gathered.is_event() => document::merged(&body, arrival, gathered),
            body => {
                let payload = gathered.payload(body)?;
                gathered.into_envelope(payload, Some(arrival))
            }
        }
    }

    fn unescape<'a>(&self, attribute: Attribute, text: &'a str) -> Result<Cow<'a, str>> {
        if self.text == HeaderText::Utf8 || attribute == Attribute::DataContentType || !text.contains('%') {
            return Ok(Cow::Borrowed(text));
        }
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map_err(|_| fault(&[attribute.as_str()], "is not UTF-8 behind its percent signs"))
    }

    /// An attribute of another library, which is kept as it came where it is not escaped as it should be.
    fn unescape_lossless<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.text {
            HeaderText::Utf8 => Cow::Borrowed(text),
            HeaderText::Ascii => percent_decode_str(text).decode_utf8().unwrap_or(Cow::Borrowed(text)),
        }
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'_' | b'-' | b':')
}

fn is_structured(gathered: &Gathered<'_>) -> bool {
    let content_type = gathered.get(Attribute::DataContentType).unwrap_or_default();
    let structured = cloudevents::CONTENT_TYPE;
    content_type.get(..structured.len()).is_some_and(|start| start.eq_ignore_ascii_case(structured))
}

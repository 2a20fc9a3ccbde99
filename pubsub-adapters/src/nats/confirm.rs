//! What a stream answers to a publish.

use async_nats::{Message as NatsMessage, StatusCode, jetstream::ErrorCode};
use pubsub_core::{Error, ErrorKind, Result};

use super::error;

/// Sequence, and whether the stream had the event already.
pub(super) fn read_confirmation(answer: &NatsMessage) -> Result<(u64, bool)> {
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Error::new(ErrorKind::NotFound, "publish", "no stream stores this channel"));
    }
    let text = std::str::from_utf8(&answer.payload).unwrap_or_default();
    if let Some((_, fault)) = text.split_once("\"error\":") {
        let code = number(fault, "\"err_code\":").unwrap_or(0);
        let status = number(fault, "\"code\":").unwrap_or(0);
        let kind = error::kind_of(ErrorCode(code), usize::try_from(status).unwrap_or(0));
        let why = fault.split_once("\"description\":\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or("");
        return Err(Error::new(kind, "publish", format!("the server refused the event: {why} ({code})")));
    }
    match number(text, "\"seq\":") {
        Some(sequence) => Ok((sequence, text.contains("\"duplicate\":true") || text.contains("\"duplicate\": true"))),
        None => {
            Err(Error::new(ErrorKind::Backend, "publish", "the server's confirmation cannot be read").perhaps_applied())
        }
    }
}

pub(super) fn number(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    let rest = rest.trim_start();
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answer(payload: &'static str, status: Option<StatusCode>) -> NatsMessage {
        NatsMessage {
            subject: "a.1".into(),
            reply: None,
            payload: Bytes::from_static(payload.as_bytes()),
            headers: None,
            status,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn confirmations_are_read() {
        let read = |payload| read_confirmation(&answer(payload, None));
        assert_eq!(read(r#"{"stream":"s","seq":17}"#).unwrap(), (17, false));
        assert_eq!(read(r#"{"stream":"s", "seq": 3, "duplicate": true}"#).unwrap(), (3, true));
        let refused =
            r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"seq":0}"#;
        let error = read(refused).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.message().contains("message size exceeds"), "{error}");
        assert_eq!(read("\u{0}nonsense").unwrap_err().kind(), ErrorKind::Backend);
        let nobody = read_confirmation(&answer("", Some(StatusCode::NO_RESPONDERS)));
        assert_eq!(nobody.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

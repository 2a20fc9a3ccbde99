//! Errors of the databases in the library's terms.

use pubsub_core::{Error, ErrorKind};

/// What `operation` tells of an error of sqlx.
pub(crate) fn fault(operation: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |cause| {
        let (kind, message) = classify(&cause);
        Error::new(kind, operation, message).because(cause)
    }
}

fn classify(cause: &sqlx::Error) -> (ErrorKind, &'static str) {
    use sqlx::Error as Cause;
    match cause {
        Cause::Database(answer) => classify_code(&answer.code().unwrap_or_default(), answer.message()),
        Cause::Io(_) | Cause::Tls(_) | Cause::WorkerCrashed => {
            (ErrorKind::Unavailable, "the database cannot be reached")
        }
        Cause::PoolTimedOut => (ErrorKind::Timeout, "no connection to the database became free in time"),
        Cause::PoolClosed => (ErrorKind::Closed, "the connections to the database are closed"),
        Cause::Configuration(_) => (ErrorKind::Invalid, "the address of the database cannot be used"),
        Cause::ColumnDecode { .. } | Cause::Decode(_) | Cause::ColumnNotFound(_) | Cause::TypeNotFound { .. } => {
            (ErrorKind::Codec, "the tables are not those of this library")
        }
        _ => (ErrorKind::Backend, "the database reported an error"),
    }
}

/// By PostgreSQL's SQLSTATE of five characters, or SQLite's number.
fn classify_code(code: &str, message: &str) -> (ErrorKind, &'static str) {
    const BUSY: &str = "the database is busy";
    const MISSING: &str = "the tables are missing: call `Database::migrate` once";
    if code.len() == 5 {
        return match &code[..2] {
            "08" | "53" | "57" => (ErrorKind::Unavailable, "the database cannot serve now"),
            "28" => (ErrorKind::Auth, "the database refused the credentials"),
            "40" => (ErrorKind::Backend, "the transaction lost against another one; run it again"),
            _ if code == "42P01" => (ErrorKind::NotFound, MISSING),
            _ if code == "42501" => (ErrorKind::Auth, "the user of the database lacks a privilege"),
            _ if code == "55P03" => (ErrorKind::Unavailable, BUSY),
            _ => (ErrorKind::Backend, "the database reported an error"),
        };
    }
    // The low byte is the kind, what is above it a detail.
    match code.parse::<u32>().map(|number| number & 0xff) {
        Ok(5 | 6) => (ErrorKind::Unavailable, BUSY),
        Ok(8) => (ErrorKind::Rejected, "the database is read-only"),
        Ok(13) => (ErrorKind::Unavailable, "the disk of the database is full"),
        Ok(14) => (ErrorKind::Unavailable, "the file of the database cannot be opened"),
        Ok(1) if message.starts_with("no such table") => (ErrorKind::NotFound, MISSING),
        _ => (ErrorKind::Backend, "the database reported an error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_kinds() {
        let kinds = [
            ("57P01", ErrorKind::Unavailable),
            ("28P01", ErrorKind::Auth),
            ("40001", ErrorKind::Backend),
            ("42P01", ErrorKind::NotFound),
            ("23505", ErrorKind::Backend),
            ("5", ErrorKind::Unavailable),
            ("517", ErrorKind::Unavailable),
            ("1032", ErrorKind::Rejected),
            ("", ErrorKind::Backend),
        ];
        for (code, kind) in kinds {
            assert_eq!(classify_code(code, "").0, kind, "{code}");
        }
        assert_eq!(classify_code("1", "no such table: pubsub_outbox").0, ErrorKind::NotFound);
    }
}

//! `FailureCode`: why a call failed, by the names that tRPC uses.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, ErrorKind, Result, data::name::shorten};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $number:literal, $retryable:literal;)*) => {
        /// Why a call failed. The names are those of tRPC 11, on every transport.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FailureCode {
            $($(#[$doc])* $name,)*
        }

        impl FailureCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name on the wire, such as `NOT_FOUND`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status that stands for it in HTTP.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The number that stands for it in JSON-RPC and tRPC; several share the one of an internal error.
            pub const fn json_rpc_number(self) -> i32 {
                match self { $(Self::$name => $number,)* }
            }

            /// Whether the same call may succeed later, unless the failure itself says otherwise.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }
        }
    };
}

codes! {
    /// The request is not JSON.
    ParseError = "PARSE_ERROR", 400, -32700, false;
    /// The request breaks a rule: it would fail again.
    BadRequest = "BAD_REQUEST", 400, -32600, false;
    /// Nobody is logged in.
    Unauthorized = "UNAUTHORIZED", 401, -32001, false;
    /// It has to be paid for first.
    PaymentRequired = "PAYMENT_REQUIRED", 402, -32002, false;
    /// Whoever is logged in may not do this.
    Forbidden = "FORBIDDEN", 403, -32003, false;
    /// What the request is about does not exist.
    NotFound = "NOT_FOUND", 404, -32004, false;
    /// It exists, but not in this way.
    MethodNotSupported = "METHOD_NOT_SUPPORTED", 405, -32005, false;
    /// The request did not arrive in time.
    Timeout = "TIMEOUT", 408, -32008, true;
    /// It contradicts what is there by now.
    Conflict = "CONFLICT", 409, -32009, false;
    /// A condition that the caller set does not hold.
    PreconditionFailed = "PRECONDITION_FAILED", 412, -32012, false;
    /// The request, or the reply to it, is larger than the limit.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", 413, -32013, false;
    /// The request is in a format that is not understood.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", 415, -32015, false;
    /// The request is well formed and makes no sense.
    UnprocessableContent = "UNPROCESSABLE_CONTENT", 422, -32022, false;
    /// The caller must set a condition.
    PreconditionRequired = "PRECONDITION_REQUIRED", 428, -32028, false;
    /// The caller asks too often.
    TooManyRequests = "TOO_MANY_REQUESTS", 429, -32029, true;
    /// The caller is gone.
    ClientClosedRequest = "CLIENT_CLOSED_REQUEST", 499, -32099, false;
    /// The responder broke.
    InternalServerError = "INTERNAL_SERVER_ERROR", 500, -32603, false;
    /// The responder cannot do this.
    NotImplemented = "NOT_IMPLEMENTED", 501, -32603, false;
    /// Somebody that the responder relies on gave nonsense.
    BadGateway = "BAD_GATEWAY", 502, -32603, true;
    /// The responder, or what it relies on, is down or overloaded.
    ServiceUnavailable = "SERVICE_UNAVAILABLE", 503, -32603, true;
    /// The deadline has passed.
    GatewayTimeout = "GATEWAY_TIMEOUT", 504, -32603, true;
}

impl FailureCode {
    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// The code that tells a caller of an error of the library at the responder. It is never the caller's fault: what a
    /// request itself does wrong is told by [`Failure::of_request`](crate::rpc::Failure::of_request).
    pub const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Unavailable | ErrorKind::Backpressure | ErrorKind::Closed => Self::ServiceUnavailable,
            ErrorKind::Timeout | ErrorKind::DeadlineExceeded => Self::GatewayTimeout,
            ErrorKind::Unsupported => Self::NotImplemented,
            _ => Self::InternalServerError,
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FailureCode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text).ok_or_else(|| {
            let message = format!("field `code` is no known failure code: {}", shorten(text));
            Error::new(ErrorKind::Invalid, "parse failure code", message)
        })
    }
}

impl Serialize for FailureCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for FailureCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|error: Error| de::Error::custom(error.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        for &code in FailureCode::ALL {
            assert_eq!(code.as_str().parse::<FailureCode>().unwrap(), code);
            assert_eq!(serde_json::from_str::<FailureCode>(&format!("\"{code}\"")).unwrap(), code);
            assert!((400..600).contains(&code.http_status()), "{code}");
        }
        for bad in ["\"not_found\"", "\"\"", "7", "null", "\"NOT_FOUND \""] {
            assert!(serde_json::from_str::<FailureCode>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_may_be_tried_again_is_what_depends_on_the_moment() {
        let retryable: Vec<_> =
            FailureCode::ALL.iter().filter(|code| code.is_retryable()).map(|c| c.as_str()).collect();
        let expected = ["TIMEOUT", "TOO_MANY_REQUESTS", "BAD_GATEWAY", "SERVICE_UNAVAILABLE", "GATEWAY_TIMEOUT"];
        assert_eq!(retryable, expected);
    }
}

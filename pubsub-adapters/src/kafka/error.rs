//! What the client's errors mean.

use std::time::{Duration, Instant};

use pubsub_core::{Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// How soon what has not settled is asked for again.
const AGAIN: Duration = Duration::from_millis(50);

/// An error of the client, met during `operation`.
pub(super) fn error(operation: &'static str, cause: KafkaError) -> Error {
    let kind = code_of(&cause).map_or_else(|| without_code(&cause), kind_of);
    Error::new(kind, operation, text_of(kind)).because(cause)
}

/// The code behind an error of the client.
pub(super) fn code_of(cause: &KafkaError) -> Option<Code> {
    match cause {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

fn text_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unavailable => "the broker cannot be reached",
        ErrorKind::Timeout => "the broker did not answer in time",
        ErrorKind::Auth => "the broker refused the credentials, or they do not suffice",
        ErrorKind::NotFound => "the broker does not know it",
        ErrorKind::TooLarge => "the event is larger than the broker takes",
        ErrorKind::Backpressure => "the client's buffer is full",
        ErrorKind::Closed => "the client is closed",
        ErrorKind::Invalid => "the broker or the client does not take a value",
        ErrorKind::Conflict => "others are at work on it",
        ErrorKind::Rejected => "the broker refused it",
        _ => "the broker reported a problem",
    }
}

fn without_code(cause: &KafkaError) -> ErrorKind {
    match cause {
        KafkaError::ClientConfig(..) | KafkaError::Nul(_) => ErrorKind::Invalid,
        KafkaError::ClientCreation(_) => ErrorKind::Invalid,
        KafkaError::Canceled => ErrorKind::Closed,
        _ => ErrorKind::Backend,
    }
}

fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::BrokerNotAvailable
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::NetworkException
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotCoordinator
        | Code::WaitingForCoordinator
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::Fatal
        | Code::WaitCache => ErrorKind::Unavailable,
        Code::OperationTimedOut | Code::MessageTimedOut | Code::RequestTimedOut | Code::TimedOutQueue => {
            ErrorKind::Timeout
        }
        code if is_auth(code) => ErrorKind::Auth,
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownGroup
        | Code::GroupIdNotFound => ErrorKind::NotFound,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => ErrorKind::TooLarge,
        Code::QueueFull => ErrorKind::Backpressure,
        Code::BrokerDestroy => ErrorKind::Closed,
        Code::InvalidArgument | Code::InvalidTopic | Code::InvalidConfig | Code::InvalidPartitions => {
            ErrorKind::Invalid
        }
        Code::InvalidReplicationFactor => ErrorKind::Invalid,
        Code::NonEmptyGroup
        | Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::RebalanceInProgress
        | Code::TopicAlreadyExists => ErrorKind::Conflict,
        Code::PolicyViolation => ErrorKind::Rejected,
        _ => ErrorKind::Backend,
    }
}

/// Whether the broker refuses who we are.
pub(super) fn is_auth(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SSL
    )
}

/// Whether a connection failed because the broker refuses us, or we it; a connection that ends during its handshake may
/// as well be an outage.
pub(super) fn is_refusal(code: Code, reason: &str) -> bool {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::ClusterAuthorizationFailed => !reason.contains("Disconnected") && !reason.contains("timed out"),
        Code::SSL => reason.contains("certificate"),
        // What a server thinks of our certificate comes after the handshake, when an answer is read.
        Code::BrokerTransportFailure => is_alert(reason),
        _ => false,
    }
}

/// Whether the server has told that it does not trust our certificate, or misses one.
fn is_alert(reason: &str) -> bool {
    reason.contains(" alert ") && (reason.contains("certificate") || reason.contains("unknown ca"))
}

/// What a refusal means, with the remedy.
pub(super) fn refusal_text(reason: &str) -> String {
    let meaning = if is_alert(reason) {
        "TLS: the server wants a certificate of the client that it trusts: name its files with `cert=` and `key=`"
    } else if reason.contains("certificate") {
        "TLS: the server's certificate is not one that is trusted here: name the file of its authority with `ca=`, and \
         the host as the certificate does"
    } else {
        "the broker refused the credentials"
    };
    format!("{meaning}: {}", in_our_words(reason))
}

/// What the client says, with the names of our options.
pub(super) fn in_our_words(reason: &str) -> String {
    reason.replace("ssl.ca.location", "`ca=`").replace("security.protocol", "`security=`")
}

/// Whether the broker has not found out yet who answers for a group or a channel, which is so for a little while when it
/// is new.
pub(super) fn is_settling(cause: &KafkaError) -> bool {
    matches!(
        code_of(cause),
        Some(
            Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::NotCoordinator
                | Code::WaitingForCoordinator
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
        )
    )
}

/// Asks again for as long as the broker finds out who answers; waits on this thread.
///
/// # Errors
/// What `ask` reports at last.
pub(super) fn settled<T>(limit: Duration, mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let until = Instant::now() + limit;
    loop {
        match ask() {
            Err(cause) if is_settling(&cause) && Instant::now() < until => std::thread::sleep(AGAIN),
            answer => return answer,
        }
    }
}

/// Whether the client that reports it is of no use any more.
pub(super) fn is_fatal(cause: &KafkaError) -> bool {
    matches!(cause, KafkaError::MessageConsumptionFatal(_)) || code_of(cause) == Some(Code::Fatal)
}

/// Whether the error says that what it is about does not exist.
pub(super) fn is_unknown(cause: &KafkaError) -> bool {
    matches!(
        code_of(cause),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId)
    )
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_kind_follows_the_code_and_the_cause_is_kept() {
        for (cause, kind) in [
            (KafkaError::MessageProduction(Code::MessageTimedOut), ErrorKind::Timeout),
            (KafkaError::MetadataFetch(Code::BrokerTransportFailure), ErrorKind::Unavailable),
            (KafkaError::Global(Code::SaslAuthenticationFailed), ErrorKind::Auth),
            (KafkaError::MessageProduction(Code::MessageSizeTooLarge), ErrorKind::TooLarge),
            (KafkaError::AdminOp(Code::NonEmptyGroup), ErrorKind::Conflict),
            (KafkaError::ClientCreation("no".to_owned()), ErrorKind::Invalid),
        ] {
            let error = error("test", cause.clone());
            assert_eq!(error.kind(), kind, "{cause}");
            assert_eq!(error.source().map(ToString::to_string), Some(cause.to_string()));
        }
    }
}

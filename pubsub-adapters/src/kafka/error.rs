//! What the client's errors mean.

use pubsub_core::{Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

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

//! The known metadata fields: their names in both forms, and how to get and set them.

use super::attributes::Attribute;
use crate::{ChannelName, MetaFields, Origin, Timestamp};

/// A field of [`MetaFields`] that has a name of its own on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    CorrelationId,
    CausationId,
    ReplyTo,
    Deadline,
    ClientEventId,
    UserId,
    Origin,
    Traceparent,
    Tracestate,
    Attempt,
    FirstSeen,
    DeadReason,
    DeadAttempts,
    DeadSource,
    DeadTime,
}

/// The value of a [`Field`].
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldValue<'a> {
    Text(&'a str),
    Number(u32),
    Time(Timestamp),
}

impl Field {
    pub(super) const ALL: [Self; 15] = [
        Self::CorrelationId,
        Self::CausationId,
        Self::ReplyTo,
        Self::Deadline,
        Self::ClientEventId,
        Self::UserId,
        Self::Origin,
        Self::Traceparent,
        Self::Tracestate,
        Self::Attempt,
        Self::FirstSeen,
        Self::DeadReason,
        Self::DeadAttempts,
        Self::DeadSource,
        Self::DeadTime,
    ];

    /// The member of `meta` in the JSON document form.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::CorrelationId => "correlationId",
            Self::CausationId => "causationId",
            Self::ReplyTo => "replyTo",
            Self::Deadline => "deadline",
            Self::ClientEventId => "clientEventId",
            Self::UserId => "userId",
            Self::Origin => "source",
            Self::Traceparent => "traceparent",
            Self::Tracestate => "tracestate",
            Self::Attempt => "attempt",
            Self::FirstSeen => "firstSeen",
            Self::DeadReason => "deadReason",
            Self::DeadAttempts => "deadAttempts",
            Self::DeadSource => "deadSource",
            Self::DeadTime => "deadTime",
        }
    }

    pub(super) fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.key() == key)
    }

    /// The attribute in the CloudEvents forms.
    pub(super) const fn attribute(self) -> Attribute {
        match self {
            Self::CorrelationId => Attribute::CorrelationId,
            Self::CausationId => Attribute::CausationId,
            Self::ReplyTo => Attribute::ReplyTo,
            Self::Deadline => Attribute::Deadline,
            Self::ClientEventId => Attribute::ClientEventId,
            Self::UserId => Attribute::UserId,
            Self::Origin => Attribute::Origin,
            Self::Traceparent => Attribute::Traceparent,
            Self::Tracestate => Attribute::Tracestate,
            Self::Attempt => Attribute::Attempt,
            Self::FirstSeen => Attribute::FirstSeen,
            Self::DeadReason => Attribute::DeadReason,
            Self::DeadAttempts => Attribute::DeadAttempts,
            Self::DeadSource => Attribute::DeadSource,
            Self::DeadTime => Attribute::DeadTime,
        }
    }

    pub(super) fn get(self, meta: &MetaFields) -> Option<FieldValue<'_>> {
        let text = |field| Option::as_deref(field).map(FieldValue::Text);
        match self {
            Self::CorrelationId => text(&meta.correlation_id),
            Self::CausationId => text(&meta.causation_id),
            Self::ReplyTo => text(&meta.reply_to),
            Self::Deadline => meta.deadline.map(FieldValue::Time),
            Self::ClientEventId => text(&meta.client_event_id),
            Self::UserId => text(&meta.user_id),
            Self::Origin => meta.origin.map(|origin| FieldValue::Text(origin.as_str())),
            Self::Traceparent => text(&meta.traceparent),
            Self::Tracestate => text(&meta.tracestate),
            Self::Attempt => meta.attempt.map(FieldValue::Number),
            Self::FirstSeen => meta.first_seen.map(FieldValue::Time),
            Self::DeadReason => text(&meta.dead_reason),
            Self::DeadAttempts => meta.dead_attempts.map(FieldValue::Number),
            Self::DeadSource => meta.dead_source.as_ref().map(|channel| FieldValue::Text(channel.as_str())),
            Self::DeadTime => meta.dead_time.map(FieldValue::Time),
        }
    }

    /// Whether the JSON document form has a number here.
    pub(super) const fn is_number(self) -> bool {
        matches!(self, Self::Attempt | Self::DeadAttempts)
    }

    /// Sets the field from its text; says what is wrong with the text if it does not fit.
    pub(super) fn set(self, meta: &mut MetaFields, text: &str) -> Result<(), String> {
        let owned = || Some(text.to_owned());
        let time = || Timestamp::parse(text).map(Some).map_err(|_| "must be an RFC 3339 date and time".to_owned());
        let number = || text.parse::<u32>().map(Some).map_err(|_| "must be a whole number below 2^32".to_owned());
        match self {
            Self::CorrelationId => meta.correlation_id = owned(),
            Self::CausationId => meta.causation_id = owned(),
            Self::ReplyTo => meta.reply_to = owned(),
            Self::Deadline => meta.deadline = time()?,
            Self::ClientEventId => meta.client_event_id = owned(),
            Self::UserId => meta.user_id = owned(),
            Self::Origin => {
                meta.origin = Some(Origin::parse(text).ok_or_else(|| "must be api or action".to_owned())?);
            }
            Self::Traceparent => meta.traceparent = owned(),
            Self::Tracestate => meta.tracestate = owned(),
            Self::Attempt => meta.attempt = number()?,
            Self::FirstSeen => meta.first_seen = time()?,
            Self::DeadReason => meta.dead_reason = owned(),
            Self::DeadAttempts => meta.dead_attempts = number()?,
            Self::DeadSource => {
                let channel = ChannelName::parse_internal(text);
                meta.dead_source = Some(channel.map_err(|error| error.message().to_owned())?);
            }
            Self::DeadTime => meta.dead_time = time()?,
        }
        Ok(())
    }
}

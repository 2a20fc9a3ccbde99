//! The names of the attributes.

macro_rules! attributes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// An attribute of the CloudEvents forms that this library writes.
        ///
        /// The discriminants count up from 0, so that an adapter may keep a table of whatever its client needs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Attribute {
            $($(#[$doc])* $variant,)*
        }

        impl Attribute {
            /// All attributes in the order of their discriminants.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name without a prefix: lower-case letters only.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The attribute of this name, in lower case and without a prefix.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

attributes! {
    /// The version of CloudEvents, `1.0`.
    SpecVersion = "specversion",
    /// The event's id.
    Id = "id",
    /// Who published it.
    Source = "source",
    /// The event's name.
    Type = "type",
    /// When it happened.
    Time = "time",
    /// The channel.
    Subject = "subject",
    /// The media type of the body.
    DataContentType = "datacontenttype",
    /// The version of the payload's schema.
    EventVersion = "eventversion",
    /// The ordering key.
    PartitionKey = "partitionkey",
    /// `correlation_id` of the metadata.
    CorrelationId = "correlationid",
    /// `causation_id` of the metadata.
    CausationId = "causationid",
    /// `reply_to` of the metadata.
    ReplyTo = "replyto",
    /// `deadline` of the metadata.
    Deadline = "deadline",
    /// `client_event_id` of the metadata.
    ClientEventId = "clienteventid",
    /// `user_id` of the metadata.
    UserId = "userid",
    /// `origin` of the metadata.
    Origin = "pubsuborigin",
    /// `traceparent` of the metadata.
    Traceparent = "traceparent",
    /// `tracestate` of the metadata.
    Tracestate = "tracestate",
    /// `attempt` of the metadata.
    Attempt = "attempt",
    /// `first_seen` of the metadata.
    FirstSeen = "firstseen",
    /// `dead_reason` of the metadata.
    DeadReason = "deadreason",
    /// `dead_attempts` of the metadata.
    DeadAttempts = "deadattempts",
    /// `dead_source` of the metadata.
    DeadSource = "deadsource",
    /// `dead_time` of the metadata.
    DeadTime = "deadtime",
    /// All extra metadata as one JSON object.
    Meta = "pubsubmeta",
    /// `true` for a tombstone.
    Tombstone = "pubsubtombstone",
}

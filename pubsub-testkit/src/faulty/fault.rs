//! The list of faults.

/// One way of being wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The first event that reaches a subscription is never handed out, and counts as settled.
    LoseMessage,
    /// Acknowledgements never reach the broker.
    DropAck,
    /// What was acknowledged is delivered again.
    RedeliverAcked,
    /// Every event is handed out twice.
    Duplicate,
    /// Two events in a row change places.
    Reorder,
    /// A byte of each payload is changed.
    CorruptPayload,
    /// The caller's metadata is lost.
    DropHeaders,
    /// A nack counts as an acknowledgement.
    IgnoreNack,
    /// A nack brings the event back at once, whatever delay it asked for.
    NackDelayIgnored,
    /// Each delivery says that it is the first.
    AttemptStuck,
    /// The first event of each channel is confirmed, but never sent.
    PublishUnconfirmedSuccess,
    /// A subscription also gets the events of other channels.
    CrossTalk,
    /// The limit of unsettled deliveries is not kept.
    IgnorePrefetch,
    /// Closing acknowledges what was buffered or in hand.
    CloseLosesBuffer,
    /// Closing never ends.
    HangsOnClose,
    /// What is not supported is accepted and ignored.
    SilentUnsupported,
    /// Positions and start positions are off by one.
    WrongPosition,
    /// Scheduled events arrive at once.
    EarlyDelivery,
    /// A delivery dropped unsettled counts as acknowledged.
    DropAcks,
    /// A reject is a nack.
    RejectRequeues,
    /// Settling one delivery settles all earlier ones.
    CumulativeAck,
    /// Leases never end.
    LeaseNeverEnds,
    /// Leases end although they are extended.
    ExtendIgnored,
    /// Tombstones become empty payloads.
    TombstoneIsEmpty,
    /// A fresh group starts at the end.
    NoBacklog,
    /// Every member of a group gets everything.
    GroupIsBroadcast,
    /// Wildcards match only one name.
    WildcardIsExact,
    /// Errors of a closed adapter are successes.
    ClosedAccepts,
    /// The content type is lost.
    DropContentType,
    /// The key is lost.
    DropKey,
    /// Publishing keeps the caller waiting for ever.
    PublishHangs,
    /// A batch is stopped at its first item, and the rest reported as sent.
    BatchTruncated,
    /// The adapter reports itself as up when it is closed.
    HealthLies,
    /// The lease is that of the event's creation, not of its delivery.
    LeaseFromCreation,
    /// An event is delivered although its time to live is over.
    TtlIgnored,
    /// A new subscription starts with the last event published before it, whatever it asked for.
    ReplaysOld,
    /// Worlds are not kept apart.
    SharedWorlds,
    /// What is larger than the adapter's limit is confirmed and dropped.
    OversizeConfirmed,
    /// All groups are one.
    GroupsMerged,
    /// Deleting a group reports success and deletes nothing.
    GroupKept,
    /// A deleted group is there again at once, with everything that the channel has left.
    GroupReturns,
    /// Seeking reports success and moves nothing.
    SeekIgnored,
    /// A subscription hands out nothing of other channels than that of its first event.
    QuietStarves,
    /// Nobody is told of gaps.
    GapsSwallowed,
    /// Slow broadcasts are treated by another policy than was asked for.
    SlowIgnored,
    /// An inbox has an address that leads nowhere.
    InboxDeaf,
    /// The end of one subscription is the end of all.
    DropStopsSiblings,
    /// Closing leaves a task behind.
    LeaksTask,
    /// Channels that nobody declared are made in silence.
    StrictIgnored,
    /// In a batch, each event gets the metadata of its neighbour.
    HeadersShifted,
    /// A receive that is given up takes its event along.
    CancelLoses,
    /// A subscription whose opening is given up takes events nevertheless.
    CancelLeavesMember,
    /// Channels are declared without their order.
    OrderForgotten,
    /// Channels are declared without their retention.
    RetentionIgnored,
    /// Channels are declared without their dedup window.
    DedupIgnored,
    /// What was buffered and never handed out counts as acknowledged when its subscription ends.
    ReleaseLoses,
}

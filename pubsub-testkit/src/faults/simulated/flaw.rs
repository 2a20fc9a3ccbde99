//! The list of flaws.

use crate::faulty::Fault;

/// One way in which an adapter deals wrongly with a broker's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flaw {
    /// It has a fault that shows without any failure of the broker as well.
    Always(Fault),
    /// What is published first after the broker's return is confirmed and dropped.
    LosesOnReturn,
    /// Subscriptions stay silent after the broker's return.
    NeverRecovers,
    /// Each event comes several times after the broker's return.
    RepeatsAfterReturn,
    /// What is published while the broker is away, or full, is confirmed and dropped.
    ConfirmsInOutage,
    /// What is published where nothing holds it is confirmed and dropped.
    ConfirmsNowhere,
    /// What is published while the broker is away waits for ever.
    HangsInOutage,
    /// Closing waits for the broker.
    CloseHangsInOutage,
    /// It says that it is ready whatever befalls it.
    AlwaysReady,
    /// What a dead consumer had in hand never comes back.
    KeepsDead,
    /// Acknowledgements of dead leases are confirmed.
    StaleAccepted,
    /// Leases are not renewed while a handler works.
    LeaseNotRenewed,
    /// All that waits on the broker is taken into memory.
    BuffersAll,
    /// Nobody is told of lost data.
    GapSwallowed,
    /// Subscriptions do not say that they are being restored.
    SilentRecovery,
    /// The prefetch is without limit after a recovery.
    PrefetchForgotten,
    /// The subscription from before the recovery lives on, and nobody reads it.
    Zombie,
    /// Starting waits for the broker, whatever it was told.
    StartWaits,
    /// An adapter that started without its broker never connects.
    StartNeverHeals,
    /// Bad credentials are tried again and again.
    RetriesBadCredentials,
    /// A broadcast goes on where the channel ends, not where it was.
    ForgetsPlace,
    /// Two events of one key change places.
    Reorders,
}

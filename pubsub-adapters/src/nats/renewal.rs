//! Renewing leases while something else is waited for.

use tokio::time::sleep;

use super::settler::{GroupSub, renew};

/// Renews a subscription's leases until `work` is done: a server that is slow with one answer may take the others in time.
pub(super) async fn renewing(sub: &GroupSub, work: impl Future<Output = ()>) {
    tokio::pin!(work);
    loop {
        tokio::select! {
            () = &mut work => return,
            () = sleep(sub.period()) => renew(sub).await,
        }
    }
}

//! Tickets that wait until every durable group has settled their messages.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{Notify, oneshot};

use super::group::Group;

/// The publishers of a channel that wait for settlement.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    count: AtomicUsize,
    waiting: Mutex<Vec<Waiting>>,
    idle: Notify,
}

#[derive(Debug)]
struct Waiting {
    seqs: Vec<u64>,
    groups: Vec<Arc<Group>>,
    done: oneshot::Sender<()>,
}

impl Confirms {
    /// Resolves when these groups have settled these messages.
    pub(super) fn wait(&self, seqs: Vec<u64>, groups: Vec<Arc<Group>>) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(Waiting { seqs, groups, done });
        self.count.store(waiting.len(), Ordering::SeqCst);
        drop(waiting);
        self.check();
        receiver
    }

    /// Asked after each settlement; costs one load while nobody waits.
    pub(super) fn check(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut *waiting);
        for mut entry in all {
            let Waiting { seqs, groups, .. } = &mut entry;
            seqs.retain(|seq| !groups.iter().all(|group| group.is_settled(*seq)));
            if seqs.is_empty() {
                let _ = entry.done.send(()); // a ticket that was dropped is nobody's loss
            } else {
                // Kept although the ticket may be dropped: a flush waits for it all the same. All that is in here is
                // unsettled, so the channel's capacity bounds it.
                waiting.push(entry);
            }
        }
        self.count.store(waiting.len(), Ordering::SeqCst);
        if waiting.is_empty() {
            self.idle.notify_waiters();
        }
    }

    /// Waits until nobody waits.
    pub(super) async fn flush(&self) {
        loop {
            let notified = self.idle.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            self.check();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }
}

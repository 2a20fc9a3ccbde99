//! `MemoryIdempotency`: what was done, remembered within the process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use pubsub_core::{
    Error, ErrorKind, Result,
    driver::async_trait,
    store::{ActionId, Claim, Idempotency, Permit},
};
use sha2::{Digest, Sha256};

/// Remembers actions for a window of time, within this process and up to a number. Nodes do not know of each other's
/// actions: who runs several takes a store in a database.
#[derive(Debug)]
pub struct MemoryIdempotency {
    window: Duration,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    actions: HashMap<ActionId, Entry>,
    /// Done actions in the order in which they are forgotten.
    done: VecDeque<(Instant, ActionId)>,
    permits: u64,
}

#[derive(Debug)]
struct Entry {
    input: [u8; 32],
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Running { owner: String, until: Instant },
    Done { answer: Bytes, until: Instant },
}

impl MemoryIdempotency {
    /// Remembers up to 100,000 actions for `window` after they were done.
    pub fn new(window: Duration) -> Self {
        Self { window, capacity: 100_000, state: Mutex::default() }
    }

    /// Sets how many actions are remembered. When there are more, the oldest done ones are forgotten early; while that many
    /// are underway, no other is begun.
    #[must_use]
    pub fn capacity(mut self, actions: usize) -> Self {
        self.capacity = actions.max(1);
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could come from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets what is over, and the oldest beyond `capacity`.
    fn clean(&mut self, now: Instant, capacity: usize) {
        while let Some((until, _)) = self.done.front() {
            if *until > now && self.actions.len() < capacity {
                return;
            }
            let Some((until, action)) = self.done.pop_front() else { return };
            // It may have been forgotten, and be underway again.
            let same = |entry: &Entry| matches!(entry.stage, Stage::Done { until: known, .. } if known == until);
            if self.actions.get(&action).is_some_and(same) {
                self.actions.remove(&action);
            }
        }
    }

    fn running(&mut self, permit: &Permit) -> Result<&mut Entry> {
        let entry = self.actions.get_mut(permit.action());
        let own = |entry: &&mut Entry| matches!(&entry.stage, Stage::Running { owner, .. } if owner == permit.owner());
        entry.filter(own).ok_or_else(|| {
            let text = "the claim ran out, and the action was given to somebody else";
            Error::new(ErrorKind::Conflict, "complete action", text)
        })
    }
}

#[async_trait]
impl Idempotency for MemoryIdempotency {
    async fn claim(&self, action: &ActionId, input: &[u8], lease: Duration) -> Result<Claim> {
        let input: [u8; 32] = Sha256::digest(input).into();
        let now = Instant::now();
        let mut state = self.state();
        state.clean(now, self.capacity);
        if let Some(entry) = state.actions.get(action) {
            let over = match &entry.stage {
                Stage::Running { until, .. } | Stage::Done { until, .. } => *until <= now,
            };
            if !over && entry.input != input {
                let text = "the same id was used with another payload";
                return Err(Error::new(ErrorKind::Conflict, "claim action", text));
            }
            match &entry.stage {
                Stage::Done { answer, .. } if !over => return Ok(Claim::Answered(answer.clone())),
                Stage::Running { .. } if !over => return Ok(Claim::Running),
                _ => {}
            }
        } else if state.actions.len() >= self.capacity {
            let text = format!("{} actions are underway already", self.capacity);
            return Err(Error::new(ErrorKind::Backpressure, "claim action", text));
        }
        state.permits += 1;
        let owner = state.permits.to_string();
        let stage = Stage::Running { owner: owner.clone(), until: now + lease };
        state.actions.insert(action.clone(), Entry { input, stage });
        Ok(Claim::Granted(Permit::new(action.clone(), owner)))
    }

    async fn renew(&self, permit: &Permit, lease: Duration) -> Result<()> {
        let mut state = self.state();
        let owner = permit.owner().to_owned();
        state.running(permit)?.stage = Stage::Running { owner, until: Instant::now() + lease };
        Ok(())
    }

    async fn complete(&self, permit: &Permit, answer: Bytes) -> Result<()> {
        let until = Instant::now() + self.window;
        let mut state = self.state();
        state.running(permit)?.stage = Stage::Done { answer, until };
        state.done.push_back((until, permit.action().clone()));
        Ok(())
    }

    async fn abandon(&self, permit: &Permit) -> Result<()> {
        let mut state = self.state();
        if state.running(permit).is_ok() {
            state.actions.remove(permit.action());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::{EventId, EventName};

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn action(id: &str) -> ActionId {
        ActionId::new("u", EventName::parse("a:b").unwrap(), EventId::parse(id).unwrap()).unwrap()
    }

    async fn granted(store: &MemoryIdempotency, id: &str) -> Permit {
        match store.claim(&action(id), b"x", LEASE).await.unwrap() {
            Claim::Granted(permit) => permit,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn done_once_and_answered_until_the_window_is_over() {
        let store = MemoryIdempotency::new(Duration::from_millis(20));
        let permit = granted(&store, "1").await;
        assert_eq!(store.claim(&action("1"), b"x", LEASE).await.unwrap(), Claim::Running);
        assert_eq!(store.claim(&action("1"), b"y", LEASE).await.unwrap_err().kind(), ErrorKind::Conflict);
        store.complete(&permit, Bytes::from_static(b"done")).await.unwrap();
        let again = store.claim(&action("1"), b"x", LEASE).await.unwrap();
        assert_eq!(again, Claim::Answered(Bytes::from_static(b"done")));
        while store.claim(&action("1"), b"x", LEASE).await.unwrap() == again {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(store.state().actions.len(), 1, "claimed anew");
    }

    #[tokio::test]
    async fn what_failed_or_died_is_given_to_the_next() {
        let store = MemoryIdempotency::new(LEASE);
        let first = granted(&store, "1").await;
        store.abandon(&first).await.unwrap();
        let second = granted(&store, "1").await;
        store.renew(&second, Duration::ZERO).await.unwrap();
        let third = granted(&store, "1").await;
        let late = store.complete(&second, Bytes::new()).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Conflict);
        store.abandon(&second).await.unwrap();
        store.complete(&third, Bytes::new()).await.unwrap();
    }

    #[tokio::test]
    async fn the_oldest_are_forgotten_beyond_the_capacity() {
        let store = MemoryIdempotency::new(LEASE).capacity(2);
        for id in ["1", "2", "3"] {
            let permit = granted(&store, id).await;
            store.complete(&permit, Bytes::new()).await.unwrap();
        }
        let known = |id| store.state().actions.contains_key(&action(id));
        assert_eq!((known("1"), known("2"), known("3")), (false, true, true));
        let busy = MemoryIdempotency::new(LEASE).capacity(1);
        granted(&busy, "1").await;
        assert_eq!(busy.claim(&action("2"), b"x", LEASE).await.unwrap_err().kind(), ErrorKind::Backpressure);
    }
}

//! `Idempotency`: an action with an id is done once, and answers the same however often it is asked for.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Clock, Error, ErrorKind, EventId, EventName, Result};

/// The longest scope, in bytes.
const MAX_SCOPE_LEN: usize = 256;

/// Which action is asked for: by whom, which, and under which id of the caller's choice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActionId {
    scope: String,
    name: EventName,
    id: EventId,
}

impl ActionId {
    /// An action by its event's name and the caller's id. `scope` keeps callers apart: the user or tenant, or nothing.
    ///
    /// # Errors
    /// `Invalid` if the scope is longer than 256 bytes or holds a NUL.
    pub fn new(scope: impl Into<String>, name: EventName, id: EventId) -> Result<Self> {
        let scope = scope.into();
        if scope.len() > MAX_SCOPE_LEN || scope.contains('\0') {
            let text = format!("field `scope` must have at most {MAX_SCOPE_LEN} bytes, and no NUL");
            return Err(Error::new(ErrorKind::Invalid, "name action", text));
        }
        Ok(Self { scope, name, id })
    }

    /// By whom.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Which action.
    pub fn name(&self) -> &EventName {
        &self.name
    }

    /// The caller's id.
    pub fn id(&self) -> &EventId {
        &self.id
    }
}

/// The right, and the duty, to do an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    action: ActionId,
    owner: String,
}

impl Permit {
    /// A permit; `owner` differs from that of every other permit for the action.
    pub fn new(action: ActionId, owner: impl Into<String>) -> Self {
        Self { action, owner: owner.into() }
    }

    /// For which action.
    pub fn action(&self) -> &ActionId {
        &self.action
    }

    /// Which of the permits that were given for it.
    pub fn owner(&self) -> &str {
        &self.owner
    }
}

/// What a claim finds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// Nobody has done it: do it, then [`complete`](Idempotency::complete) or [`abandon`](Idempotency::abandon) it.
    Granted(Permit),
    /// It was done, and this was the answer.
    Answered(Bytes),
    /// Somebody does it right now.
    Running,
}

/// Remembers which actions were done, with their answers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an idempotency store",
    label = "does not implement `Idempotency`",
    note = "`pubsub_sql::SqlIdempotency` is one, on SQLite and PostgreSQL"
)]
#[async_trait]
pub trait Idempotency: Send + Sync + fmt::Debug {
    /// Claims an action for `lease` from now. A permit whose lease ran out is given to the next who claims: whoever had it
    /// is taken for dead.
    ///
    /// # Errors
    /// `Conflict` if the action was claimed with another `input` before; `Unavailable` and others from the store.
    async fn claim(&self, action: &ActionId, input: &[u8], lease: Duration) -> Result<Claim>;

    /// Lets the lease run for `lease` from now.
    ///
    /// # Errors
    /// `Conflict` if the permit was given to somebody else.
    async fn renew(&self, permit: &Permit, lease: Duration) -> Result<()>;

    /// The action is done, and `answer` is what everybody gets who asks again.
    ///
    /// # Errors
    /// `Conflict` if the permit was given to somebody else, whose answer counts; `Unavailable` and others from the store.
    async fn complete(&self, permit: &Permit, answer: Bytes) -> Result<()>;

    /// The action failed, and may be tried again by anybody. Nothing happens if the permit was given to somebody else.
    ///
    /// # Errors
    /// `Unavailable` and others from the store; the lease then runs out.
    async fn abandon(&self, permit: &Permit) -> Result<()>;
}

/// An answer, and whether the action had been done before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// What the action answered.
    pub answer: Bytes,
    /// Whether it was done for an earlier call.
    pub duplicate: bool,
}

/// Does actions once over any [`Idempotency`] store, and has those wait who ask while one is running.
///
/// One effect is promised as long as the process that runs the action lives and reaches the store. After a crash the
/// lease runs out and the next caller runs the action again, although its effect may have happened. An action that
/// writes to the same database avoids that by claiming within its transaction.
#[derive(Clone, Copy, Debug)]
pub struct Once<'a> {
    store: &'a dyn Idempotency,
    lease: Duration,
    wait: Duration,
}

impl<'a> Once<'a> {
    /// Leases of 30 s, which are renewed while the action runs, and up to 10 s of waiting for somebody else's.
    pub fn new(store: &'a dyn Idempotency) -> Self {
        Self { store, lease: Duration::from_secs(30), wait: Duration::from_secs(10) }
    }

    /// Sets how long the action of a process that died stays claimed.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how long to wait for the answer of an action that somebody else runs.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Does the action unless it was done, and gives its answer. A failure is not remembered.
    ///
    /// Cancel safety: if this is dropped while the action runs, the action stays claimed until its lease is over.
    ///
    /// # Errors
    /// The action's own; `Conflict` for another `input` under the same id, or if the lease was lost meanwhile;
    /// `Timeout` if somebody else's action did not end in time; what the store says.
    pub async fn run<F>(&self, action: &ActionId, input: &[u8], work: F) -> Result<Outcome>
    where
        F: Future<Output = Result<Bytes>>,
    {
        self.run_with(action, input, |_| async { work.await.map(|answer| (answer, false)) }).await
    }

    /// As [`Once::run`], for work that may complete its permit itself, in a transaction with its effect: it says so beside the
    /// answer.
    ///
    /// # Errors
    /// As [`Once::run`].
    pub async fn run_with<F, W>(&self, action: &ActionId, input: &[u8], work: W) -> Result<Outcome>
    where
        W: FnOnce(Permit) -> F,
        F: Future<Output = Result<(Bytes, bool)>>,
    {
        let clock = Clock::system();
        clock.check_timers("run action")?;
        let started = clock.mark();
        let mut pause = Duration::from_millis(5);
        let permit = loop {
            match self.store.claim(action, input, self.lease).await? {
                Claim::Granted(permit) => break permit,
                Claim::Answered(answer) => return Ok(Outcome { answer, duplicate: true }),
                Claim::Running if clock.elapsed(started) >= self.wait => {
                    let text = format!("another call runs the action and did not end within {:?}", self.wait);
                    return Err(Error::new(ErrorKind::Timeout, "run action", text));
                }
                Claim::Running => {
                    clock.sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(200));
                }
            }
        };
        match self.renewing(&permit, work(permit.clone())).await {
            Ok((answer, true)) => Ok(Outcome { answer, duplicate: false }),
            Ok((answer, false)) => {
                self.store.complete(&permit, answer.clone()).await.map_err(Error::perhaps_applied)?;
                Ok(Outcome { answer, duplicate: false })
            }
            Err(failure) => {
                // The action's own failure is what the caller needs; a claim that stays runs out.
                self.store.abandon(&permit).await.ok();
                Err(failure)
            }
        }
    }

    /// Runs `work`, and keeps the lease meanwhile.
    async fn renewing<T>(&self, permit: &Permit, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = pin!(work);
        loop {
            let mut due = Clock::system().sleep(self.lease / 3);
            let done = poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => due.as_mut().poll(cx).map(|()| None),
            });
            if let Some(done) = done.await {
                return done;
            }
            // A store that cannot be reached now may be there when the action ends, which then tells.
            if let Err(error) = self.store.renew(permit, self.lease).await
                && error.kind() == ErrorKind::Conflict
            {
                return Err(error.perhaps_applied());
            }
        }
    }
}

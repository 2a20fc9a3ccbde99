//! The task that writes: what piled up goes out in one pipeline, with a few pipelines on their way at a time.

use std::sync::Arc;

use ::redis::{Cmd, RedisError, RedisResult, Value};
use futures_util::{StreamExt, future::BoxFuture, poll, stream::FuturesUnordered};
use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{Receipt, Receipts},
};
use smallvec::SmallVec;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::Instant,
};

use super::{
    connection::{Hub, Link},
    error::{from_redis, is_final, is_unknown_script, unexpected},
    wire,
};
use crate::common::ledger::OpenTickets;

/// How many pipelines are on their way at a time.
const PIPELINES: usize = 4;
/// How many jobs one pipeline takes.
const JOBS: usize = 256;

/// What an answer means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// The id of an entry in this shard of so many.
    Added((usize, usize)),
    /// Whether it was known, and an id in this shard of so many.
    Scripted((usize, usize)),
    /// How many heard it.
    Published,
    /// Nothing that anybody waits for.
    Mark,
}

/// One command.
pub(super) struct Item {
    /// Which event of the job.
    pub(super) index: usize,
    pub(super) cmd: Cmd,
    pub(super) kind: Kind,
    /// Whether it has one effect however often it is sent.
    pub(super) repeatable: bool,
}

/// What was enqueued together.
pub(super) struct Job {
    pub(super) items: SmallVec<[Item; 1]>,
    pub(super) results: SmallVec<[Option<Result<Receipt>>; 1]>,
    pub(super) done: oneshot::Sender<Receipts>,
    pub(super) deadline: Instant,
    pub(super) open: OpenTickets,
    /// The place in the order in which jobs came; the writer gives it.
    pub(super) number: u64,
    pub(super) _room: OwnedSemaphorePermit,
}

impl Job {
    /// Tells the outcome: of each event its own, and this error of those that have none.
    fn end(self, error: impl Fn() -> Error) {
        let receipts: Receipts =
            self.results.into_iter().map(|result| result.unwrap_or_else(|| Err(error()))).collect();
        if let Some(error) = receipts.iter().find_map(|receipt| receipt.as_ref().err()) {
            self.open.fail(error);
        }
        // Nobody has to wait for it.
        let _ = self.done.send(receipts);
        drop(self.open);
    }

    fn is_over(&self) -> bool {
        self.items.is_empty()
    }
}

/// Pipelines on their way, which give back what is to be sent again.
type Flying = FuturesUnordered<BoxFuture<'static, Vec<Job>>>;

/// Writes until the adapter is closed.
pub(super) async fn write(hub: Arc<Hub>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    tokio::select! {
        biased;
        () = hub.token.cancelled() => {}
        () = write_all(&hub, &mut jobs) => {}
    }
}

async fn write_all(hub: &Hub, jobs: &mut mpsc::UnboundedReceiver<Job>) {
    let mut flying = Flying::new();
    let mut batch = Vec::with_capacity(JOBS);
    let mut number = 0;
    let mut last: Option<Link> = None;
    loop {
        // Whether the batch goes out again.
        let mut again = !batch.is_empty();
        if !again {
            let room = flying.len() < PIPELINES;
            tokio::select! {
                biased;
                Some(back) = flying.next(), if !flying.is_empty() => {
                    batch = back;
                    again = true;
                }
                count = jobs.recv_many(&mut batch, JOBS), if room => {
                    if count == 0 {
                        return;
                    }
                    for job in &mut batch {
                        job.number = number;
                        number += 1;
                    }
                }
            }
        }
        end_late(&mut batch);
        if batch.is_empty() {
            continue;
        }
        let Some(link) = connected(hub, &mut batch, &mut flying).await else { continue };
        if again || last.as_ref().is_some_and(Link::is_dead) {
            // What else was on its way may have to go out again too, and before what came later.
            while let Some(back) = flying.next().await {
                batch.extend(back);
            }
        }
        last = Some(link.clone());
        // Pipelines come back in any order.
        batch.sort_unstable_by_key(|job| job.number);
        let mut flight: BoxFuture<'static, Vec<Job>> = Box::pin(fly(link, std::mem::take(&mut batch)));
        // The first poll puts it on the connection's queue: in the order of the jobs.
        match poll!(&mut flight) {
            std::task::Poll::Ready(back) => batch = back,
            std::task::Poll::Pending => flying.push(flight),
        }
    }
}

/// Nobody waits any more for jobs whose time is over: they are not sent.
fn end_late(batch: &mut Vec<Job>) {
    let now = Instant::now();
    if !batch.iter().any(|job| job.deadline <= now) {
        return;
    }
    let (late, left): (Vec<_>, Vec<_>) = std::mem::take(batch).into_iter().partition(|job| job.deadline <= now);
    *batch = left;
    let text = "the server has not taken it in time";
    late.into_iter().for_each(|job| job.end(|| Error::new(ErrorKind::Timeout, "publish", text)));
}

/// The connection, once there is one. Jobs whose time is over meanwhile are told so; `None` if none is left.
async fn connected(hub: &Hub, batch: &mut Vec<Job>, flying: &mut Flying) -> Option<Link> {
    loop {
        if let Some(link) = hub.link() {
            return Some(link);
        }
        let deadline = batch.iter().map(|job| job.deadline).min()?;
        tokio::select! {
            biased;
            // What was on its way before goes out with it, in order.
            Some(back) = flying.next(), if !flying.is_empty() => batch.extend(back),
            link = hub.wait("publish", deadline) => match link {
                Ok(link) => return Some(link),
                Err(error) => {
                    let now = Instant::now();
                    let all = error.kind() == ErrorKind::Closed || is_final(&error);
                    let (over, left): (Vec<_>, Vec<_>) =
                        std::mem::take(batch).into_iter().partition(|job| all || job.deadline <= now);
                    *batch = left;
                    over.into_iter().for_each(|job| job.end(|| error.clone()));
                }
            },
        }
    }
}

/// Sends a batch and tells its outcome. Gives back the jobs that are to be sent again.
async fn fly(link: Link, mut jobs: Vec<Job>) -> Vec<Job> {
    let mut cmds = Vec::with_capacity(jobs.len());
    for item in jobs.iter_mut().flat_map(|job| &mut job.items) {
        let keep = item.repeatable || matches!(item.kind, Kind::Scripted(_));
        cmds.push(if keep { item.cmd.clone() } else { std::mem::take(&mut item.cmd) });
    }
    let answers = link.commands(cmds).await;
    let mut unknown = false;
    match answers {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for job in &mut jobs {
                unknown |= judge(job, &mut answers);
            }
        }
        Err(error) => jobs.iter_mut().for_each(|job| lost(job, &error)),
    }
    if unknown && let Err(error) = link.load_scripts().await {
        jobs.iter_mut().for_each(|job| lost(job, &error));
    }
    let (over, again): (Vec<_>, Vec<_>) = jobs.into_iter().partition(Job::is_over);
    over.into_iter().for_each(|job| job.end(|| unexpected("publish")));
    again
}

/// Takes a job's answers. What is left in it is to be sent again; says whether a script was unknown.
fn judge(job: &mut Job, answers: &mut impl Iterator<Item = RedisResult<Value>>) -> bool {
    let mut unknown = false;
    let results = &mut job.results;
    job.items.retain(|item| match answers.next() {
        Some(Err(error)) if is_unknown_script(&error) && matches!(item.kind, Kind::Scripted(_)) => {
            unknown = true;
            true
        }
        answer => {
            if let Some(result) = results.get_mut(item.index) {
                *result = Some(receipt(item.kind, answer));
            }
            false
        }
    });
    unknown
}

fn receipt(kind: Kind, answer: Option<RedisResult<Value>>) -> Result<Receipt> {
    let value = answer.ok_or_else(|| unexpected("publish"))?.map_err(|error| from_redis("publish", error))?;
    let at = |value: &Value, (shard, shards)| {
        let position = wire::entry_id(value).and_then(|id| wire::position(id, shard, shards));
        position.map_or_else(Receipt::default, Receipt::at)
    };
    let deleted = || Error::new(ErrorKind::NotFound, "publish", "the channel's stream was deleted");
    match kind {
        Kind::Added(_) if value == Value::Nil => Err(deleted()),
        Kind::Added(place) => Ok(at(&value, place)),
        Kind::Published | Kind::Mark => Ok(Receipt::default()),
        Kind::Scripted(place) => match wire::list(value).as_deref() {
            Some([known, id]) if wire::int(known) == Some(1) => Ok(at(id, place).duplicate()),
            Some([known, _]) if wire::int(known) == Some(2) => Err(deleted()),
            Some([_, id]) => Ok(at(id, place)),
            _ => Err(unexpected("publish")),
        },
    }
}

/// The connection broke with a job on its way: what may be repeated is, the rest is perhaps there.
fn lost(job: &mut Job, error: &RedisError) {
    let over = job.deadline <= Instant::now();
    let results = &mut job.results;
    job.items.retain(|item| {
        if item.repeatable && !over {
            return true;
        }
        if let Some(result) = results.get_mut(item.index) {
            let text = "the connection broke before the server confirmed";
            let fault = Error::new(ErrorKind::Unavailable, "publish", text).because(error.clone());
            *result = Some(Err(fault.perhaps_applied()));
        }
        false
    });
}

//! Settling: what became of deliveries is told to the server in batches.

use std::{sync::Arc, time::Duration};

use ::redis::{Cmd, RedisResult, Value, cmd};
use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{AckToken, BoxFuture, Outcome, Settler, stale},
};
use tokio::time::{Instant, timeout};

use super::{
    capabilities::LONGEST,
    connection::PATIENCE,
    error::{breaks, closed, from_redis, is_missing},
    group::{Member, Out},
    scripts, wire,
};

/// How many events one command settles.
const CHUNK: usize = 500;

/// Takes the settlements of a membership.
pub(super) struct GroupSettler(pub(super) Arc<Member>);

impl Settler for GroupSettler {
    fn settle(&self, token: AckToken, outcome: Outcome) -> bool {
        self.is_live(token);
        self.0.desk.settle(token, outcome)
    }

    fn is_live(&self, token: AckToken) -> bool {
        // Once the lease has run out, somebody else may have the event, whether that is known here or not.
        let now = Instant::now();
        match self.0.desk.with(token, |out| self.0.is_held(out, now)) {
            Some(true) => true,
            Some(false) => {
                self.0.expire(token);
                false
            }
            None => false,
        }
    }

    fn confirm(&self, token: AckToken, outcome: Outcome) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.is_live(token);
            tokio::select! {
                told = self.0.desk.confirm(token, outcome) => told,
                () = self.0.hub.token.cancelled() => Err(closed("settle").perhaps_applied()),
            }
        })
    }

    fn extend(&self, token: AckToken, duration: Duration) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if duration > LONGEST {
                let text = format!("field `duration` is longer than the adapter's limit of {LONGEST:?}");
                return Err(Error::new(ErrorKind::Invalid, "extend lease", text));
            }
            self.extend_by(token, duration).await
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            tokio::select! {
                told = self.0.desk.flush() => told,
                () = self.0.hub.token.cancelled() => Err(closed("settle")),
            }
        })
    }
}

impl GroupSettler {
    async fn extend_by(&self, token: AckToken, duration: Duration) -> Result<()> {
        let member = &self.0;
        let gone = || stale("extend lease");
        if !self.is_live(token) {
            return Err(gone());
        }
        let (part, entry) = member.desk.with(token, |out| (out.part, out.entry)).ok_or_else(gone)?;
        let asked = Instant::now();
        let until = asked + duration;
        if !member.parts[part].ordered {
            // Beyond one lease it is renewed from here, so that it is free a lease after this process is gone.
            let idle = member.lease.duration.saturating_sub(duration);
            let mut renew = scripts::RENEW.call(&[member.parts[part].stream()]);
            renew.arg(member.group.as_str()).arg(&member.name).arg(entry.to_string()).arg(idle.as_millis() as u64);
            let answer = member.hub.run("extend lease", &renew, asked + PATIENCE.min(member.lease.duration)).await?;
            if wire::list(answer).is_none_or(|lost| !lost.is_empty()) {
                member.expire(token);
                return Err(gone());
            }
        }
        let set = member.desk.with(token, |out| {
            (out.until, out.extended) = (if member.renews() { out.until.max(until) } else { until }, Some(until));
        });
        member.wake.notify_one();
        set.ok_or_else(gone)
    }
}

/// Tells the server of settlements, until nothing is out any more and all is told.
pub(super) async fn tell(member: Arc<Member>) {
    let token = &member.hub.token;
    loop {
        let batch = tokio::select! {
            biased;
            () = token.cancelled() => break,
            batch = member.desk.next_batch() => batch,
            () = member.done.cancelled() => {
                let rest = member.desk.take_batch();
                if rest.is_empty() {
                    break;
                }
                rest
            }
        };
        let count = batch.len();
        let told = tokio::select! {
            biased;
            () = token.cancelled() => Err(closed("settle").perhaps_applied()),
            told = tell_batch(&member, batch) => told,
        };
        member.desk.told(count, told);
    }
    let rest = member.desk.take_batch();
    if !rest.is_empty() {
        member.desk.told(rest.len(), Err(closed("settle")));
    }
    if !token.is_cancelled() {
        // Who cannot say goodbye is forgotten after a while.
        let _ = timeout(Duration::from_secs(1), leave(&member)).await;
    }
}

/// One batch, again after a lost connection for as long as the leases last: later, others may have the events.
async fn tell_batch(member: &Member, mut batch: Vec<(Out, Outcome)>) -> Result<()> {
    let deadline = Instant::now() + member.lease.duration.min(PATIENCE);
    let count = batch.len();
    let mut tries = 0_u32;
    loop {
        let waited = member.hub.link().is_none();
        let link = member.hub.wait("settle", deadline).await?;
        if waited || tries > 0 {
            let now = Instant::now();
            batch.retain(|(out, _)| out.until > now);
        }
        let cmds = commands(member, &batch);
        tries += 1;
        let answers = timeout(deadline.saturating_duration_since(Instant::now()), link.commands(cmds)).await;
        let text = "the server has not answered in time; the events may come again";
        let answers = answers.map_err(|_| Error::new(ErrorKind::Timeout, "settle", text).perhaps_applied())?;
        match answers.and_then(judged) {
            Ok(unknown) if unknown => {
                link.load_scripts().await.map_err(|error| from_redis("settle", error))?;
            }
            Ok(_) => break,
            Err(error) if breaks(&error) && Instant::now() < deadline => {}
            Err(error) => return Err(from_redis("settle", error)),
        }
    }
    after(member, &batch);
    if batch.len() < count { Err(stale("settle")) } else { Ok(()) }
}

/// Whether a script was unknown. A group that is gone has nothing left to settle.
fn judged(answers: Vec<RedisResult<Value>>) -> RedisResult<bool> {
    let mut unknown = false;
    for answer in answers {
        match answer {
            Err(error) if super::error::is_unknown_script(&error) => unknown = true,
            Err(error) if is_missing(&error) => {}
            answer => drop(answer?),
        }
    }
    Ok(unknown)
}

fn commands(member: &Member, batch: &[(Out, Outcome)]) -> Vec<Cmd> {
    let mut cmds = Vec::new();
    for (index, part) in member.parts.iter().enumerate() {
        let own = || batch.iter().filter(move |(out, _)| out.part == index);
        let acked: Vec<_> = own().filter(|(_, outcome)| matches!(outcome, Outcome::Ack | Outcome::Reject)).collect();
        for chunk in acked.chunks(CHUNK) {
            let mut ack = Cmd::with_capacity(3 + chunk.len(), 64 + 32 * chunk.len());
            ack.arg("XACK").arg(part.stream()).arg(member.group.as_str());
            for (out, _) in chunk {
                ack.arg(out.entry);
            }
            cmds.push(ack);
        }
        let mut forget = cmd("HDEL");
        forget.arg(&part.failed);
        let mut known = false;
        for (out, _) in acked.iter().filter(|(out, _)| out.attempt > 1) {
            forget.arg(out.entry);
            known = true;
        }
        if known {
            cmds.push(forget);
        }
        let given: Vec<_> = own().filter_map(|(out, outcome)| Some((out, given(out, *outcome)?))).collect();
        for chunk in given.chunks(CHUNK) {
            let mut give = scripts::GIVE.call(&[part.stream(), &part.due, &part.failed]);
            give.arg(member.group.as_str()).arg(&member.name);
            for (out, (count, delay)) in chunk {
                give.arg(out.entry).arg(*count).arg(*delay);
            }
            cmds.push(give);
        }
    }
    cmds
}

/// How many deliveries count of what goes back, and its delay in milliseconds or -1.
fn given(out: &Out, outcome: Outcome) -> Option<(u32, i64)> {
    match outcome {
        Outcome::Nack(delay) => Some((out.attempt, i64::try_from(delay.min(LONGEST).as_millis()).unwrap_or(0))),
        // It was never handed out.
        Outcome::Release => Some((out.attempt.saturating_sub(1), -1)),
        _ => None,
    }
}

/// Sees to it that what went back comes again.
fn after(member: &Member, batch: &[(Out, Outcome)]) {
    if member.is_leaving() {
        return;
    }
    let now = Instant::now();
    for (out, outcome) in batch {
        match outcome {
            Outcome::Nack(delay) => member.note_due(now + *delay + Duration::from_millis(1)),
            Outcome::Release if member.parts[out.part].ordered => member.expired(out),
            Outcome::Release => member.note_due(now),
            _ => {}
        }
    }
}

/// Gives up membership and the shards that go with it.
async fn leave(member: &Member) -> RedisResult<()> {
    let Some(link) = member.hub.link() else { return Ok(()) };
    let mut channels: Vec<_> = member.parts.iter().map(|part| part.channel.clone()).collect();
    channels.dedup_by(|a, b| a.name == b.name);
    for channel in channels {
        let members = channel.keys.members(&member.group);
        let mut keys = vec![members.as_str()];
        keys.extend(channel.streams.iter().map(String::as_str));
        let mut leave = scripts::LEAVE.call(&keys);
        leave.arg(member.group.as_str()).arg(&member.name);
        if channel.is_ordered() {
            let locks: Vec<_> =
                (0..channel.streams.len()).map(|shard| channel.keys.lock(&member.group, shard)).collect();
            let mut keys = vec![members.as_str()];
            keys.extend(locks.iter().map(String::as_str));
            let mut share = scripts::SHARE.call(&keys);
            share.arg(&member.name).arg(1).arg(1).arg(0).arg(member.hub.next_member());
            for _ in &locks {
                share.arg("d");
            }
            share.arg("leave");
            link.command(&share).await?;
        }
        link.command(&leave).await?;
    }
    Ok(())
}

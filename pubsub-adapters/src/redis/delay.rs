//! Events for later: a task of every process moves what is due to its stream, by the server's clock, and removes what is
//! too old.

use std::{sync::Arc, time::Duration};

use ::redis::{ErrorKind, RedisError, RedisResult, Value, cmd};
use pubsub_core::ChannelName;
use tokio::time::{Instant, sleep};

use super::{
    connection::{Hub, Link},
    error::{breaks, is_unknown_script},
    scripts, wire,
};

/// How often the set of channels with events for later is read, and what is too old is removed.
const LOOK: Duration = Duration::from_millis(500);
const SWEEP: Duration = Duration::from_secs(10);
/// How many events one call moves.
const MOVES: usize = 256;

/// Moves events until the adapter is closed.
pub(super) async fn move_due(hub: Arc<Hub>) {
    let mut swept = Instant::now();
    let (mut moving, mut removing) = (None, None);
    loop {
        let found = tokio::select! {
            () = hub.token.cancelled() => return,
            found = due(&hub) => found,
        };
        let pause = match found {
            Ok((soonest, refused)) => {
                moving = refused;
                soonest.clamp(Duration::from_millis(5), LOOK)
            }
            Err(error) => {
                refused(&mut moving, &error, || "the channels with events for later cannot be read".to_owned());
                LOOK
            }
        };
        if swept.elapsed() > SWEEP {
            swept = Instant::now();
            tokio::select! {
                () = hub.token.cancelled() => return,
                found = sweep(&hub) => removing = found,
            }
        }
        hub.set_trouble(moving.clone().or_else(|| removing.clone()));
        tokio::select! {
            () = hub.token.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Keeps what the server refuses, which waiting for a connection does not mend. The first one is kept.
fn refused(trouble: &mut Option<String>, error: &RedisError, what: impl FnOnce() -> String) {
    if trouble.is_none() && !breaks(error) {
        *trouble = Some(format!("{}: {error}", what()));
    }
}

/// Moves what is due on every channel, and says in what time to look again, and what was refused.
async fn due(hub: &Hub) -> RedisResult<(Duration, Option<String>)> {
    let (mut soonest, mut trouble) = (LOOK, None);
    let Some(link) = hub.link() else { return Ok((soonest, trouble)) };
    let mut read = cmd("SMEMBERS");
    read.arg(hub.names.scheduled());
    let names = wire::list(link.command(&read).await?).unwrap_or_default().into_iter().filter_map(wire::text);
    for name in names.filter_map(|name| ChannelName::parse_internal(std::str::from_utf8(&name).ok()?).ok()) {
        match move_channel(hub, &link, &name).await {
            Ok(next) => soonest = soonest.min(next.unwrap_or(LOOK)),
            // The events of other channels are moved all the same.
            Err(error) => refused(&mut trouble, &error, || format!("events for later of `{name}` cannot be moved")),
        }
    }
    Ok((soonest, trouble))
}

/// Moves what is due, and takes the mark away when nothing is left; else says in what time to look again.
async fn move_channel(hub: &Hub, link: &Link, name: &ChannelName) -> RedisResult<Option<Duration>> {
    let left = move_once(hub, link, name).await?;
    if left.is_some() {
        return Ok(left);
    }
    // Whoever schedules an event meanwhile sets the mark before and after.
    mark(hub, link, name, "SREM").await?;
    let left = move_once(hub, link, name).await?;
    if left.is_some() {
        mark(hub, link, name, "SADD").await?;
    }
    Ok(left)
}

/// Moves what is due; if something is left, in what time the next one is.
async fn move_once(hub: &Hub, link: &Link, name: &ChannelName) -> RedisResult<Option<Duration>> {
    let keys = hub.names.keys(name);
    let mut script = scripts::MOVE.call(&[&keys.later(), &keys.later_events(), keys.base()]);
    script.arg(MOVES);
    let (left, next) = moved(link.command(&script).await?)?;
    Ok((left > 0).then_some(next))
}

/// Whoever took the mark of a channel away may have died before he could look again: then it is set here.
async fn mark_again(hub: &Hub, link: &Link, name: &ChannelName) -> RedisResult<()> {
    match move_once(hub, link, name).await? {
        Some(_) => mark(hub, link, name, "SADD").await,
        None => Ok(()),
    }
}

/// Sets the mark of a channel with events for later, or takes it away.
async fn mark(hub: &Hub, link: &Link, name: &ChannelName, command: &str) -> RedisResult<()> {
    let mut mark = cmd(command);
    mark.arg(hub.names.scheduled()).arg(name.as_str());
    link.command(&mark).await.map(drop)
}

fn moved(answer: Value) -> RedisResult<(i64, Duration)> {
    let parsed = || {
        let parts = wire::list(answer)?;
        let [left, next] = parts.as_slice() else { return None };
        Some((wire::int(left)?, Duration::from_millis(u64::try_from(wire::int(next)?).unwrap_or(0))))
    };
    parsed().ok_or_else(|| (ErrorKind::UnexpectedReturnType, "the answer is not of the expected shape").into())
}

/// Removes what is too old from channels on which nobody publishes, and looks for events for later without a mark. Whatever fails is tried again next time; what was
/// refused is told.
async fn sweep(hub: &Hub) -> Option<String> {
    let mut trouble = None;
    let link = hub.link()?;
    for channel in hub.policies.all().into_iter().filter_map(|(name, _)| hub.known(&name)) {
        if let Err(error) = mark_again(hub, &link, &channel.name).await {
            refused(&mut trouble, &error, || format!("events for later of `{}` cannot be moved", channel.name));
        }
        let cmds = channel.sweep(hub);
        if cmds.is_empty() {
            continue;
        }
        let answers = link.commands(cmds).await;
        let errors = match answers {
            Ok(answers) => answers.into_iter().filter_map(Result::err).collect(),
            Err(error) => vec![error],
        };
        for error in errors.iter().filter(|error| !is_unknown_script(error)) {
            refused(&mut trouble, error, || format!("what `{}` no longer keeps cannot be removed", channel.name));
        }
    }
    trouble
}

//! Events for later: a task of every process moves what is due to its stream, by the server's clock.

use std::{sync::Arc, time::Duration};

use ::redis::cmd;
use pubsub_core::ChannelName;
use tokio::time::{Instant, sleep};

use super::{connection::Hub, scripts, wire};

/// How often the set of channels with events for later is read, and what is too old is removed.
const LOOK: Duration = Duration::from_millis(500);
const SWEEP: Duration = Duration::from_secs(10);
/// How many events one call moves.
const MOVES: usize = 256;

/// Moves events until the adapter is closed.
pub(super) async fn move_due(hub: Arc<Hub>) {
    let mut swept = Instant::now();
    loop {
        let found = tokio::select! {
            () = hub.token.cancelled() => return,
            found = due(&hub) => found,
        };
        let pause = found.unwrap_or(LOOK).clamp(Duration::from_millis(5), LOOK);
        if swept.elapsed() > SWEEP {
            swept = Instant::now();
            sweep(&hub).await;
        }
        tokio::select! {
            () = hub.token.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Moves what is due on every channel, and says in what time to look again.
async fn due(hub: &Hub) -> Option<Duration> {
    let mut read = cmd("SMEMBERS");
    read.arg(hub.names.scheduled());
    let names = wire::list(hub.link()?.command(&read).await.ok()?)?;
    let names = names.into_iter().filter_map(wire::text);
    let mut soonest = LOOK;
    for name in names.filter_map(|name| ChannelName::parse_internal(std::str::from_utf8(&name).ok()?).ok()) {
        let next = move_channel(hub, &name).await;
        soonest = soonest.min(next.unwrap_or(LOOK));
    }
    Some(soonest)
}

async fn move_channel(hub: &Hub, name: &ChannelName) -> Option<Duration> {
    let keys = hub.names.keys(name);
    let mut script = scripts::MOVE.call(&[&keys.later(), &keys.later_events(), keys.base()]);
    script.arg(MOVES);
    let link = hub.link()?;
    let (left, next) = moved(link.command(&script).await.ok()?)?;
    if left > 0 {
        return Some(next);
    }
    // Whoever schedules an event meanwhile sets the mark before and after.
    let mut mark = cmd("SREM");
    mark.arg(hub.names.scheduled()).arg(name.as_str());
    link.command(&mark).await.ok()?;
    let (left, next) = moved(link.command(&script).await.ok()?)?;
    if left > 0 {
        let mut mark = cmd("SADD");
        mark.arg(hub.names.scheduled()).arg(name.as_str());
        link.command(&mark).await.ok()?;
        return Some(next);
    }
    None
}

fn moved(answer: ::redis::Value) -> Option<(i64, Duration)> {
    let parts = wire::list(answer)?;
    let [left, next] = parts.as_slice() else { return None };
    Some((wire::int(left)?, Duration::from_millis(u64::try_from(wire::int(next)?).unwrap_or(0))))
}

/// Removes what is too old from channels on which nobody publishes.
async fn sweep(hub: &Hub) {
    let channels = hub.policies.all().into_iter().filter_map(|(name, _)| hub.known(&name));
    let cmds: Vec<_> = channels.flat_map(|channel| channel.sweep(hub)).collect();
    if let Some(link) = hub.link().filter(|_| !cmds.is_empty()) {
        // Whatever fails is tried again next time.
        let _ = link.commands(cmds).await;
    }
}

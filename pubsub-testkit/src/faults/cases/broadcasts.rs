//! X1, X2, X8 for broadcasts: a lossless one misses nothing, an ephemeral one misses nothing without a word.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pubsub_core::{ChannelName, ChannelPolicy, EventItem, Events, PubSub, Raw, driver::Feature};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::tools::ALL;
use crate::{
    conformance::{Failure, Verdict, ensure},
    faults::{
        Action, FaultCase, Flaw, Stage,
        work::{is_passing, item, serial},
    },
};

pub(super) const CASES: &[FaultCase] = &[
    FaultCase {
        id: "X1-broadcast",
        title: "the broker is killed twice under a lossless broadcast: it misses nothing",
        needs: &[Feature::LosslessBroadcast],
        on: ALL,
        bites: &[Flaw::NeverRecovers, Flaw::ForgetsPlace],
        run: |stage| Box::pin(broken(stage, Kind::Lossless, &[Action::Kill, Action::Start], 2)),
    },
    FaultCase {
        id: "X2-broadcast",
        title: "the connection is cut again and again under a lossless broadcast: it misses nothing",
        needs: &[Feature::LosslessBroadcast],
        on: ALL,
        bites: &[Flaw::NeverRecovers, Flaw::ForgetsPlace],
        run: |stage| Box::pin(broken(stage, Kind::Lossless, &[Action::Refuse, Action::Heal], 4)),
    },
    FaultCase {
        id: "X8-broadcast",
        title: "a broker that is stopped where it is under a lossless broadcast: it misses nothing",
        needs: &[Feature::LosslessBroadcast],
        on: ALL,
        bites: &[Flaw::NeverRecovers, Flaw::ForgetsPlace],
        run: |stage| Box::pin(broken(stage, Kind::Lossless, &[Action::Pause, Action::Resume], 1)),
    },
    FaultCase {
        id: "X1-ephemeral",
        title: "the broker is killed twice under an ephemeral broadcast: it goes on, and what it missed it is told of",
        needs: &[Feature::EphemeralBroadcast],
        on: ALL,
        bites: &[Flaw::NeverRecovers, Flaw::GapSwallowed],
        run: |stage| Box::pin(broken(stage, Kind::Ephemeral, &[Action::Kill, Action::Start], 2)),
    },
    FaultCase {
        id: "X2-ephemeral",
        title: "the connection is cut again and again under an ephemeral broadcast: what it missed it is told of",
        needs: &[Feature::EphemeralBroadcast],
        on: ALL,
        bites: &[Flaw::NeverRecovers, Flaw::GapSwallowed],
        run: |stage| Box::pin(broken(stage, Kind::Ephemeral, &[Action::Refuse, Action::Heal], 4)),
    },
    FaultCase {
        id: "X8-ephemeral",
        title: "a broker that is stopped where it is under an ephemeral broadcast: what it missed it is told of",
        needs: &[Feature::EphemeralBroadcast],
        on: ALL,
        bites: &[Flaw::NeverRecovers],
        run: |stage| Box::pin(broken(stage, Kind::Ephemeral, &[Action::Pause, Action::Resume], 1)),
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lossless,
    Ephemeral,
}

/// What was published and what was heard.
#[derive(Default)]
struct Log {
    confirmed: BTreeSet<usize>,
    seen: BTreeSet<usize>,
    deliveries: usize,
    gaps: usize,
    next: usize,
    /// Why publishing or the subscription came to an end that it must not come to.
    ended: Option<String>,
}

type Shared = Arc<Mutex<Log>>;

fn lock(log: &Shared) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(mut events: Events<Raw>, log: Shared) {
    loop {
        match events.next_item().await {
            Some(Ok(EventItem::Event(event))) => {
                let mut log = lock(&log);
                log.deliveries += 1;
                if let Ok(serial) = serial(event.message()) {
                    log.seen.insert(serial);
                }
            }
            Some(Ok(EventItem::Gap(_))) => lock(&log).gaps += 1,
            Some(Ok(_)) => {}
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => lock(&log).ended = Some(error.to_string()),
            None => return lock(&log).ended = Some("the subscription ended".to_owned()),
        }
    }
}

/// Publishes one event after the other until it is aborted; whatever fails is not tried again.
async fn talk(bus: PubSub, channel: ChannelName, timeout: Duration, log: Shared) {
    let (turns, mut underway) = (Arc::new(Semaphore::new(64)), JoinSet::new());
    loop {
        while underway.try_join_next().is_some() {}
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        let serial = {
            let mut log = lock(&log);
            log.next += 1;
            log.next - 1
        };
        let (bus, channel, log) = (bus.clone(), channel.clone(), log.clone());
        underway.spawn(async move {
            let _turn = turn;
            let Ok(event) = item(&channel, serial, 0) else { return };
            match bus.publish_envelope(event).timeout(timeout).await {
                Ok(_) => drop(lock(&log).confirmed.insert(serial)),
                Err(error) if is_passing(&error) => {}
                Err(error) => lock(&log).ended = Some(error.to_string()),
            }
        });
        sleep(Duration::from_millis(4)).await;
    }
}

async fn until(log: &Shared, what: &str, within: Duration, shows: impl Fn(&Log) -> bool + Send) -> Verdict {
    let deadline = Instant::now() + within;
    loop {
        {
            let log = lock(log);
            if let Some(ended) = &log.ended {
                return Err(Failure::new(what, ended));
            }
            if shows(&log) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let seen = format!("{} confirmed, {} seen, {} gaps", log.confirmed.len(), log.seen.len(), log.gaps);
                return Err(Failure::new(format!("{what} within {within:?}"), seen));
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn broken(stage: Stage, kind: Kind, fault: &'static [Action], times: usize) -> Verdict {
    let (channel, bounds) = (ChannelName::parse(&stage.channel("broadcast")?)?, stage.bounds());
    let policy = match kind {
        Kind::Lossless => ChannelPolicy::new(),
        Kind::Ephemeral => ChannelPolicy::new().ephemeral(),
    };
    let (reader, writer) = (stage.world().bus_of(policy.clone()).await?, stage.world().bus_of(policy).await?);
    let log = Shared::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(listen(reader.subscribe_channel(channel.as_str()).await?, log.clone()));
    tasks.spawn(talk(writer.clone(), channel.clone(), bounds.publish, log.clone()));
    until(&log, "events to flow", bounds.recover, |log| log.seen.len() >= 50).await?;
    for _ in 0..times {
        for action in fault {
            stage.act(*action).await?;
            // Long enough for a silence to be noticed, and for a cut to hurt.
            let pause = if *action == Action::Pause { bounds.notice } else { Duration::from_millis(500) };
            sleep(pause).await;
        }
        stage.until_ready(&reader, true, bounds.recover).await?;
        stage.until_ready(&writer, true, bounds.recover).await?;
        let mark = lock(&log).next;
        until(&log, "events to flow again", bounds.recover, |log| log.seen.range(mark..).count() >= 20).await?;
    }
    // From the first of these on it misses nothing, whatever its kind.
    let mark = lock(&log).next;
    until(&log, "a steady flow", bounds.recover, |log| log.confirmed.range(mark..).count() >= 100).await?;
    let wanted = |log: &Log| log.confirmed.range(mark..).all(|serial| log.seen.contains(serial));
    until(&log, "all that was confirmed in a steady flow", bounds.recover, wanted).await?;
    if kind == Kind::Lossless {
        let wanted = |log: &Log| log.confirmed.is_subset(&log.seen);
        until(&log, "all that was confirmed", bounds.recover, wanted).await?;
    }
    tasks.shutdown().await;
    let log = lock(&log);
    let missed = log.confirmed.difference(&log.seen).filter(|serial| **serial < mark).count();
    let twice = log.deliveries - log.seen.len();
    stage.say(format_args!(
        "published {}, confirmed {}, missed {missed}, twice {twice}, gaps {}",
        log.next,
        log.confirmed.len(),
        log.gaps
    ));
    ensure(missed == 0 || log.gaps > 0, "a gap event for what was missed", format!("{missed} missed, no gap"))
}

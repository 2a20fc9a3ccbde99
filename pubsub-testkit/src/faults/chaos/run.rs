//! The run itself.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    plan::{Event, Plan, Turn},
    row::Row,
};
use crate::{
    conformance::Verdict,
    faults::{Action, Consuming, Crew, Keys, Publishing, Role, Stage, Tally, Work},
};

const KEYS: usize = 64;
const SHARDS: u16 = 4;
const IN_FLIGHT: usize = 32;
const MOST: usize = 4;

/// One group, its publisher and its consumers.
struct Group {
    crew: Crew,
    consume: Work,
    consumers: VecDeque<u32>,
    /// How many faults may have brought deliveries again.
    faults: usize,
}

impl Group {
    async fn new(stage: &Stage, shards: u16, rate: usize) -> Verdict<Self> {
        let channel = stage.channel("chaos")?;
        let keys = Keys::over(if shards == 0 { 0 } else { KEYS });
        let mut crew = stage.crew(Tally::ordered(keys))?;
        let lease = Some(stage.bounds().lease);
        let consuming =
            Consuming { in_flight: IN_FLIGHT, lease, work: Duration::from_millis(6), ..Consuming::default() };
        let consume = Work { channel: channel.clone(), shards, role: Role::Consume(consuming) };
        let consumers = VecDeque::from([crew.fork(&consume).await?, crew.fork(&consume).await?]);
        crew.ready(&[consumers[0], consumers[1]]).await?;
        let publishing = Publishing { keys, lanes: 32, rate, ..Publishing::default() };
        crew.fork(&Work { channel, shards, role: Role::Publish(publishing) }).await?;
        Ok(Self { crew, consume, consumers, faults: 0 })
    }

    /// What befalls a member; whether anything did.
    async fn member(&mut self, turn: Turn) -> Verdict<bool> {
        let count = self.consumers.len();
        match turn.event {
            Event::Join if count < MOST => {
                let joined = self.crew.fork(&self.consume).await?;
                self.consumers.push_back(joined);
            }
            Event::Leave if count > 2 => {
                let gone = self.consumers.remove(turn.choice % count).unwrap_or_default();
                self.crew.dismiss(gone).await?;
            }
            Event::Die => {
                let gone = self.consumers.remove(turn.choice % count).unwrap_or_default();
                self.crew.kill(gone).await?;
                // Enough stay for the events not to pile up.
                if self.consumers.len() < 2 {
                    let joined = self.crew.fork(&self.consume).await?;
                    self.consumers.push_back(joined);
                }
            }
            Event::Freeze => {
                let member = self.consumers[turn.choice % count];
                self.crew.member(member)?.pause(true)?;
                sleep(turn.lasts).await;
                self.crew.member(member)?.pause(false)?;
            }
            _ => return Ok(false),
        }
        self.faults += 1;
        Ok(true)
    }
}

/// Runs the plan, mends everything and judges both groups.
pub(super) async fn run(stage: Stage, plan: Plan) -> Verdict<Row> {
    let mut row = Row::new(stage.rig().kind(), plan);
    let mut groups = [Group::new(&stage, 0, plan.rate / 2).await?, Group::new(&stage, SHARDS, plan.rate / 2).await?];
    let end = Instant::now() + Duration::from_secs(plan.seconds);
    let mut fault = Ok(());
    for turn in plan.events() {
        sleep(turn.before.min(end.saturating_duration_since(Instant::now()))).await;
        if Instant::now() >= end || fault.is_err() {
            break;
        }
        let befell = if turn.event.concerns_all() {
            fault = all(&stage, turn).await;
            groups.iter_mut().for_each(|group| group.faults += 1);
            true
        } else {
            match groups[turn.choice % 2].member(Turn { choice: turn.choice / 2, ..turn }).await {
                Ok(befell) => befell,
                Err(failure) => {
                    fault = Err(failure);
                    true
                }
            }
        };
        if befell {
            *row.befell.entry(turn.event).or_default() += 1;
        }
    }
    row.failure = fault.err();
    for action in [Action::Start, Action::Resume, Action::Heal] {
        // A broker that was not paused cannot be resumed.
        stage.act(action).await.ok();
    }
    sleep(Duration::from_secs(1)).await;
    for group in &mut groups {
        let repeats = group.crew.repeats(group.faults, MOST, IN_FLIGHT);
        let failure = group.crew.finish(repeats).await.err();
        let counts = group.crew.tally().counts();
        row.add(counts, failure);
    }
    Ok(row)
}

/// What befalls the broker or the way to it.
async fn all(stage: &Stage, turn: Turn) -> Verdict {
    let (away, back) = match turn.event {
        Event::Restart => (Action::Stop, Some(Action::Start)),
        Event::Kill => (Action::Kill, Some(Action::Start)),
        Event::Pause => (Action::Pause, Some(Action::Resume)),
        Event::Stall => (Action::Stall, Some(Action::Heal)),
        Event::Blackhole => (Action::Blackhole, Some(Action::Heal)),
        _ => (Action::Cut, None),
    };
    stage.act(away).await?;
    if let Some(back) = back {
        sleep(turn.lasts).await;
        stage.act(back).await?;
    }
    Ok(())
}

//! Those who publish and consume while something breaks, and the verdict over what they did.

use std::{collections::BTreeMap, fmt, sync::MutexGuard, time::Duration};

use pubsub_core::PubSub;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{Counts, Member, Note, Order, Record, Role, Stage, Tally, Work, work};
use crate::conformance::{Failure, Size, Verdict, ensure};

/// A member that is a task of this process.
struct Hand {
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
    publishes: bool,
}

/// Members, each with an adapter of its own, and their tally.
pub struct Crew {
    stage: Stage,
    record: Record,
    hands: BTreeMap<u32, Hand>,
    members: BTreeMap<u32, (Box<dyn Member>, bool)>,
    next: u32,
}

impl Crew {
    pub(super) fn new(stage: Stage, tally: Tally) -> Verdict<Self> {
        let record = Record::new(tally)?;
        Ok(Self { stage, record, hands: BTreeMap::new(), members: BTreeMap::new(), next: 0 })
    }

    /// The tally by now.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.record.tally()
    }

    /// Adds a member: a task of this process, or in the long form a process, so that nobody keeps the ledger whose own
    /// adapter is judged by it.
    ///
    /// # Errors
    /// If its adapter cannot be opened.
    pub async fn add(&mut self, work: &Work) -> Verdict<u32> {
        match self.stage.size() {
            Size::Default => self.hire(work).await,
            Size::Long => self.fork(work).await,
        }
    }

    /// Adds a member that is a task of this process.
    ///
    /// # Errors
    /// If its adapter cannot be opened.
    pub async fn hire(&mut self, work: &Work) -> Verdict<u32> {
        let bus = self.stage.bus(work.shards).await?;
        Ok(self.hire_with(bus, work))
    }

    /// Adds a member that is a task of this process and uses this handle.
    pub fn hire_with(&mut self, bus: PubSub, work: &Work) -> u32 {
        let number = self.number();
        let (book, publishes) = (self.record.notebook(number), publishes(work));
        let (orders, given) = watch::channel(Order::Work);
        let work = work.clone();
        let task = tokio::spawn(async move {
            if let Err(failure) = work::run(&bus, &work, book.clone(), given).await {
                book.note(Note::Broken(failure.to_string()));
            }
        });
        self.hands.insert(number, Hand { orders, task, publishes });
        number
    }

    /// Adds a member that can be killed: a process.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn fork(&mut self, work: &Work) -> Verdict<u32> {
        let number = self.number();
        let prefix = self.stage.world().name();
        let member = self.stage.rig().member(prefix, number, work, &self.record).await?;
        self.members.insert(number, (member, publishes(work)));
        Ok(number)
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// A member that is a process.
    ///
    /// # Errors
    /// If there is none of this number.
    pub fn member(&mut self, number: u32) -> Verdict<&mut dyn Member> {
        match self.members.get_mut(&number) {
            Some((member, _)) => Ok(&mut **member),
            None => Err(Failure::new("a member that is a process", number)),
        }
    }

    /// Tells a member to acknowledge what it holds, confirmed by the broker.
    ///
    /// # Errors
    /// If there is none of this number.
    pub fn settle(&mut self, number: u32) -> Verdict {
        match self.hands.get(&number) {
            Some(hand) => {
                hand.orders.send_replace(Order::Settle);
                Ok(())
            }
            None => self.member(number)?.settle(),
        }
    }

    /// Notes what the case itself did, as member 0.
    pub fn note(&self, note: Note) {
        self.record.notebook(0).note(note);
    }

    /// Kills a member that is a process.
    ///
    /// # Errors
    /// If it has ended before.
    pub async fn kill(&mut self, number: u32) -> Verdict {
        self.member(number)?.kill().await?;
        self.members.remove(&number);
        Ok(())
    }

    /// Asks a member that is a process to end, and waits until it has.
    ///
    /// # Errors
    /// If it does not within the limit.
    pub async fn terminate(&mut self, number: u32, within: Duration) -> Verdict {
        self.member(number)?.terminate(within).await?;
        self.members.remove(&number);
        Ok(())
    }

    /// Lets a member leave in good order.
    ///
    /// # Errors
    /// If it does not within its bound.
    pub async fn dismiss(&mut self, number: u32) -> Verdict {
        let limit = self.stage.bounds().publish + self.stage.bounds().close + self.stage.bounds().slack * 2;
        if let Some((mut member, _)) = self.members.remove(&number) {
            return member.leave(limit).await;
        }
        let Some(hand) = self.hands.remove(&number) else { return Err(Failure::new("a member", number)) };
        hand.orders.send_replace(Order::Leave);
        match timeout(limit + Duration::from_secs(3), hand.task).await {
            Ok(ended) => ended.map_err(|error| Failure::new("a member without a panic", error)),
            Err(_) => Err(Failure::new(format!("a member to leave within {limit:?}"), "it is there")),
        }
    }

    /// Waits until the tally shows something.
    ///
    /// # Errors
    /// If it does not within the limit.
    pub async fn until(&self, what: &str, within: Duration, shows: impl Fn(&Tally) -> bool + Send) -> Verdict {
        let deadline = Instant::now() + within;
        while !shows(&self.tally()) {
            if Instant::now() >= deadline {
                let counts = self.tally().counts();
                return Err(Failure::new(format!("{what} within {within:?}"), self.with_faults(counts)));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn with_faults(&self, counts: Counts) -> String {
        // What members said of their troubles explains more than the counts do.
        match self.tally().judge(usize::MAX >> 1) {
            Err(failure) => format!("{counts} ({failure})"),
            Ok(()) => counts.to_string(),
        }
    }

    /// Waits until these members are at work.
    ///
    /// # Errors
    /// If one of them is not within the bound for recovery.
    pub async fn ready(&self, members: &[u32]) -> Verdict {
        let shows = |tally: &Tally| members.iter().all(|member| tally.standing(*member).ready);
        self.until("all members at work", self.stage.bounds().recover, shows).await
    }

    /// Lets the publishers leave, waits until all that was confirmed is done, lets the consumers leave, and judges.
    ///
    /// # Errors
    /// If something confirmed is lost, more than `duplicates` came again, or order was not kept.
    pub async fn finish(&mut self, duplicates: usize) -> Verdict<Counts> {
        self.quiesce().await?;
        self.complete().await;
        sleep(Duration::from_millis(200)).await;
        let rest: Vec<u32> = self.hands.keys().chain(self.members.keys()).copied().collect();
        for number in rest {
            self.dismiss(number).await?;
        }
        let counts = self.tally().counts();
        self.stage.say(counts);
        self.tally().judge(duplicates)?;
        ensure(counts.confirmed > 0, "events that were confirmed", counts)?;
        Ok(counts)
    }

    /// Lets the publishers leave.
    ///
    /// # Errors
    /// If one of them does not.
    pub async fn quiesce(&mut self) -> Verdict {
        let hands = self.hands.iter().filter(|(_, hand)| hand.publishes).map(|(number, _)| *number);
        let members = self.members.iter().filter(|(_, (_, publishes))| *publishes).map(|(number, _)| *number);
        for number in hands.chain(members).collect::<Vec<_>>() {
            self.dismiss(number).await?;
        }
        Ok(())
    }

    /// Waits until all that was confirmed is done, as long as something is done within the bound for silence.
    async fn complete(&self) {
        let (mut known, mut since) = (0, Instant::now());
        while !self.tally().is_complete() && since.elapsed() < self.stage.bounds().silence {
            sleep(Duration::from_millis(5)).await;
            let done = self.tally().done();
            if done != known {
                (known, since) = (done, Instant::now());
            }
        }
    }

    /// How many deliveries may come again after so many faults, with so many consumers of this prefetch.
    pub fn repeats(&self, faults: usize, consumers: usize, in_flight: usize) -> usize {
        faults * consumers * (in_flight + self.stage.bounds().unflushed)
    }
}

fn publishes(work: &Work) -> bool {
    matches!(work.role, Role::Publish(_))
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.hands.values().for_each(|hand| hand.task.abort());
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hands, members) = (self.hands.len(), self.members.len());
        f.debug_struct("Crew").field("hands", &hands).field("members", &members).finish_non_exhaustive()
    }
}

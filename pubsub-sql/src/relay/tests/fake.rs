//! An outbox in memory that fails on demand.

use std::{
    future::pending,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use pubsub_adapters::memory::{Memory, MemoryOptions};
use pubsub_core::{
    ChannelName, ChannelPolicy, Envelope, Error, ErrorKind, EventName, Payload, PubSub, Result,
    driver::HistoryRange,
    store::{Backlog, Outbox, OutboxRow, ParkedRow, RowId, RowOutcome, Wakeups},
    wire::document,
};

/// A bus in memory with one channel, `things`.
pub(super) fn bus(policy: ChannelPolicy) -> PubSub {
    let memory = Memory::open(MemoryOptions::new()).unwrap();
    PubSub::builder(memory).policy("things", policy).unwrap().build()
}

/// What was published there, in order.
pub(super) async fn numbers(bus: &PubSub) -> Vec<u32> {
    let range = HistoryRange::new(ChannelName::parse("things").unwrap()).limit(1_000);
    let events = match bus.history(&range).await {
        Ok(page) => page.events,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{error}"),
    };
    events.iter().map(|stored| stored.message.payload().decode().unwrap()).collect()
}

fn row(n: u32, lane: Option<&str>) -> OutboxRow {
    let (name, channel) = (EventName::parse("thing:made").unwrap(), ChannelName::parse("things").unwrap());
    let envelope = document::encode(&Envelope::new(name, channel, Payload::json(n.to_string()))).unwrap();
    let mut row = OutboxRow::new(RowId(n.into()), envelope);
    row.lane = lane.map(str::to_owned);
    row
}

#[derive(Clone, Debug)]
pub(super) struct Fake(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rows: Vec<OutboxRow>,
    outcomes: Vec<(RowId, RowOutcome)>,
    leads: bool,
    resigned: bool,
    failures: u32,
    broken: bool,
    hangs: bool,
    most_in_hand: usize,
}

impl Fake {
    /// An outbox of so many rows, all in one lane or in none.
    pub(super) fn new(rows: u32, lane: Option<&str>) -> Self {
        Self(Arc::new(Mutex::new(State {
            rows: (0..rows).map(|n| row(n, lane)).collect(),
            outcomes: Vec::new(),
            leads: true,
            resigned: false,
            failures: 0,
            broken: false,
            hangs: false,
            most_in_hand: 0,
        })))
    }

    pub(super) fn add(&self, n: u32) {
        self.lock().rows.push(row(n, None));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn fail_settlements(&self, times: u32) {
        self.lock().failures = times;
    }

    pub(super) fn fail_for_good(&self) {
        self.lock().broken = true;
    }

    /// Answers nothing any more.
    pub(super) fn hang(&self) {
        self.lock().hangs = true;
    }

    /// Waits for ever once it hangs.
    async fn answers(&self) {
        let hangs = self.lock().hangs;
        if hangs {
            pending::<()>().await;
        }
    }

    pub(super) fn lead(&self, leads: bool) {
        self.lock().leads = leads;
    }

    pub(super) fn resigned(&self) -> bool {
        self.lock().resigned
    }

    pub(super) fn outcomes(&self) -> Vec<(RowId, RowOutcome)> {
        self.lock().outcomes.clone()
    }

    pub(super) fn most_in_hand(&self) -> usize {
        self.lock().most_in_hand
    }
}

/// Never comes: the relay looks by itself.
struct Silence;

#[async_trait]
impl Wakeups for Silence {
    async fn next(&mut self) -> Result<()> {
        pending().await
    }
}

#[async_trait]
impl Outbox for Fake {
    async fn lead(&self, _: &str, _: Duration) -> Result<bool> {
        Ok(self.lock().leads)
    }

    async fn resign(&self, _: &str) -> Result<()> {
        self.answers().await;
        self.lock().resigned = true;
        Ok(())
    }

    async fn pending(&self, limit: usize, in_hand: &[RowId], full: &[&str]) -> Result<Vec<OutboxRow>> {
        self.answers().await;
        let mut state = self.lock();
        if state.broken {
            return Err(Error::new(ErrorKind::Auth, "read outbox", "as the test wants it"));
        }
        state.most_in_hand = state.most_in_hand.max(in_hand.len());
        let free = |row: &&OutboxRow| {
            !in_hand.contains(&row.id) && row.lane.as_deref().is_none_or(|lane| !full.contains(&lane))
        };
        Ok(state.rows.iter().filter(free).take(limit).cloned().collect())
    }

    async fn settle(&self, outcomes: &[(RowId, RowOutcome)]) -> Result<()> {
        self.answers().await;
        let mut state = self.lock();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(Error::new(ErrorKind::Unavailable, "settle", "as the test wants it"));
        }
        state.rows.retain(|row| !outcomes.iter().any(|(id, _)| *id == row.id));
        state.outcomes.extend_from_slice(outcomes);
        Ok(())
    }

    async fn next_due(&self) -> Result<Option<Duration>> {
        Ok(None)
    }

    async fn wakeups(&self) -> Result<Box<dyn Wakeups>> {
        Ok(Box::new(Silence))
    }

    async fn backlog(&self) -> Result<Backlog> {
        Ok(Backlog::default())
    }

    async fn parked(&self, _: Option<RowId>, _: usize) -> Result<Vec<ParkedRow>> {
        Ok(Vec::new())
    }

    async fn redrive(&self, _: &[RowId]) -> Result<u64> {
        Ok(0)
    }

    async fn discard(&self, _: &[RowId]) -> Result<u64> {
        Ok(0)
    }

    async fn sweep(&self, _: usize) -> Result<u64> {
        Ok(0)
    }
}

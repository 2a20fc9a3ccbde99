//! What a relay does in each of its turns.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::{Future, pending},
    pin::pin,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use pubsub_core::{
    Error, Result,
    driver::{BoxFuture, Confirm, Feature},
    store::{OutboxRow, RowId, RowOutcome, Wakeups},
};
use tokio::time::{Instant, sleep_until};

use super::{
    Relay,
    flight::{Blame, Course, Landed, blame, launch},
    lead::Lead,
};

/// How soon a relay that was woken in vain looks again: whoever woke it may be about to commit.
const SOON: Duration = Duration::from_millis(1);
/// Beyond that a look is so far away that a row may become due before.
const PATIENT: Duration = Duration::from_millis(30);
/// The longest pause while the broker is away. It bounds how late the relay notices that it is back.
const LONGEST_OUTAGE: Duration = Duration::from_secs(5);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEEP_ROWS: usize = 1_000;

pub(super) struct Work<'a> {
    relay: &'a Relay,
    course: Course,
    lead: Lead,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    /// Rows on their way, rows behind them in their lanes, and rows whose outcome is not noted yet.
    hand: HashSet<RowId>,
    /// The lanes that have a row on its way, each with the rows that wait behind it.
    lanes: HashMap<String, VecDeque<OutboxRow>>,
    outcomes: Vec<(RowId, RowOutcome)>,
    /// Whether there may be more rows than the last look has taken.
    hungry: bool,
    look_at: Instant,
    /// How long until the next look, should this one find nothing.
    patience: Duration,
    /// How often in a row the broker was away.
    outages: u32,
    /// Until then nothing is sent, because the broker is away.
    resume_at: Instant,
    /// How often in a row the database was away, and until when it is left alone.
    failures: u32,
    retry_at: Instant,
    sweep_at: Instant,
    ending: bool,
}

impl<'a> Work<'a> {
    pub(super) fn new(relay: &'a Relay) -> Self {
        let now = Instant::now();
        let settles = relay.bus.capabilities().has(Feature::SettledConfirm);
        let course = match settles {
            true => Course { confirm: Confirm::Settled, timeout: Duration::MAX },
            false => Course { confirm: Confirm::Accepted, timeout: relay.timeout },
        };
        Self {
            relay,
            course,
            lead: Lead::new(),
            flights: FuturesUnordered::new(),
            hand: HashSet::new(),
            lanes: HashMap::new(),
            outcomes: Vec::new(),
            hungry: true,
            look_at: now,
            patience: relay.poll,
            outages: 0,
            resume_at: now,
            failures: 0,
            retry_at: now,
            sweep_at: now + SWEEP_EVERY,
            ending: false,
        }
    }

    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let worked = self.work(shutdown).await;
        // Also after a fault: what was confirmed should not be sent again.
        let ended = self.end().await;
        worked.and(ended)
    }

    async fn work(&mut self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let mut shutdown = pin!(shutdown);
        let mut wakeups = None;
        loop {
            self.turn(&mut wakeups).await?;
            self.relay.shared.in_flight(self.flights.len());
            let next = self.next_turn();
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => self.land_all(landed)?,
                woken = next_wakeup(&mut wakeups) => self.woken(woken, &mut wakeups),
                () = sleep_until(next) => {}
            }
        }
    }

    /// Everything that is due now, as far as the database answers.
    async fn turn(&mut self, wakeups: &mut Option<Box<dyn Wakeups>>) -> Result<()> {
        if Instant::now() < self.retry_at {
            return Ok(());
        }
        match self.consult(wakeups).await {
            Ok(()) => self.failures = 0,
            Err(error) if error.is_retryable() => {
                self.relay.shared.trouble(&error);
                self.failures = self.failures.saturating_add(1);
                let event = pubsub_core::EventId::random();
                self.retry_at = Instant::now() + self.relay.backoff.delay(&event, self.failures).min(self.relay.poll);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn consult(&mut self, wakeups: &mut Option<Box<dyn Wakeups>>) -> Result<()> {
        self.note().await?;
        if wakeups.is_none() {
            *wakeups = Some(self.relay.outbox.wakeups().await?);
        }
        if self.lead.ask(self.relay).await? {
            self.hungry = true;
        }
        if !self.lead.holds() {
            return Ok(());
        }
        self.look().await?;
        if Instant::now() >= self.sweep_at {
            let gone = self.relay.outbox.sweep(SWEEP_ROWS).await?;
            let more = gone >= SWEEP_ROWS as u64;
            self.sweep_at = Instant::now() + if more { Duration::from_secs(1) } else { SWEEP_EVERY };
        }
        Ok(())
    }

    /// How many rows may be in hand: while the broker is away, one that asks whether it is back.
    fn width(&self) -> usize {
        if self.outages > 0 { 1 } else { self.relay.window }
    }

    fn wants_rows(&self) -> bool {
        let room = self.width().saturating_sub(self.hand.len());
        // A few at a time would cost the database a look for each of them.
        let enough = room > 0 && (self.hand.is_empty() || room >= self.relay.window / 4);
        enough && self.lead.holds()
    }

    async fn look(&mut self) -> Result<()> {
        let now = Instant::now();
        if now < self.resume_at || !self.wants_rows() || !(self.hungry || now >= self.look_at) {
            return Ok(());
        }
        let room = self.width() - self.hand.len();
        let hand: Vec<_> = self.hand.iter().copied().collect();
        let most = self.most_behind();
        let full = self.lanes.iter().filter(|(_, behind)| behind.len() >= most);
        let full: Vec<_> = full.map(|(lane, _)| lane.as_str()).collect();
        let rows = self.relay.outbox.pending(room, &hand, &full).await?;
        self.hungry = rows.len() >= room;
        if !self.hungry {
            self.look_at = Instant::now() + self.patience;
            // Whoever looks again at once needs not know.
            let due = if self.patience > PATIENT { self.relay.outbox.next_due().await? } else { None };
            if let Some(due) = due {
                self.look_at = self.look_at.min(Instant::now() + due.max(SOON));
            }
            self.patience = (self.patience * 2).min(self.relay.poll);
        }
        for row in rows {
            self.take(row);
        }
        Ok(())
    }

    /// How many rows may wait behind the one of their lane: a slow lane must not fill the window.
    fn most_behind(&self) -> usize {
        (self.relay.window / 16).max(1)
    }

    /// Takes a row in hand: sends it, or has it wait behind the one of its lane.
    fn take(&mut self, row: OutboxRow) {
        let most = self.most_behind();
        if let Some(behind) = row.lane.as_ref().and_then(|lane| self.lanes.get_mut(lane)) {
            // The rest stays in the table; the next look passes over this lane.
            if behind.len() < most {
                self.hand.insert(row.id);
                behind.push_back(row);
            } else {
                self.hungry = true;
            }
            return;
        }
        self.hand.insert(row.id);
        if let Some(lane) = &row.lane {
            self.lanes.insert(lane.clone(), VecDeque::new());
        }
        self.send(row);
    }

    fn send(&mut self, row: OutboxRow) {
        let (id, lane, failures) = (row.id, row.lane.clone(), row.failures);
        match launch(&self.relay.bus, row, self.course) {
            Ok(flight) => self.flights.push(flight),
            // What cannot be read has no id; any will do for the delay that it does not get.
            Err(error) => {
                let event = pubsub_core::EventId::random();
                let landed = Landed { id, event, lane, failures, result: Err(error) };
                self.flights.push(Box::pin(async move { landed }));
            }
        }
    }

    /// What has landed by now, the first of it in hand.
    fn land_all(&mut self, first: Landed) -> Result<()> {
        let mut fatal = self.land(first).err();
        while let Some(Some(landed)) = self.flights.next().now_or_never() {
            fatal = fatal.or(self.land(landed).err());
        }
        fatal.map_or(Ok(()), Err)
    }

    /// # Errors
    /// When the bus is closed.
    fn land(&mut self, landed: Landed) -> Result<()> {
        let Landed { id, event, lane, failures, result } = landed;
        let error = match result {
            Ok(()) => {
                self.relay.shared.sent();
                self.outages = 0;
                self.resume_at = self.resume_at.min(Instant::now());
                self.outcomes.push((id, RowOutcome::Sent));
                self.go_on(lane);
                return Ok(());
            }
            Err(error) => error,
        };
        match blame(&error) {
            Blame::Row => {
                self.relay.shared.parked(&error);
                let parked = RowOutcome::Parked { error: told(&error), kind: error.kind() };
                self.outcomes.push((id, parked));
                self.go_on(lane);
            }
            Blame::Bus => {
                self.hold(lane);
                self.hand.remove(&id);
                return Err(error);
            }
            by => {
                self.relay.shared.failed(&error);
                let mut delay = self.relay.backoff.delay(&event, failures.saturating_add(1));
                if by == Blame::Broker {
                    delay = self.outage(delay);
                }
                self.outcomes.push((id, RowOutcome::Failed { delay, error: told(&error) }));
                self.hold(lane);
            }
        }
        Ok(())
    }

    /// The broker is away: nothing is sent for a while. Gives how long, for the row that noticed it.
    fn outage(&mut self, delay: Duration) -> Duration {
        let now = Instant::now();
        // Those that were on their way together notice the same outage.
        if now >= self.resume_at {
            self.outages = self.outages.saturating_add(1);
            let event = pubsub_core::EventId::random();
            let pause = self.relay.backoff.delay(&event, self.outages).min(LONGEST_OUTAGE);
            self.resume_at = now + pause;
        }
        delay.min(self.resume_at.saturating_duration_since(now))
    }

    /// The lane's next row may be sent.
    fn go_on(&mut self, lane: Option<String>) {
        let Some(lane) = lane else { return };
        let may_send = self.lead.holds() && !self.ending;
        match self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(row) if may_send => self.send(row),
            Some(row) => {
                self.hand.remove(&row.id);
                self.hold(Some(lane));
            }
            None => {
                self.lanes.remove(&lane);
            }
        }
    }

    /// The lane has to wait: what is behind in it goes back to the table, where it was all the time.
    fn hold(&mut self, lane: Option<String>) {
        let Some(behind) = lane.and_then(|lane| self.lanes.remove(&lane)) else { return };
        for row in behind {
            self.hand.remove(&row.id);
        }
        self.hungry = true;
    }

    /// Notes what became of rows. Until then they stay in hand, so that none is sent twice.
    async fn note(&mut self) -> Result<()> {
        if self.outcomes.is_empty() {
            return Ok(());
        }
        self.relay.outbox.settle(&self.outcomes).await?;
        for (id, _) in self.outcomes.drain(..) {
            self.hand.remove(&id);
        }
        Ok(())
    }

    fn woken(&mut self, woken: Result<()>, wakeups: &mut Option<Box<dyn Wakeups>>) {
        self.hungry = true;
        self.patience = SOON;
        if let Err(error) = woken {
            // Made anew at the next turn; until then the relay looks at intervals.
            self.relay.shared.trouble(&error);
            *wakeups = None;
            self.retry_at = Instant::now() + SOON;
        }
    }

    /// When there is something to do although nothing happens.
    fn next_turn(&self) -> Instant {
        let mut next = self.lead.ask_at();
        if self.lead.holds() {
            next = next.min(self.sweep_at);
        }
        if self.wants_rows() {
            let look_at = if self.hungry { self.resume_at } else { self.look_at.max(self.resume_at) };
            next = next.min(look_at);
        }
        if !self.outcomes.is_empty() {
            next = Instant::now();
        }
        // The database is left alone until then.
        next.max(self.retry_at)
    }

    /// Waits for what is on its way, notes it, and lets others go on.
    async fn end(&mut self) -> Result<()> {
        self.ending = true;
        let deadline = Instant::now() + self.relay.drain;
        while !self.flights.is_empty() {
            tokio::select! {
                // Of a bus that is closed the others tell the same.
                Some(landed) = self.flights.next() => self.land_all(landed).unwrap_or_default(),
                () = sleep_until(deadline) => break,
            }
        }
        self.note().await?;
        self.relay.outbox.resign(&self.relay.name).await
    }
}

async fn next_wakeup(wakeups: &mut Option<Box<dyn Wakeups>>) -> Result<()> {
    match wakeups {
        Some(wakeups) => wakeups.next().await,
        None => pending().await,
    }
}

/// The error with its causes, for whoever reads the table.
fn told(error: &Error) -> String {
    let mut text = format!("{}: {error}", error.kind());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

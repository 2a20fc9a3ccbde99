//! What a relay does in each of its turns.

use std::{
    collections::HashSet,
    future::{Future, pending},
    pin::pin,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use pubsub_core::{
    Error, ErrorKind, Result,
    driver::{BoxFuture, Confirm, Feature},
    store::{OutboxRow, RowId, RowOutcome, Wakeups},
};
use tokio::time::{Instant, sleep_until};

use super::{
    Relay,
    flight::{Blame, Course, Landed, blame, launch},
    lanes::{Lanes, Place},
    lead::Lead,
};

/// How soon a relay that was woken in vain looks again: whoever woke it may be about to commit.
const SOON: Duration = Duration::from_millis(1);
/// Beyond that a look is so far away that a row may become due before.
const PATIENT: Duration = Duration::from_millis(30);
/// The longest pause while the broker is away. It bounds how late the relay notices that it is back.
const LONGEST_OUTAGE: Duration = Duration::from_secs(5);
/// How long the database may take to note the end, however little of the drain is left.
const LAST_WORD: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEEP_ROWS: usize = 1_000;

pub(super) struct Work<'a> {
    relay: &'a Relay,
    course: Course,
    lead: Lead,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    /// Rows on their way, rows behind them in their lanes, and rows whose outcome is not noted yet.
    hand: HashSet<RowId>,
    lanes: Lanes,
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
            lanes: Lanes::new((relay.window / 16).max(1)),
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
            // A database that does not answer must not hold up the end. A turn that is cut off has at most noted what will be
            // noted again.
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                turned = self.turn(&mut wakeups) => turned?,
            }
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

    /// How many rows may be in hand: while the broker is away, a few that ask whether it is back. Not one, which might
    /// be the only one that it does not take.
    fn width(&self) -> usize {
        let few = (self.relay.window / 16).max(2).min(self.relay.window);
        if self.outages > 0 { few } else { self.relay.window }
    }

    fn room(&self) -> usize {
        self.width().saturating_sub(self.hand.len())
    }

    /// When to look for rows next, if there is room for any.
    fn next_look(&self) -> Option<Instant> {
        let room = self.room();
        if room == 0 || !self.lead.holds() {
            return None;
        }
        // A few at a time would cost the database a look for each of them, so they wait for others to land; not for ever,
        // as those may be stuck.
        let enough = self.hand.is_empty() || room >= self.width() / 4;
        let at = if self.hungry && enough { self.resume_at } else { self.look_at.max(self.resume_at) };
        Some(at)
    }

    async fn look(&mut self) -> Result<()> {
        if self.next_look().is_none_or(|at| Instant::now() < at) {
            return Ok(());
        }
        let room = self.room();
        let hand: Vec<_> = self.hand.iter().copied().collect();
        let rows = self.relay.outbox.pending(room, &hand, &self.lanes.full()).await?;
        self.look_at = Instant::now() + self.patience;
        self.hungry = rows.len() >= room;
        if !self.hungry {
            // Whoever looks again at once needs not know.
            let due = if self.patience > PATIENT { self.relay.outbox.next_due().await? } else { None };
            if let Some(due) = due {
                self.look_at = self.look_at.min(Instant::now() + due.max(SOON));
            }
            self.patience = (self.patience * 2).min(self.relay.poll);
        }
        // The database may have taken longer than the lease.
        if self.lead.holds() {
            rows.into_iter().for_each(|row| self.take(row));
        }
        Ok(())
    }

    /// Takes a row in hand: sends it, or has it wait behind the one of its lane.
    fn take(&mut self, row: OutboxRow) {
        let id = row.id;
        match self.lanes.admit(row) {
            Place::First(row) => {
                self.hand.insert(id);
                self.send(row);
            }
            Place::Behind => {
                self.hand.insert(id);
            }
            // The next look passes over its lane.
            Place::Full => self.hungry = true,
        }
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
                    self.outage();
                    // It may be the only row, and then nobody else asks whether the broker is back.
                    delay = delay.min(LONGEST_OUTAGE);
                }
                self.outcomes.push((id, RowOutcome::Failed { delay, error: told(&error) }));
                self.hold(lane);
            }
        }
        Ok(())
    }

    /// The broker is away: nothing is sent for a while.
    fn outage(&mut self) {
        let now = Instant::now();
        // Those that were on their way together notice the same outage.
        if now >= self.resume_at {
            self.outages = self.outages.saturating_add(1);
            let event = pubsub_core::EventId::random();
            let pause = self.relay.backoff.delay(&event, self.outages).min(LONGEST_OUTAGE);
            self.resume_at = now + pause;
        }
    }

    /// The lane's next row may be sent.
    fn go_on(&mut self, lane: Option<String>) {
        let Some(lane) = lane else { return };
        if self.ending || !self.lead.holds() {
            return self.hold(Some(lane));
        }
        let (next, fetch) = self.lanes.advance(&lane);
        self.hungry |= fetch;
        if let Some(row) = next {
            self.send(row);
        }
    }

    /// The lane has to wait: what is behind in it goes back to the table, where it was all the time.
    fn hold(&mut self, lane: Option<String>) {
        let Some(lane) = lane else { return };
        for id in self.lanes.clear(&lane) {
            self.hand.remove(&id);
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
        if let Some(look_at) = self.next_look() {
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
        let farewell = async {
            self.note().await?;
            self.relay.outbox.resign(&self.relay.name).await
        };
        let text =
            "the database does not answer: what was sent and not noted is sent again, and others wait for the lease";
        let late = |_| Error::new(ErrorKind::Timeout, "end relay", text);
        tokio::time::timeout_at(deadline.max(Instant::now() + LAST_WORD), farewell).await.map_err(late)?
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

//! Dead letters in the hands of whoever looks after them: look, deliver again, drop.

use std::{collections::HashMap, fmt, sync::Arc};

use smallvec::smallvec;

use super::PubSub;
use crate::{
    ChannelName, Envelope, Error, ErrorKind, EventId, EventName, GroupName, Message, NamePattern, Payload, Result,
    StartPosition, Timestamp,
    driver::{HistoryRange, PublishOptions},
};

/// The name of the record that a letter is done with.
const DONE: &str = "_dlq:done";
/// The key of [`MetaFields::extra`](crate::MetaFields::extra) that tells for which group an event is delivered again.
const REDRIVEN_FOR: &str = "redrivenFor";
/// The key of [`MetaFields::extra`](crate::MetaFields::extra) that counts how often an event was delivered again.
const ROUND: &str = "redriveRound";
/// How many letters are read at a time.
const PAGE: usize = 1_000;

impl PubSub {
    /// The dead letters of a group on a channel, to be looked at, delivered again or dropped.
    ///
    /// # Errors
    /// `Invalid` for a bad name.
    pub fn dead_letter_box(&self, channel: &str, group: &str) -> Result<DeadLetterBox> {
        let (channel, group) = (ChannelName::parse(channel)?, GroupName::parse(group)?);
        Ok(DeadLetterBox { bus: self.clone(), letters: channel.dead_letter(&group), channel, group, progress: None })
    }
}

/// Whether an event is delivered again for another group than this one, and so is none of its business.
pub(super) fn is_for_another(message: &Message, group: Option<&GroupName>) -> bool {
    match message.meta().extra.get(REDRIVEN_FOR) {
        Some(wanted) => wanted.as_str() != group.map(GroupName::as_str),
        None => false,
    }
}

/// Whether a message on a channel of dead letters is one of its records.
pub(super) fn is_record(message: &Message) -> bool {
    message.name() == DONE
}

/// The dead letters of one group on one channel.
///
/// The broker keeps them as a log that is only added to. What was delivered again or dropped is marked by a record of its
/// own, with the letter's id and time, so that every adapter can do it and a second attempt finds nothing left to do.
///
/// ```
/// # use pubsub_core as pubsub;
/// # async fn example(bus: pubsub::PubSub) -> pubsub::Result<()> {
/// use pubsub::LetterFilter;
///
/// let letters = bus.dead_letter_box("orders", "billing")?;
/// for letter in letters.list(&LetterFilter::all(), 20).await? {
///     println!("{} {}: {}", letter.id(), letter.message().name(), letter.reason());
/// }
/// let outcome = letters.redrive(&LetterFilter::all().names("orders:*")?.reason("timeout")).await?;
/// println!("{} are delivered again", outcome.done);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeadLetterBox {
    bus: PubSub,
    channel: ChannelName,
    group: GroupName,
    letters: ChannelName,
    progress: Option<Progress>,
}

/// Who is told of each letter that is done.
type Progress = Arc<dyn Fn(&LettersDone) + Send + Sync>;

/// An event that its group gave up.
#[derive(Clone, Debug)]
pub struct Letter(Arc<Message>);

impl Letter {
    /// The event's id.
    pub fn id(&self) -> &EventId {
        self.0.id()
    }

    /// The event with its original payload, and in its metadata why it lies here.
    pub fn message(&self) -> &Arc<Message> {
        &self.0
    }

    /// Why it was given up.
    pub fn reason(&self) -> &str {
        self.0.meta().dead_reason.as_deref().unwrap_or_default()
    }

    /// How often it had been delivered.
    pub fn attempts(&self) -> u32 {
        self.0.meta().dead_attempts.unwrap_or_default()
    }

    /// When it was given up.
    pub fn time(&self) -> Timestamp {
        self.0.meta().dead_time.unwrap_or(Timestamp::MIN)
    }

    /// When the group first met it.
    pub fn first_seen(&self) -> Option<Timestamp> {
        self.0.meta().first_seen
    }
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    id: Option<EventId>,
    names: Option<NamePattern>,
    reason: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl LetterFilter {
    /// All of them.
    pub fn all() -> Self {
        Self::default()
    }

    /// The one of this id.
    pub fn id(id: EventId) -> Self {
        Self { id: Some(id), ..Self::default() }
    }

    /// Those of an event name, `category:*` or `*`.
    ///
    /// # Errors
    /// `Invalid` for a bad pattern.
    pub fn names(mut self, pattern: &str) -> Result<Self> {
        self.names = Some(NamePattern::parse(pattern)?);
        Ok(self)
    }

    /// Those whose reason holds this text.
    #[must_use]
    pub fn reason(mut self, text: impl Into<String>) -> Self {
        self.reason = Some(text.into());
        self
    }

    /// Those that were given up at this time or later.
    #[must_use]
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Those that were given up before this time.
    #[must_use]
    pub fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }

    /// Whether a letter is meant.
    pub fn matches(&self, letter: &Letter) -> bool {
        self.id.as_ref().is_none_or(|id| id == letter.id())
            && self.names.as_ref().is_none_or(|names| names.matches(letter.message().name()))
            && self.reason.as_ref().is_none_or(|text| letter.reason().contains(text.as_str()))
            && self.since.is_none_or(|since| letter.time() >= since)
            && self.until.is_none_or(|until| letter.time() < until)
    }
}

/// What became of the letters that were meant.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LettersDone {
    /// How many were delivered again or dropped.
    pub done: usize,
    /// How many could not be, and lie where they were.
    pub failed: usize,
    /// Why the first of them could not be.
    pub first_error: Option<Error>,
}

/// What tells one letter of an id from the next: how often it was delivered again before, and when it was given up. Time
/// alone would not do, for a letter may be delivered and given up again within a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    round: u64,
    time: Timestamp,
}

impl Turn {
    fn of(message: &Message) -> Self {
        let round = message.meta().extra.get(ROUND).and_then(|round| round.as_u64()).unwrap_or_default();
        Self { round, time: message.meta().dead_time.unwrap_or(Timestamp::MIN) }
    }
}

/// What is known of one id: its latest letter, and the latest that is done with.
#[derive(Clone, Copy, Debug)]
struct Known {
    latest: Option<Turn>,
    done: Option<Turn>,
}

/// What to do with a letter.
#[derive(Clone, Copy)]
enum Act {
    Redrive,
    Drop,
}

impl DeadLetterBox {
    /// Sets who is told after each letter that was delivered again or dropped, or could not be.
    #[must_use]
    pub fn on_progress(mut self, tell: impl Fn(&LettersDone) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(tell));
        self
    }

    /// The letters that are meant, oldest first, up to `limit`. One that was given up several times is listed once, as it
    /// was the last time.
    ///
    /// # Errors
    /// As [`PubSub::history`]; where there are no letters at all, the list is empty.
    pub async fn list(&self, filter: &LetterFilter, limit: usize) -> Result<Vec<Letter>> {
        let known = self.survey().await?;
        let mut found = Vec::new();
        let mut pages = Pages::new();
        while let Some(letters) = pages.next(self).await? {
            for letter in letters.into_iter().filter(|letter| is_open(&known, letter) && filter.matches(letter)) {
                if found.len() >= limit {
                    return Ok(found);
                }
                found.push(letter);
            }
        }
        Ok(found)
    }

    /// One letter.
    ///
    /// # Errors
    /// `NotFound` if there is none of this id, or it is done with; otherwise as [`DeadLetterBox::list`].
    pub async fn show(&self, id: &EventId) -> Result<Letter> {
        let found = self.list(&LetterFilter::id(id.clone()), 1).await?.pop();
        found.ok_or_else(|| {
            let text = format!("group `{}` has no dead letter {id}", self.group);
            Error::new(ErrorKind::NotFound, "show dead letter", text).on(&self.channel)
        })
    }

    /// Delivers the letters that are meant again, to this group alone: with their ids, and as if for the first time. One
    /// that was delivered again or dropped before is not meant by anything any more, unless it was given up anew.
    ///
    /// At least once: a letter whose copy is confirmed but whose record is not will be delivered again by the next call.
    ///
    /// # Errors
    /// As [`DeadLetterBox::list`]. What befell single letters is in the outcome: `Conflict` where the channel still remembers
    /// the id and drops a second event of it.
    pub async fn redrive(&self, filter: &LetterFilter) -> Result<LettersDone> {
        self.act(filter, Act::Redrive).await
    }

    /// Drops the letters that are meant: nothing lists or delivers them any more, and retention removes them in its time.
    ///
    /// # Errors
    /// As [`DeadLetterBox::redrive`].
    pub async fn discard(&self, filter: &LetterFilter) -> Result<LettersDone> {
        self.act(filter, Act::Drop).await
    }

    async fn act(&self, filter: &LetterFilter, act: Act) -> Result<LettersDone> {
        let known = self.survey().await?;
        let mut outcome = LettersDone::default();
        let mut pages = Pages::new();
        while let Some(letters) = pages.next(self).await? {
            for letter in letters.into_iter().filter(|letter| is_open(&known, letter) && filter.matches(letter)) {
                match self.finish(&letter, act).await {
                    Ok(()) => outcome.done += 1,
                    Err(error) => {
                        outcome.failed += 1;
                        outcome.first_error.get_or_insert(error);
                    }
                }
                if let Some(tell) = &self.progress {
                    tell(&outcome);
                }
            }
        }
        Ok(outcome)
    }

    /// The copy is confirmed before the record that the letter is done with.
    async fn finish(&self, letter: &Letter, act: Act) -> Result<()> {
        if let Act::Redrive = act {
            let receipt = self.bus.publish_again(self.copy_of(letter)).await?;
            if receipt.duplicate {
                let text =
                    format!("the channel still remembers the id {}, and drops a second event of it", letter.id());
                return Err(Error::new(ErrorKind::Conflict, "redrive", text).on(&self.channel));
            }
        }
        let record = self.record_of(letter, act)?;
        self.bus.open("settle dead letter")?;
        let adapter = &self.bus.inner.adapter;
        let tickets = adapter.enqueue(smallvec![Arc::new(record)], &PublishOptions::default()).await?;
        super::publish::single(tickets.await?).map(drop)
    }

    /// The event as it was, for this group.
    fn copy_of(&self, letter: &Letter) -> Message {
        let mut copy = Message::clone(letter.message());
        let envelope = copy.envelope_mut();
        envelope.channel = self.channel.clone();
        let meta = &mut envelope.meta;
        (meta.dead_reason, meta.dead_attempts, meta.dead_source, meta.dead_time) = (None, None, None, None);
        (meta.attempt, meta.first_seen) = (None, None);
        meta.extra.insert(REDRIVEN_FOR.to_owned(), self.group.as_str().into());
        meta.extra.insert(ROUND.to_owned(), Turn::of(letter.message()).round.saturating_add(1).into());
        copy
    }

    fn record_of(&self, letter: &Letter, act: Act) -> Result<Message> {
        let mut record = Envelope::new(EventName::from_static(DONE)?, self.letters.clone(), Payload::json("null"));
        record.timestamp = self.bus.clock().now();
        // With the letter's key, it lies where the letter does on a channel that is spread out.
        record.key = letter.message().key().cloned();
        record.meta.causation_id = Some(letter.id().to_string());
        record.meta.dead_time = Some(letter.time());
        let outcome = match act {
            Act::Redrive => "redriven",
            Act::Drop => "dropped",
        };
        record.meta.extra.insert(ROUND.to_owned(), Turn::of(letter.message()).round.into());
        record.meta.extra.insert("outcome".to_owned(), outcome.into());
        Ok(record.into())
    }

    /// Which letters there are, by id. Their number is bounded by what is kept; their payloads are not kept here.
    async fn survey(&self) -> Result<HashMap<EventId, Known>> {
        let mut known: HashMap<EventId, Known> = HashMap::new();
        let mut pages = Pages::new();
        while let Some(messages) = pages.next_messages(self).await? {
            for message in messages {
                let done = is_record(&message);
                let id = match &message.meta().causation_id {
                    Some(id) if done => EventId::parse(id).ok(),
                    _ if done => None,
                    _ => Some(message.id().clone()),
                };
                // A record that names no letter settles none.
                let Some(id) = id else { continue };
                let entry = known.entry(id).or_insert(Known { latest: None, done: None });
                let slot = if done { &mut entry.done } else { &mut entry.latest };
                *slot = (*slot).max(Some(Turn::of(&message)));
            }
        }
        Ok(known)
    }
}

/// Whether a letter is the latest of its id, and not done with.
fn is_open(known: &HashMap<EventId, Known>, letter: &Letter) -> bool {
    // One that came after the survey is left to the next one.
    known.get(letter.id()).is_some_and(|known| {
        let turn = Some(Turn::of(letter.message()));
        known.latest == turn && known.done < turn
    })
}

/// Reads a channel of letters from its beginning to its end.
struct Pages {
    from: StartPosition,
    ended: bool,
}

impl Pages {
    fn new() -> Self {
        Self { from: StartPosition::Earliest, ended: false }
    }

    async fn next(&mut self, letters: &DeadLetterBox) -> Result<Option<Vec<Letter>>> {
        let messages = self.next_messages(letters).await?;
        let letters = |messages: Vec<Arc<Message>>| {
            messages.into_iter().filter(|message| !is_record(message)).map(Letter).collect()
        };
        Ok(messages.map(letters))
    }

    async fn next_messages(&mut self, letters: &DeadLetterBox) -> Result<Option<Vec<Arc<Message>>>> {
        if self.ended {
            return Ok(None);
        }
        let range = HistoryRange::new(letters.letters.clone()).from(self.from.clone()).limit(PAGE);
        let page = match letters.bus.history(&range).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            page => page?,
        };
        self.ended = page.at_end || page.next.is_none();
        if let Some(position) = page.next {
            self.from = StartPosition::After(position);
        }
        Ok(Some(page.events.into_iter().map(|stored| stored.message).collect()))
    }
}

impl fmt::Debug for DeadLetterBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterBox")
            .field("channel", &self.channel)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

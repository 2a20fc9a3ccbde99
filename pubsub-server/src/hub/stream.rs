//! `EventStream`: one client's stream over its channels.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use pubsub_core::{Envelope, ErrorKind, EventName, Message, Payload, Result, driver::BoxFuture};
use tokio::time::sleep;

use super::{
    Heading, OnGap, Shared, Start, Wanted,
    channel::{Channel, Page},
    envelope_text,
    frame::{Frame, Run},
    subscriber::{End, Seat, Subscriber},
};
use crate::{
    User,
    auth::Visible,
    cursor::{Cursor, EARLIEST, Mark},
};

/// The name of the event that tells of missing ones.
const GAP: &str = "pubsub:gap";
/// How long a stream that has read all history waits for its channel's log. It is woken when something comes.
const SEAM: Duration = Duration::from_millis(500);
/// How much a stream takes in one go, in bytes.
const FILL: usize = 128 * 1024;

/// Which events a stream gives.
#[derive(Clone, Default)]
pub(crate) struct Filter {
    /// Names; empty for all.
    pub(crate) names: Vec<EventName>,
    pub(crate) visible: Option<Visible>,
    pub(crate) user: Option<Arc<User>>,
}

impl Filter {
    fn takes_all(&self) -> bool {
        self.names.is_empty() && self.visible.is_none()
    }

    fn takes(&self, frame: &Frame) -> bool {
        !frame.hidden
            && (self.names.is_empty() || self.names.contains(frame.message.name()))
            && self.shows(&frame.message)
    }

    /// Whether the application lets the user see an event.
    pub(crate) fn shows(&self, message: &Message) -> bool {
        self.visible.as_ref().is_none_or(|visible| visible(self.user.as_deref(), message.envelope()))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("names", &self.names).field("visible", &self.visible.is_some()).finish()
    }
}

/// What a stream has in one channel.
pub(super) struct Part {
    channel: Arc<Channel>,
    seat: Arc<Seat>,
    /// The place after the last event that was looked at.
    pub(super) mark: Mark,
    at: At,
}

/// Where a part reads.
enum At {
    /// The log, with this event next.
    Log(u64),
    /// History, which goes on after the part's mark.
    History(Back),
}

/// How far a part is in history.
struct Back {
    page: Option<Arc<Page>>,
    fetch: Option<Fetch>,
    /// How far the log was when the last page was asked for.
    seen: u64,
    /// Set at the end of history: until when to wait for the log to go on.
    end: Option<BoxFuture<'static, ()>>,
}

type Fetch = BoxFuture<'static, Result<Arc<Page>>>;

impl Part {
    pub(super) fn in_log(channel: Arc<Channel>, seat: Arc<Seat>, next: u64, mark: Mark) -> Self {
        seat.move_to(next);
        Self { channel, seat, mark, at: At::Log(next) }
    }

    pub(super) fn in_history(channel: Arc<Channel>, seat: Arc<Seat>, mark: Mark, page: Arc<Page>) -> Self {
        Self { channel, seat, mark, at: At::History(Back { page: Some(page), fetch: None, seen: 0, end: None }) }
    }

    /// Goes on in the log, if what comes after the mark is there.
    fn enter_log(&mut self) -> bool {
        let next = self.channel.log().after(&self.mark);
        if let Some(next) = next {
            self.seat.move_to(next);
            self.at = At::Log(next);
        }
        next.is_some()
    }
}

/// What a look at a part gave.
enum Look {
    /// Events to be written.
    Run(Arc<Run>, Range<usize>),
    /// Events before the next ones are gone.
    Gap,
    /// Something changed: look again.
    Again,
    /// Nothing now.
    Nothing,
    /// It is over.
    Over,
}

/// One client's stream: text for its connection.
pub(crate) struct EventStream {
    shared: Arc<Shared>,
    subscriber: Arc<Subscriber>,
    parts: Vec<Part>,
    filter: Filter,
    on_gap: OnGap,
    requested: Option<String>,
    /// Which part misses events, before its next ones.
    gap: Option<usize>,
    /// Where it begins, as `pubsub-last-event-id` tells; `None` unless it was asked for a position.
    began: Option<String>,
    /// The place that was last told apart from an event.
    told: Option<String>,
    turn: usize,
    out: VecDeque<Bytes>,
}

impl EventStream {
    pub(super) fn new(
        shared: Arc<Shared>,
        subscriber: Arc<Subscriber>,
        parts: Vec<Part>,
        wanted: Wanted,
        gap: Option<usize>,
    ) -> Self {
        let Wanted { start, on_gap, filter, .. } = wanted;
        let mut stream = Self {
            shared,
            subscriber,
            parts,
            filter,
            on_gap,
            requested: None,
            gap,
            began: None,
            told: None,
            turn: 0,
            out: VecDeque::new(),
        };
        stream.began = match &start {
            Start::Live => None,
            Start::Earliest => Some(EARLIEST.to_owned()),
            Start::After(_, text) if gap.is_none() => Some(text.clone()),
            Start::After(..) => Some(stream.resumed_after().unwrap_or_else(|| EARLIEST.to_owned())),
        };
        stream.requested = match start {
            Start::After(_, text) => Some(text),
            _ => None,
        };
        stream
    }

    /// Where the stream begins, if it was asked for a position.
    pub(crate) fn began(&self) -> Option<&str> {
        self.began.as_deref()
    }

    /// The place after everything that was written, unless it was told already: where a client goes on that has had no event
    /// yet, or none for long because others have passed that are not for it.
    pub(crate) fn place(&mut self) -> Option<String> {
        if self.gap.is_some() || !self.out.is_empty() {
            return None;
        }
        let place = self.cursor().encode();
        let news = self.told.as_ref() != Some(&place);
        news.then(|| self.told.insert(place).clone())
    }

    /// When the user's credentials end.
    pub(crate) fn valid_until(&self) -> Option<pubsub_core::Timestamp> {
        self.filter.user.as_ref()?.valid_until
    }

    pub(crate) fn clock(&self) -> &pubsub_core::Clock {
        self.shared.bus.clock()
    }

    /// The next piece of text; `None` when the server ends the stream.
    pub(crate) fn poll_text(&mut self, cx: &mut Context<'_>, heading: Heading) -> Poll<Option<Bytes>> {
        let mut parked = false;
        loop {
            if let Some(text) = self.out.pop_front() {
                return Poll::Ready(Some(text));
            }
            if self.subscriber.is_ended() {
                return Poll::Ready(None);
            }
            if let Some(part) = self.gap.take() {
                self.write_gap(heading, part);
                continue;
            }
            match self.look_around(cx, heading) {
                Some(true) => {}
                Some(false) if parked => return Poll::Pending,
                Some(false) => {
                    // Looked once more after this: whoever adds an event from here on finds somebody to wake.
                    self.subscriber.wait(cx.waker());
                    parked = true;
                }
                None => return Poll::Ready(None),
            }
        }
    }

    /// Takes something from each part in turn; whether there was anything. `None` if the stream is over.
    fn look_around(&mut self, cx: &mut Context<'_>, heading: Heading) -> Option<bool> {
        let (count, mut found, mut size) = (self.parts.len(), false, 0);
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            match self.look(index, cx) {
                Look::Run(run, range) => {
                    size += self.write(&run, range, index, heading);
                    found = true;
                }
                Look::Gap => {
                    self.gap = Some(index);
                    found = true;
                }
                Look::Again => found = true,
                Look::Nothing => {}
                Look::Over => return None,
            }
            if size > FILL || self.gap.is_some() {
                self.turn = (index + 1) % count;
                return Some(true);
            }
        }
        Some(found)
    }

    fn look(&mut self, index: usize, cx: &mut Context<'_>) -> Look {
        let part = &mut self.parts[index];
        match &mut part.at {
            At::Log(next) => {
                let (start, found) = {
                    let log = part.channel.log();
                    (log.start(), log.read(*next))
                };
                if part.channel.is_over() {
                    return Look::Over;
                }
                if *next < start {
                    self.shared.note_slow(u64::from(self.subscriber.end(End::Slow)));
                    return Look::Over;
                }
                let Some((run, offset)) = found else { return Look::Nothing };
                let range = offset..run.frames.len();
                *next += range.len() as u64;
                part.seat.move_to(*next);
                Look::Run(run, range)
            }
            At::History(back) => {
                if let Some(page) = back.page.take() {
                    if let Mark::At(_) = page.next {
                        part.mark = page.next.clone();
                    }
                    back.end = page.at_end.then(|| Box::pin(sleep(SEAM)) as BoxFuture<'static, ()>);
                    part.enter_log();
                    let range = 0..page.run.frames.len();
                    return if range.is_empty() { Look::Again } else { Look::Run(page.run.clone(), range) };
                }
                if let Some(end) = &mut back.end {
                    // Where positions of history and log differ, as with several partitions, history is read on instead.
                    let waits = part.channel.log().end() == back.seen && end.as_mut().poll(cx).is_pending();
                    if part.channel.log().after(&part.mark).is_some() {
                        part.enter_log();
                        return Look::Again;
                    }
                    if waits {
                        return if part.channel.is_over() { Look::Over } else { Look::Nothing };
                    }
                    back.end = None;
                }
                let reading = back.fetch.get_or_insert_with(|| {
                    back.seen = part.channel.log().end();
                    let (channel, shared, mark) = (part.channel.clone(), self.shared.clone(), part.mark.clone());
                    Box::pin(async move { channel.page(&shared, &mark).await })
                });
                let read = match Pin::new(reading).poll(cx) {
                    Poll::Pending => return Look::Nothing,
                    Poll::Ready(read) => read,
                };
                back.fetch = None;
                match read {
                    Ok(read) => {
                        back.page = Some(read);
                        Look::Again
                    }
                    Err(error) if error.kind() == ErrorKind::PositionExpired && self.on_gap == OnGap::Replay => {
                        part.mark = Mark::Origin(u64::MAX);
                        Look::Gap
                    }
                    Err(error) => {
                        tracing::debug!(channel = %part.channel.name, %error, "a stream ends: its history cannot be read");
                        Look::Over
                    }
                }
            }
        }
    }

    /// Writes events of one part; gives the size of the text.
    fn write(&mut self, run: &Arc<Run>, range: Range<usize>, index: usize, heading: Heading) -> usize {
        let before = self.out.len();
        if self.parts.len() == 1 {
            if self.filter.takes_all() {
                self.push(run.slice(heading, range.clone()));
            } else {
                self.write_some(run, range.clone(), heading);
            }
        } else {
            for at in range.clone() {
                let frame = &run.frames[at];
                self.parts[index].mark = Mark::At(frame.position.clone());
                if self.filter.takes(frame) {
                    let cursor = self.cursor().encode();
                    run.single(heading, at, &cursor).into_iter().for_each(|text| self.push(text));
                }
            }
        }
        if let Some(last) = range.end.checked_sub(1).and_then(|last| run.frames.get(last)) {
            self.parts[index].mark = Mark::At(last.position.clone());
        }
        self.out.iter().skip(before).map(Bytes::len).sum()
    }

    /// Writes those that the filter takes, as few slices.
    fn write_some(&mut self, run: &Run, range: Range<usize>, heading: Heading) {
        let mut from = range.start;
        for at in range.clone() {
            if !self.filter.takes(&run.frames[at]) {
                self.push(run.slice(heading, from..at));
                from = at + 1;
            }
        }
        self.push(run.slice(heading, from..range.end));
    }

    fn push(&mut self, text: Bytes) {
        if !text.is_empty() {
            self.out.push_back(text);
        }
    }

    fn cursor(&self) -> Cursor {
        let mut cursor = Cursor::default();
        for part in &self.parts {
            cursor.push(part.channel.key, part.mark.clone());
        }
        cursor
    }

    /// The place after which the stream goes on; `None` if that is before everything.
    fn resumed_after(&self) -> Option<String> {
        let any = self.parts.iter().any(|part| matches!(part.mark, Mark::At(_)));
        any.then(|| self.cursor().encode())
    }

    /// Tells that events are missing. Its id is a place from which the next event follows.
    fn write_gap(&mut self, heading: Heading, index: usize) {
        let requested = self.requested.clone().unwrap_or_else(|| EARLIEST.to_owned());
        let payload = serde_json::json!({ "requested": requested, "resumedAfter": self.resumed_after() }).to_string();
        let Ok(name) = EventName::from_static(GAP) else { return };
        let mut envelope = Envelope::new(name, self.parts[index].channel.name.clone(), Payload::json(payload));
        envelope.timestamp = self.shared.bus.clock().now();
        let text = envelope_text(&envelope.into());
        let event = if heading == Heading::Named { format!("event: {GAP}\n") } else { String::new() };
        let cursor = self.cursor().encode();
        self.push(Bytes::from(format!("{event}id: {cursor}\ndata: ")));
        self.push(text);
        self.push(Bytes::from_static(b"\n\n"));
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.subscriber.release();
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("channels", &self.parts.len()).finish_non_exhaustive()
    }
}

//! An answer in many items, seen from the caller.

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use pubsub_core::{
    ChannelName, Error, ErrorKind, Result,
    driver::BoxFuture,
    observe::Hop,
    rpc::{CallError, Reply, ReplyBody, StreamControl},
};
use tokio::sync::mpsc;

use super::{
    EventRpc,
    call::{self, Asking, Call, ReadReply},
    link::Word,
    table::{Answer, Entry, Many, Waiter},
};

/// How many items may be on their way unless the call says otherwise.
pub(super) const DEFAULT_WINDOW: u32 = 64;

/// An answer in many items, as they come. Dropping it tells the responder to stop.
pub struct Replies<R> {
    rpc: EventRpc,
    queue: mpsc::Receiver<Answer>,
    read: ReadReply<R>,
    entry: Entry,
    timeout: Duration,
    over: BoxFuture<'static, ()>,
    window: u64,
    /// How many items were taken, and so the number of the next one.
    taken: u64,
    /// Below which number the responder may send.
    limit: u64,
    /// Where the responder listens; known from its first item on.
    control: Option<ChannelName>,
    ended: bool,
    /// The span of the call, until its end.
    hop: Hop,
}

pub(super) async fn open<R: Send + 'static>(call: Call<'_, R>) -> Result<Replies<R>, CallError> {
    let (rpc, read, timeout, window) = (call.rpc.clone(), call.read, call.timeout, call.window);
    let hop = call.hop();
    // One place more than the window, for the end of the stream.
    let (sender, queue) = mpsc::channel(window as usize + 1);
    let asking = Asking::prepare(call, Waiter::Many(Many::Stream(sender)), Some(u64::from(window)))?;
    let over = rpc.inner.bus.clock().sleep(timeout);
    let sent = |_: &mut Context<'_>, sent| if sent { Poll::Ready(Ok(())) } else { Poll::Pending };
    let ended = hop.run(asking.until(sent)).await;
    rpc.inner.table.count_timeout(ended.late);
    ended.outcome.inspect_err(|error| hop.failed(error.kind().as_str(), error))?;
    let entry = ended.entry.ok_or_else(|| call::timed_out(timeout, false))?;
    let window = u64::from(window);
    Ok(Replies {
        rpc,
        queue,
        read,
        entry,
        timeout,
        over,
        window,
        taken: 0,
        limit: window,
        control: None,
        ended: false,
        hop,
    })
}

impl<R> Replies<R> {
    /// The next item; `None` when the stream is complete. After an error there is nothing more.
    ///
    /// Cancel safe: dropping the future loses no item.
    ///
    /// # Errors
    /// [`CallError::Failed`] with what the responder says, at any place of the stream. [`CallError::Bus`] with `Timeout` at
    /// the deadline, `Codec` for an item that does not fit, `Unavailable` where items were lost or another responder began
    /// anew, and whatever else ends a call.
    pub async fn next(&mut self) -> Option<Result<R, CallError>> {
        while !self.ended {
            self.grant().await;
            let answer = std::future::poll_fn(|cx| match self.queue.poll_recv(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => self.over.as_mut().poll(cx).map(|()| None),
            });
            let step = match answer.await {
                Some(Some(Ok(reply))) => self.take(reply),
                Some(Some(Err(error))) => Step::Last(Err(error.into())),
                // The table lets go of a stream only with a word about its end, unless the reader was slow to hear it.
                Some(None) => Step::Last(Err(Error::new(ErrorKind::Cancelled, "request", "the call was ended").into())),
                None => {
                    self.rpc.inner.table.count_timeout(true);
                    Step::Last(Err(call::timed_out(self.timeout, true).into()))
                }
            };
            match step {
                Step::Skip => {}
                Step::Item(item) => return Some(Ok(item)),
                Step::Last(last) => {
                    self.end();
                    if let Err(error) = &last {
                        self.hop.failed(error.code().as_str(), error);
                    }
                    return Some(last);
                }
                Step::Complete => self.ended = true,
            }
        }
        None
    }

    fn take(&mut self, reply: Reply) -> Step<R> {
        let broken = |kind, text: String| Step::Last(Err(Error::new(kind, "request", text).perhaps_applied().into()));
        match reply.body {
            ReplyBody::Failure(failure) => {
                self.ended = true; // by the responder: it need not be told
                Step::Last(Err(CallError::Failed(failure)))
            }
            ReplyBody::End { items } if items == self.taken => Step::Complete,
            ReplyBody::End { items } => {
                broken(ErrorKind::Unavailable, format!("{} of {items} items came; the others are lost", self.taken))
            }
            ReplyBody::Value(payload) if self.taken == 0 => {
                self.ended = true;
                match (self.read)(payload) {
                    Ok(item) => Step::Item(item),
                    Err(error) => Step::Last(Err(error.into())),
                }
            }
            ReplyBody::Item { control, .. } if self.taken > 0 && control != self.control => {
                broken(ErrorKind::Unavailable, "another responder began the stream anew".to_owned())
            }
            ReplyBody::Item { sequence, .. } if sequence < self.taken => {
                self.rpc.inner.table.count_duplicate();
                Step::Skip
            }
            ReplyBody::Item { sequence, payload, control } if sequence == self.taken => {
                self.control = control;
                self.taken += 1;
                match (self.read)(payload) {
                    Ok(item) => Step::Item(item),
                    Err(error) => Step::Last(Err(error.into())),
                }
            }
            ReplyBody::Item { sequence, .. } => {
                broken(ErrorKind::Unavailable, format!("items {} to {sequence} are lost", self.taken))
            }
            _ => broken(ErrorKind::Codec, "the responder answers a stream with something else".to_owned()),
        }
    }

    /// Makes room known when half of the window is used up. Cancel safe: a word that was not sent is sent next time.
    async fn grant(&mut self) {
        let limit = self.taken + self.window;
        let Some(control) = &self.control else { return };
        if limit - self.limit < self.window.div_ceil(2) {
            return;
        }
        self.rpc.inner.link.say_when_possible(self.word(control, StreamControl::More { limit })).await;
        self.limit = limit;
    }

    fn word(&self, to: &ChannelName, control: StreamControl) -> Word {
        Word { to: to.clone(), call: self.entry.id().clone(), control }
    }

    /// Nobody reads on: the responder is told, if it is known and has not ended by itself. One that is not known yet is told
    /// when its first item comes.
    fn end(&mut self) {
        if let (false, Some(control)) = (self.ended, &self.control) {
            self.rpc.inner.link.say(self.word(control, StreamControl::Cancel));
        }
        self.ended = true;
    }
}

/// What a reply means for the stream.
enum Step<R> {
    Skip,
    Item(R),
    Last(Result<R, CallError>),
    Complete,
}

impl<R> Drop for Replies<R> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<R> fmt::Debug for Replies<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("taken", &self.taken).field("ended", &self.ended).finish_non_exhaustive()
    }
}

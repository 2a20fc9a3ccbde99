use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Direction;
use super::counters::Tally;
use super::faults::{Faults, Flow};

const CHUNK: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The stream ended and its end was passed on.
    Finished,
    /// A side broke the connection, or it must not go on.
    Broken,
}

/// What the faults ask of this direction now.
enum Task {
    Break,
    Wait,
    Discard,
    Forward(Duration),
}

/// Moves the bytes of one direction.
pub(super) struct Pump {
    direction: Direction,
    faults: watch::Receiver<Faults>,
    tally: Arc<Tally>,
    half_closes: u64,
    half_closed: bool,
    /// Bytes were swallowed, so what follows must not be delivered.
    holed: bool,
    /// Nothing more comes from the sender.
    ended: bool,
}

impl Pump {
    pub(super) fn new(
        direction: Direction,
        seen: &Faults,
        faults: watch::Receiver<Faults>,
        tally: &Arc<Tally>,
    ) -> Self {
        Self {
            direction,
            faults,
            tally: Arc::clone(tally),
            half_closes: seen.half_closes[direction as usize],
            half_closed: false,
            holed: false,
            ended: false,
        }
    }

    pub(super) async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
        let mut buffer = vec![0; CHUNK];
        // The part of the buffer that is still to be written, and from when on.
        let mut pending = 0..0;
        let mut due = Instant::now();
        loop {
            let task = self.task();
            if self.is_newly_half_closed() {
                self.tally.discarded(pending.len());
                pending = 0..0;
                self.half_closed = true;
                if to.shutdown().await.is_err() {
                    return End::Broken;
                }
            }
            match task {
                Task::Break => return End::Broken,
                Task::Wait => {
                    if self.faults.changed().await.is_err() {
                        return End::Broken;
                    }
                }
                Task::Discard => {
                    self.tally.discarded(pending.len());
                    self.holed |= !pending.is_empty() && !self.half_closed;
                    pending = 0..0;
                    if let Some(end) = self.discard(&mut from, &mut buffer).await {
                        return end;
                    }
                }
                Task::Forward(_) if !pending.is_empty() => {
                    let write = async {
                        sleep_until(due).await;
                        to.write(&buffer[pending.clone()]).await
                    };
                    tokio::select! {
                        biased;
                        _ = self.faults.changed() => {}
                        written = write => match written {
                            Ok(count) if count > 0 => {
                                self.tally.forwarded(self.direction, count);
                                pending.start += count;
                            }
                            _ => return End::Broken,
                        },
                    }
                }
                Task::Forward(delay) => tokio::select! {
                    biased;
                    _ = self.faults.changed() => {}
                    read = from.read(&mut buffer) => match read {
                        Ok(0) => return if to.shutdown().await.is_ok() { End::Finished } else { End::Broken },
                        Ok(count) => {
                            pending = 0..count;
                            due = Instant::now() + delay;
                        }
                        Err(_) => return End::Broken,
                    },
                },
            }
        }
    }

    fn task(&mut self) -> Task {
        // An error means that the proxy is gone, and with it this task.
        if self.faults.has_changed().is_err() {
            return Task::Break;
        }
        let faults = self.faults.borrow_and_update();
        match faults.flow {
            Flow::Stall => Task::Wait,
            Flow::Blackhole if self.ended => Task::Wait,
            Flow::Blackhole => Task::Discard,
            Flow::Pass if self.holed => Task::Break,
            Flow::Pass if self.half_closed || faults.half_closes[self.direction as usize] != self.half_closes => {
                Task::Discard
            }
            Flow::Pass => Task::Forward(faults.delay),
        }
    }

    fn is_newly_half_closed(&self) -> bool {
        !self.half_closed && self.faults.borrow().half_closes[self.direction as usize] != self.half_closes
    }

    /// Reads and forgets. Returns how the direction ended, if it did.
    ///
    /// A black hole swallows the end of a stream too, a reset one included: the other side must not notice.
    async fn discard(&mut self, from: &mut ReadHalf<'_>, buffer: &mut [u8]) -> Option<End> {
        let read = tokio::select! {
            biased;
            _ = self.faults.changed() => return None,
            read = from.read(buffer) => read,
        };
        self.holed |= !self.half_closed;
        match read {
            Ok(count) if count > 0 => {
                self.tally.discarded(count);
                None
            }
            Ok(_) if self.half_closed => Some(End::Finished),
            Err(_) if self.half_closed => Some(End::Broken),
            _ => {
                self.ended = true;
                None
            }
        }
    }
}

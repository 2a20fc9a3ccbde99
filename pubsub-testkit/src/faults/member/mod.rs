//! Members: publishers and consumers that can be killed and paused without asking the adapter.

mod child;
mod process;

pub(super) use child::{Task, VARIABLE, main};
pub(super) use process::spawn;

use std::{
    fs::File,
    io::{BufRead, BufReader, PipeWriter, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pubsub_core::driver::async_trait;

use super::{Note, Notebook, Tally};
use crate::conformance::{Failure, Verdict};

/// Somebody who publishes or consumes, and may be killed.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a member of the fault suite",
    note = "implement `Member` of `pubsub_testkit::faults`"
)]
pub trait Member: Send + Sync {
    /// Ends it in the middle of whatever it does (`SIGKILL`).
    ///
    /// # Errors
    /// If it has ended before.
    async fn kill(&mut self) -> Verdict;

    /// Stops it where it is (`SIGSTOP`), or lets it go on (`SIGCONT`).
    ///
    /// # Errors
    /// If it has ended before.
    fn pause(&mut self, paused: bool) -> Verdict;

    /// Tells it to acknowledge what it holds.
    ///
    /// # Errors
    /// If it has ended before.
    fn settle(&mut self) -> Verdict;

    /// Tells it to leave in good order, and waits until it has.
    ///
    /// # Errors
    /// If it does not within the limit.
    async fn leave(&mut self, within: Duration) -> Verdict;

    /// Asks it to end, as an orchestrator does (`SIGTERM`), and waits until it has.
    ///
    /// # Errors
    /// If it does not within the limit, or fails.
    async fn terminate(&mut self, within: Duration) -> Verdict;

    /// How many bytes of memory it uses, where that can be told.
    fn memory(&self) -> Option<u64>;
}

/// A tally that members write to, whether they are tasks or processes.
///
/// Processes share one pipe: the kernel keeps the order of their lines, so that what one noted before it acknowledged
/// comes before what another one noted afterwards. The reader of the pipe is a thread, which ends with the last writer.
#[derive(Clone, Debug)]
pub struct Record {
    tally: Arc<Mutex<Tally>>,
    pipe: Arc<PipeWriter>,
}

impl Record {
    /// A record that begins with this tally.
    ///
    /// # Errors
    /// If there is no pipe, or no thread, to be had.
    pub fn new(tally: Tally) -> Verdict<Self> {
        let failed = |error| Failure::new("a pipe and its reader", error);
        let (reader, pipe) = std::io::pipe().map_err(failed)?;
        let tally = Arc::new(Mutex::new(tally));
        let filled = tally.clone();
        let read = move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let Some((member, note)) = line.split_once(' ') else { continue };
                if let (Ok(member), Some(note)) = (member.parse(), Note::parse(note)) {
                    lock(&filled).apply(member, note);
                }
            }
        };
        std::thread::Builder::new().name("members' notes".to_owned()).spawn(read).map_err(failed)?;
        Ok(Self { tally, pipe: Arc::new(pipe) })
    }

    /// The tally by now.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// The notebook of a member that is a task of this process.
    pub fn notebook(&self, member: u32) -> Arc<dyn Notebook> {
        Arc::new(Page { member, pipe: self.pipe.clone() })
    }

    /// The end of the pipe that a process writes to.
    fn writer(&self) -> std::io::Result<PipeWriter> {
        self.pipe.try_clone()
    }
}

/// Tasks write to the pipe as well: there is one order for all.
struct Page {
    member: u32,
    pipe: Arc<PipeWriter>,
}

impl Notebook for Page {
    fn note(&self, note: Note) {
        let line = format!("{} {note}\n", self.member);
        // Fails only when nobody reads any more.
        (&*self.pipe).write_all(line.as_bytes()).ok();
    }
}

/// The resident memory of a process, on systems that have `/proc`.
fn resident(process: u32) -> Option<u64> {
    let status = File::open(format!("/proc/{process}/status")).ok()?;
    let lines = BufReader::new(status).lines().map_while(Result::ok);
    let line = lines.into_iter().find_map(|line| line.strip_prefix("VmRSS:").map(str::to_owned))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

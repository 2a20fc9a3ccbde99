//! The parent's side of a member that is a process.

use std::{
    io::Write,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use pubsub_core::driver::async_trait;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::{Member, Record, VARIABLE, resident};
use crate::conformance::{Failure, Verdict, ensure};

/// A member in a process of its own, which ends with this value.
struct Process {
    child: Child,
    orders: Option<ChildStdin>,
}

/// Runs this program again, as the member that `task` describes.
pub(in crate::faults) fn spawn(task: &str, record: &Record) -> Verdict<Box<dyn Member>> {
    let failed = |error| Failure::new("a process for a member", error);
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.env(VARIABLE, task).stdin(Stdio::piped()).stdout(record.writer().map_err(failed)?);
    let mut child = command.spawn().map_err(failed)?;
    let orders = child.stdin.take();
    Ok(Box::new(Process { child, orders }))
}

impl Process {
    fn order(&mut self, line: &str) -> Verdict {
        let Some(orders) = &mut self.orders else { return Err(Failure::new("a member that takes orders", "none")) };
        orders.write_all(line.as_bytes()).map_err(|error| Failure::new("a member that takes orders", error))
    }

    fn signal(&self, signal: Signal) -> Verdict {
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let process = process.ok_or_else(|| Failure::new("a process id", self.child.id()))?;
        kill_process(process, signal).map_err(|error| Failure::new("a member that can be signalled", error))
    }

    async fn ended(&mut self, within: Duration) -> Verdict {
        let deadline = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return ensure(status.success(), "a member that leaves in good order", status),
                Ok(None) if Instant::now() < deadline => sleep(Duration::from_millis(10)).await,
                Ok(None) => return Err(Failure::new(format!("a member to leave within {within:?}"), "it is there")),
                Err(error) => return Err(Failure::new("a member that leaves", error)),
            }
        }
    }
}

#[async_trait]
impl Member for Process {
    async fn kill(&mut self) -> Verdict {
        self.child.kill().map_err(|error| Failure::new("a member that can be killed", error))?;
        self.child.wait().map(drop).map_err(|error| Failure::new("a killed member that ends", error))
    }

    fn pause(&mut self, paused: bool) -> Verdict {
        self.signal(if paused { Signal::STOP } else { Signal::CONT })
    }

    fn settle(&mut self) -> Verdict {
        self.order("settle\n")
    }

    async fn leave(&mut self, within: Duration) -> Verdict {
        self.order("leave\n")?;
        self.ended(within).await
    }

    async fn terminate(&mut self, within: Duration) -> Verdict {
        self.signal(Signal::TERM)?;
        self.ended(within).await
    }

    fn memory(&self) -> Option<u64> {
        resident(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

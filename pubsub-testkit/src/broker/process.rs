//! A server and its companions as one process group.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::leash::Leash;

const POLL: Duration = Duration::from_millis(5);

/// Child processes that are signalled and ended together. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct ProcessGroup {
    /// The last one is the server.
    children: Vec<Child>,
    group: Pid,
    /// `None` once the group may outlive this process.
    leash: Option<Leash>,
}

impl ProcessGroup {
    pub(crate) fn spawn(commands: Vec<Command>, log: &Path) -> io::Result<Self> {
        let mut started: Option<Self> = None;
        for mut command in commands {
            let log = File::options().create(true).append(true).open(log)?;
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            let group = started.as_ref().map_or(0, |running| running.group.as_raw_nonzero().get());
            let child = command.process_group(group).spawn()?;
            match &mut started {
                Some(running) => running.children.push(child),
                None => {
                    started = Some(Self { group: pid_of(&child)?, children: vec![child], leash: None });
                }
            }
        }
        let mut started = started.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no command"))?;
        started.leash = Some(Leash::new(started.group)?);
        Ok(started)
    }

    /// How the first process that ended did so; a server without its companion counts as ended.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        for child in &mut self.children {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process_group(self.group, signal)?)
    }

    /// Stops all processes, and waits until the kernel says they are.
    pub(super) fn pause(&self, within: Duration) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        let stopped = || self.children.iter().all(|child| state_of(child.id()).is_none_or(|state| state == 'T'));
        wait_until(within, stopped)
    }

    /// Asks the server to end, and kills the group when it has not within the limit.
    /// Returns whether the server ended by itself.
    pub(crate) fn terminate(&mut self, within: Duration) -> io::Result<bool> {
        self.signal(Signal::CONT).ok();
        if let Some(server) = self.children.last_mut() {
            if server.try_wait()?.is_none() {
                kill_process(pid_of(server)?, Signal::TERM)?;
            }
            let deadline = Instant::now() + within;
            while server.try_wait()?.is_none() && Instant::now() < deadline {
                thread::sleep(POLL);
            }
        }
        let by_itself = self.children.last_mut().is_none_or(|server| matches!(server.try_wait(), Ok(Some(_))));
        self.kill();
        Ok(by_itself)
    }

    pub(crate) fn kill(&mut self) {
        // Fails only when nothing of the group is left.
        self.signal(Signal::KILL).ok();
        for child in &mut self.children {
            child.wait().ok();
        }
    }

    /// Lets the group outlive this process. Returns the process ids of the server and of the group.
    pub(super) fn release(mut self) -> (u32, u32) {
        self.leash = None;
        let server = self.children.last().map_or(0, Child::id);
        let group = self.group.as_raw_nonzero().get().unsigned_abs();
        self.children.clear();
        (server, group)
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // Without children it was released.
        if !self.children.is_empty() {
            self.kill();
        }
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    pid(child.id())
}

pub(super) fn pid(number: u32) -> io::Result<Pid> {
    i32::try_from(number)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{number} is no process id")))
}

/// The state letter of a process, on systems that have `/proc`.
pub(super) fn state_of(process: u32) -> Option<char> {
    stat(process)?.first()?.chars().next()
}

/// When the process started, in ticks since the machine did; with the id it names a process once and for all.
pub(super) fn start_time_of(process: u32) -> Option<u64> {
    stat(process)?.get(19)?.parse().ok()
}

/// The fields of `/proc/<id>/stat` after the name, which may itself hold spaces and parentheses.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

pub(super) fn wait_until(within: Duration, mut condition: impl FnMut() -> bool) -> io::Result<()> {
    let deadline = Instant::now() + within;
    while !condition() {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(POLL);
    }
    Ok(())
}

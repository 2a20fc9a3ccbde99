//! Ends a process group when this process is gone, however it went.
//!
//! `Drop` does not run when a test is killed. So each group has a shell beside it that reads from a pipe which only we
//! hold open: when we end, the read ends, and the shell kills the group.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

#[derive(Debug)]
pub(super) struct Leash(Child);

impl Leash {
    pub(super) fn new(group: Pid) -> io::Result<Self> {
        let script = format!("read -r _; kill -KILL -{}", group.as_raw_nonzero());
        Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for us, not for it.
            .process_group(0)
            .spawn()
            .map(Self)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // Killed before its pipe is closed, so it does not act.
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}

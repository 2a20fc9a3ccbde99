//! The log file of one part, into which every command of the part writes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Fault;

pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    pub(crate) fn create(folder: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{name}.log"));
        Ok(Self { file: File::create(&path)?, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn say(&mut self, line: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.file, "{}", line.as_ref())
    }

    /// Runs a command to its end, and fails when it does.
    pub(crate) fn run(&mut self, command: &mut Command, limit: Duration) -> Result<(), Fault> {
        match self.try_run(command, limit)? {
            status if status.success() => Ok(()),
            status => Err(format!("{} failed: {status}", shown(command)).into()),
        }
    }

    /// Runs a command to its end. Fails when it cannot be started or does not end within the limit.
    pub(crate) fn try_run(&mut self, command: &mut Command, limit: Duration) -> Result<ExitStatus, Fault> {
        let line = shown(command);
        self.say(format!("\n$ {line}"))?;
        // In CI nobody presses Ctrl-C; a group of its own lets all that hangs be ended at once.
        if std::env::var_os("CI").is_some() {
            command.process_group(0);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(self.file.try_clone()?)
            .stderr(self.file.try_clone()?)
            .spawn()
            .map_err(|fault| format!("cannot start {line}: {fault}"))?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                end(&mut child);
                return Err(format!("{line} did not end within {} s", limit.as_secs()).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn text(&self) -> String {
        fs::read(&self.path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

/// Kills the child and, where it leads a group, the group.
fn end(child: &mut Child) {
    let group = format!("kill -KILL -{}", child.id());
    Command::new("/bin/sh").args(["-c", &group]).stderr(Stdio::null()).status().ok();
    child.kill().ok();
    child.wait().ok();
}

/// The command as it would be typed.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

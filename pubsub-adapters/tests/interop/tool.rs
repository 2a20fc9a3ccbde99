//! Programs that are run to their end, with a bound on their time.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::Failed;
use pubsub_testkit::broker::find;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a program on some input, and gives what it prints.
pub(crate) fn run(mut command: Command, input: &str) -> Result<String, Failed> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|fault| format!("cannot start {command:?}: {fault}"))?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("the program has no pipes".into());
    };
    let (stdout, stderr) = (read(stdout), read(stderr));
    // One that ends without reading shows why by its status.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    let begun = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if begun.elapsed() < LIMIT => thread::sleep(Duration::from_millis(10)),
            None => {
                child.kill()?;
                child.wait()?;
                return Err(format!("{command:?} did not end within {LIMIT:?}").into());
            }
        }
    };
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        reader.join().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    if status.success() { Ok(stdout) } else { Err(format!("{command:?}: {status}\n{stdout}\n{stderr}").into()) }
}

fn read(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        bytes
    })
}

/// One of the scripts beside this file, with arguments, by the Python that has the stock clients.
pub(crate) fn script(name: &str, arguments: &[&str]) -> Result<Command, Failed> {
    let mut command = Command::new(python()?);
    command.arg(format!("{}/tests/interop/{name}", env!("CARGO_MANIFEST_DIR"))).args(arguments);
    Ok(command)
}

pub(crate) fn python() -> Result<PathBuf, String> {
    let python = find::tools_folder().map(|folder| folder.join("python/bin/python3")).filter(|file| file.exists());
    python.ok_or_else(|| "no Python with the stock clients; `cargo xtask test --only interop` gets them".to_owned())
}

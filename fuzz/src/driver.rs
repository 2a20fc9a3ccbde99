//! Replays seeds, then tries mutations of them, until the time is up.

use std::{
    fs, io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{
    Target,
    mutate::{Chance, mutated, random},
};

/// Accepted mutations that are kept to be mutated further, beside the seeds.
const POOL: usize = 1_024;
/// Longer inputs are tried but not kept: they only grow, and slow everything down.
const POOLED_LEN: usize = 1_024;

/// What became of one target.
#[derive(Debug)]
pub struct Report {
    /// How many inputs were tried, seeds included.
    pub tried: u64,
    /// How many of them the target accepted.
    pub accepted: u64,
    /// The first input on which it panicked.
    pub crash: Option<Crash>,
}

/// An input on which a target panicked.
#[derive(Debug)]
pub struct Crash {
    /// The input.
    pub input: Vec<u8>,
    /// The panic's message and place.
    pub message: String,
}

/// Where the seeds lie, seen from wherever cargo runs us.
pub fn seeds_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("fuzz"), PathBuf::from).join("seeds")
}

/// Runs a target for some time, and stops at the first crash. The inputs and their order depend on `seed` alone.
///
/// # Errors
/// If the seeds of the target cannot be read.
pub fn run(target: Target, seeds: &Path, seed: u64, time: Duration) -> io::Result<Report> {
    let mut pool = read_seeds(&seeds.join(target.name))?;
    let fixed = pool.len();
    let mut report = Report { tried: 0, accepted: 0, crash: None };
    for input in &pool {
        attempt(target, input, &mut report);
        if report.crash.is_some() {
            return Ok(report);
        }
    }
    let mut chance = Chance::new(seed);
    let start = Instant::now();
    while start.elapsed() < time {
        for _ in 0..256 {
            let input = if chance.below(16) == 0 { random(&mut chance) } else { mutated(&pool, &mut chance) };
            let accepted = attempt(target, &input, &mut report);
            if report.crash.is_some() {
                return Ok(report);
            }
            if accepted && input.len() <= POOLED_LEN && chance.below(8) == 0 {
                if pool.len() < fixed + POOL {
                    pool.push(input);
                } else {
                    let slot = fixed + chance.below(POOL);
                    pool[slot] = input;
                }
            }
        }
    }
    Ok(report)
}

/// Tries one input; whether it was accepted.
fn attempt(target: Target, input: &[u8], report: &mut Report) -> bool {
    report.tried += 1;
    match catch(|| (target.run)(input)) {
        Ok(accepted) => {
            report.accepted += u64::from(accepted);
            accepted
        }
        Err(message) => {
            report.crash = Some(Crash { input: input.to_vec(), message });
            false
        }
    }
}

/// Runs `body` and gives the message of its panic, if it panics.
fn catch(body: impl FnOnce() -> bool) -> Result<bool, String> {
    static LAST: Mutex<String> = Mutex::new(String::new());
    static HOOK: std::sync::Once = std::sync::Once::new();

    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| {
            if let Ok(mut last) = LAST.lock() {
                *last = info.to_string();
            }
        }));
    });
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|_| LAST.lock().map(|last| last.clone()).unwrap_or_default())
}

fn read_seeds(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    paths.iter().map(fs::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_and_reported() {
        let target =
            Target { name: "names", run: |input| if input.len() > 3 { unreachable!("too long") } else { true } };
        let report = run(target, &seeds_folder(), 1, Duration::from_secs(5)).unwrap();
        let crash = report.crash.unwrap();
        assert!(crash.input.len() > 3 && crash.message.contains("too long"));
    }
}

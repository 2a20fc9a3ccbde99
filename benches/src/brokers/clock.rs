//! Time as it passes, and as this process spends it.

use std::{fs, time::Instant};

/// Time and processor time from a moment on.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    started: Instant,
    spent: u64,
}

impl Since {
    /// From now on.
    pub fn now() -> Self {
        let spent = spent_nanos();
        Self { started: Instant::now(), spent }
    }

    /// Events per second, and nanoseconds of this process per event, those of the client's own threads included.
    pub fn per(self, count: usize) -> [f64; 2] {
        let took = self.started.elapsed();
        let spent = spent_nanos().saturating_sub(self.spent);
        [count as f64 / took.as_secs_f64(), spent as f64 / count as f64]
    }
}

/// What all threads of this process that are alive have spent, as Linux counts it; nothing elsewhere.
fn spent_nanos() -> u64 {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return 0 };
    let spent = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.flatten().filter_map(spent).sum()
}

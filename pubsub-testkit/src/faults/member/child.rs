//! The child's side of a member that is a process.

use std::{
    io::{BufRead, Write, stdin, stdout},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use pubsub_core::{Result, driver::Adapter};
use serde::{Deserialize, Serialize};
use tokio::{
    runtime::Builder,
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    conformance::{Failure, Verdict},
    faults::{Note, Notebook, Order, Role, Work, work},
};

/// Makes a test binary a member instead of a runner of tests.
pub(in crate::faults) const VARIABLE: &str = "PUBSUB_FAULT_MEMBER";

/// What the parent tells a member at its start.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::faults) struct Task {
    pub(in crate::faults) number: u32,
    pub(in crate::faults) url: String,
    pub(in crate::faults) work: Work,
    /// How long it may take to connect.
    pub(in crate::faults) connect: Duration,
    /// How long it may take to leave.
    pub(in crate::faults) close: Duration,
}

impl Task {
    pub(in crate::faults) fn to_text(&self) -> Verdict<String> {
        serde_json::to_string(self).map_err(|error| Failure::new("a task as JSON", error))
    }
}

/// Lines on the standard output, which is the pipe that all members share.
struct Lines(u32);

impl Notebook for Lines {
    fn note(&self, note: Note) {
        let line = format!("{} {note}\n", self.0);
        // One write per line, and none left in a buffer when the process is killed.
        let mut out = stdout().lock();
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).ok();
    }
}

/// Works as the parent says, until it says to leave, or is gone.
pub(in crate::faults) fn main<F>(task: &str, open: impl Fn(String) -> F) -> ExitCode
where
    F: Future<Output = Result<Arc<dyn Adapter>>>,
{
    let Ok(task) = serde_json::from_str::<Task>(task) else { return ExitCode::from(2) };
    let Ok(runtime) = Builder::new_multi_thread().worker_threads(2).enable_all().build() else {
        return ExitCode::from(2);
    };
    let book = Arc::new(Lines(task.number));
    let orders = watch::Sender::new(Order::Work);
    let told = orders.clone();
    std::thread::spawn(move || obey(&told));
    let result = runtime.block_on(work_and_close(&task, open, book.clone(), &orders));
    let code = match result {
        Ok(()) => {
            book.note(Note::Ended);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            book.note(Note::Broken(failure.to_string()));
            ExitCode::FAILURE
        }
    };
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn work_and_close<F>(
    task: &Task,
    open: impl Fn(String) -> F,
    book: Arc<Lines>,
    told: &watch::Sender<Order>,
) -> Verdict
where
    F: Future<Output = Result<Arc<dyn Adapter>>>,
{
    let (deadline, mut orders) = (Instant::now() + task.connect, told.subscribe());
    let adapter = loop {
        match open(task.url.clone()).await {
            Ok(adapter) => break adapter,
            // It may have been started while the broker was down.
            Err(error) if error.is_retryable() && Instant::now() < deadline => {
                sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(Failure::from(error).during("opening an adapter")),
        }
    };
    let bus = work::bus(adapter, task.work.shards);
    if matches!(task.work.role, Role::Handle(_)) {
        // As services are asked to end.
        let told = told.clone();
        tokio::spawn(async move {
            pubsub_router::terminated().await;
            told.send_replace(Order::Leave);
        });
    }
    work::run(&bus, &task.work, book, orders.clone()).await?;
    // A publisher that has done its work stays until it is told to go.
    orders.wait_for(|order| *order == Order::Leave).await.ok();
    match bus.close(task.close).await {
        Err(error) if error.kind() != pubsub_core::ErrorKind::Timeout => Err(error.into()),
        _ => Ok(()),
    }
}

/// Passes the parent's orders on; the end of the parent is the end of the process.
fn obey(orders: &watch::Sender<Order>) {
    for line in stdin().lock().lines().map_while(Result::ok) {
        match line.as_str() {
            "settle" => drop(orders.send_replace(Order::Settle)),
            _ => drop(orders.send_replace(Order::Leave)),
        }
        if *orders.borrow() == Order::Leave {
            return;
        }
    }
    std::process::exit(3);
}

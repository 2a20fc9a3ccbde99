//! The memory of a process that reads a large backlog, or that publishes into a full bus: a table of its own.

use std::{
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use pubsub::{PubSub, StartPosition};
use pubsub_benches::{
    brokers::{
        ours::{Ours, address},
        side::Side,
    },
    event::{Order, order},
    limit::Place,
    names,
};
use tokio::runtime::Runtime;

use crate::{
    args::{Job, Options},
    servers,
};

const EVENTS: usize = 1_000_000;
const SIZE: usize = 256;
/// What the peak may grow between the first tenth of the events and the last, beside a quarter: allocators are no scales.
const SLACK_MIB: f64 = 8.0;

/// Prints the table.
pub(crate) fn table(options: &Options) -> ExitCode {
    let count = if options.quick { EVENTS / 10 } else { EVENTS };
    println!("case\tevents\theld_at\tstart_mib\ttenth_mib\tpeak_mib\tseconds\tbounded");
    let mut sound = true;
    if options.takes("inside") {
        sound &= print("memory/held-rss", count, None);
    }
    for broker in names::BROKERS.into_iter().filter(|broker| options.takes(broker)) {
        match servers::url(broker) {
            Ok(url) => {
                let place = Place { url, name: servers::fresh(), prompt: false, history: true };
                let filled = place.clone();
                let fill = async move {
                    let side = Ours::open(&filled).await;
                    side.publish(count, &order(SIZE)).await;
                    let _ = side.bus().close(Duration::from_secs(10)).await;
                };
                let runtime = runtime();
                if runtime.block_on(runtime.spawn(fill)).is_err() {
                    eprintln!("{broker}/backlog-rss: the backlog could not be published");
                    sound = false;
                    continue;
                }
                sound &= print(&format!("{broker}/backlog-rss"), count, Some(&address(&place)));
            }
            Err(why) if options.part.is_some() => {
                eprintln!("{why}");
                sound = false;
            }
            // Nobody asked for this broker.
            Err(_) => {}
        }
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the job in a process of its own, whose memory holds nothing else, and prints what it says.
fn print(name: &str, count: usize, address: Option<&str>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("rss-of").arg(count.to_string()).args(address).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    match said.lines().last() {
        Some(row) if output.status.success() => {
            println!("{name}\t{count}\t{row}");
            row.ends_with("yes")
        }
        _ => {
            eprintln!("{name}: the process ended with {}", output.status);
            false
        }
    }
}

/// The work of that process.
pub(crate) fn job(job: &Job) -> ExitCode {
    let runtime = runtime();
    let (address, count) = (job.address.clone(), job.count);
    let done = runtime.spawn(async move {
        match address {
            Some(address) => backlog(&address, count).await,
            None => held(count).await,
        }
    });
    match runtime.block_on(done) {
        Ok(row) => {
            println!("{row}");
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Reads `count` typed events with default options.
async fn read(bus: &PubSub, group: &str, count: usize) -> Tenth {
    let mut events = bus.subscribe::<Order>().group(group).start(StartPosition::Earliest).await.unwrap();
    let mut tenth = 0.0;
    for seen in 1..=count {
        let event = events.next().await.unwrap().unwrap();
        assert!(event.total > 0.0);
        if seen < count {
            event.ack();
        } else {
            event.ack_confirmed().await.unwrap();
        }
        if seen == count / 10 {
            tenth = peak_mib();
        }
    }
    Tenth(tenth)
}

/// The peak after a tenth of the events.
struct Tenth(f64);

async fn backlog(address: &str, count: usize) -> String {
    let bus = pubsub::connect(address).await.unwrap();
    let (start, started) = (peak_mib(), Instant::now());
    let tenth = read(&bus, "g", count).await;
    row("-", start, &tenth, started)
}

/// Publishes into memory whose group does not read at first, so that the publisher is held back at the capacity.
async fn held(count: usize) -> String {
    let bus = pubsub::connect("memory:").await.unwrap();
    let waiting = bus.subscribe::<Order>().group("g").start(StartPosition::Earliest).await.unwrap();
    let (start, started) = (peak_mib(), Instant::now());
    let published = Arc::new(AtomicUsize::new(0));
    let publisher = tokio::spawn({
        let (bus, published, event) = (bus.clone(), published.clone(), order(SIZE));
        async move {
            for _ in 0..count {
                bus.publish(&event).await.unwrap();
                published.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut held_at = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = published.load(Ordering::Relaxed);
        if now == held_at && now > 0 {
            break;
        }
        held_at = now;
    }
    drop(waiting);
    let tenth = read(&bus, "g", count).await;
    publisher.await.unwrap();
    row(&held_at.to_string(), start, &tenth, started)
}

fn row(held_at: &str, start: f64, tenth: &Tenth, started: Instant) -> String {
    let (peak, seconds) = (peak_mib(), started.elapsed().as_secs_f64());
    let bounded = if peak <= tenth.0 * 1.25 + SLACK_MIB { "yes" } else { "NO" };
    format!("{held_at}\t{start:.1}\t{:.1}\t{peak:.1}\t{seconds:.1}\t{bounded}", tenth.0)
}

/// The most memory that this process had at a time, as Linux counts it.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

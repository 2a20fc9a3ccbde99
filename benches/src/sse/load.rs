//! Streams, read as cheaply as can be: events are counted by the empty lines behind them, and timed by their number.

use std::{
    cell::RefCell,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Side, process::Process, publish::Poster};

/// How many connections are opened at the same time.
const OPENING: usize = 128;
/// How many connections publish.
const PUBLISHERS: usize = 16;
/// Events per second where latency is measured.
const RATE: u32 = 20;
/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Latencies are kept in steps of so many nanoseconds, so many of them.
const STEP: u64 = 20_000;
const STEPS: usize = 250_000;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 128 * 1024]);
}

/// What all readers add to.
struct Tally {
    origin: Instant,
    connected: AtomicU64,
    delivered: AtomicU64,
    closed: AtomicBool,
    /// When the timed events were published, in nanoseconds since the origin.
    published: Vec<AtomicU64>,
    latencies: Vec<AtomicU64>,
}

impl Tally {
    fn new(timed: usize) -> Arc<Self> {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            origin: Instant::now(),
            connected: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            published: zeros(timed),
            latencies: zeros(if timed > 0 { STEPS } else { 0 }),
        })
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Waits for so many of something.
    async fn until(&self, what: &AtomicU64, count: u64) -> Result<(), String> {
        let wait = async {
            while what.load(Ordering::Acquire) < count && !self.closed.load(Ordering::Acquire) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = timeout(PATIENCE, wait).await;
        let there = what.load(Ordering::Acquire);
        if self.closed.load(Ordering::Acquire) {
            return Err("the server has ended a stream".to_owned());
        }
        waited.map_err(|_| format!("{there} of {count} have come"))?;
        if there > count { Err(format!("{there} have come instead of {count}")) } else { Ok(()) }
    }

    /// The microseconds below which this part of the latencies lies.
    fn latency(&self, part: f64) -> f64 {
        let counts: Vec<u64> = self.latencies.iter().map(|count| count.load(Ordering::Acquire)).collect();
        let wanted = counts.iter().sum::<u64>() as f64 * part;
        let mut seen = 0;
        let step = counts.iter().position(|count| {
            seen += count;
            seen as f64 >= wanted
        });
        (step.unwrap_or(STEPS) as u64 * STEP) as f64 / 1e3
    }
}

/// Finds the ends of events in the bytes of a connection, wherever a read cuts them.
#[derive(Default)]
struct Scan {
    before: [u8; 2],
}

impl Scan {
    /// Empty lines; those behind a comment without text do not count.
    fn count(&mut self, bytes: &[u8]) -> u64 {
        let at = |index: usize, back: usize| match index.checked_sub(back) {
            Some(index) => bytes[index],
            None => self.before[2 - (back - index)],
        };
        let ends = memchr::memchr_iter(b'\n', bytes).filter(|end| at(*end, 1) == b'\n' && at(*end, 2) != b':').count();
        for byte in &bytes[bytes.len().saturating_sub(2)..] {
            self.before = [self.before[1], *byte];
        }
        ends as u64
    }
}

async fn read(stream: TcpStream, greetings: u64, tally: Arc<Tally>) {
    let (mut scan, mut blocks) = (Scan::default(), 0);
    loop {
        if stream.readable().await.is_err() {
            break;
        }
        let found = BUFFER.with_borrow_mut(|buffer| match stream.try_read(buffer) {
            Ok(0) => None,
            Ok(read) => Some(scan.count(&buffer[..read])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        });
        let Some(found) = found else { break };
        if found == 0 {
            continue;
        }
        let events = |blocks: u64| blocks.saturating_sub(greetings);
        let (first, last) = (events(blocks), events(blocks + found));
        if blocks < greetings && blocks + found >= greetings {
            tally.connected.fetch_add(1, Ordering::AcqRel);
        }
        blocks += found;
        if last > first {
            if let Some(published) = tally.published.get(first as usize..) {
                let now = tally.now();
                for published in published.iter().take((last - first) as usize) {
                    let step = (now - published.load(Ordering::Acquire)) / STEP;
                    tally.latencies[(step as usize).min(STEPS - 1)].fetch_add(1, Ordering::Relaxed);
                }
            }
            tally.delivered.fetch_add(last - first, Ordering::AcqRel);
        }
    }
    tally.closed.store(true, Ordering::Release);
}

/// Opens so many streams. They are read until the set is dropped.
async fn connect(server: &Process, side: Side, count: usize, after: Option<&str>, tally: &Arc<Tally>) -> JoinSet<()> {
    let (mut readers, opening) = (JoinSet::new(), Arc::new(Semaphore::new(OPENING)));
    let (request, address) = (Arc::new(side.subscribe(after)), Arc::new(server.address.clone()));
    for _ in 0..count {
        let permit = opening.clone().acquire_owned().await.unwrap();
        let (request, address, tally) = (request.clone(), address.clone(), tally.clone());
        readers.spawn(async move {
            let mut stream = TcpStream::connect(&*address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            drop(permit);
            read(stream, side.greetings(), tally).await;
        });
    }
    readers
}

/// One channel to so many streams. Gives deliveries per second and the server's microseconds of processor for each, with as
/// many events under way as the streams keep up with; the median and the 99th percentile of the microseconds from the
/// call that publishes to the read at 20 events per second; KiB of the server's memory per stream that is silent.
///
/// # Errors
/// When a stream is ended, or anything is missing or comes twice.
pub async fn fan_out(side: Side, streams: usize, time: Duration) -> Result<[f64; 5], String> {
    let server = Process::start(side)?;
    let timed = (time.as_secs_f64() * f64::from(RATE)).ceil() as usize;
    let tally = Tally::new(timed);
    // What the first stream and the first event cost is not counted to any.
    {
        let tally = Tally::new(0);
        let _first = connect(&server, side, 1, None, &tally).await;
        tally.until(&tally.connected, 1).await?;
        Poster::open(&server.address).await.post(&side.publish()).await?;
        tally.until(&tally.delivered, 1).await?;
    }
    let empty = server.memory();
    let _readers = connect(&server, side, streams, None, &tally).await;
    tally.until(&tally.connected, streams as u64).await?;
    let idle = (server.memory() - empty) / streams as f64;

    // Not before: a server closes a connection that is idle for as long as it may take to open the streams.
    let mut poster = Poster::open(&server.address).await;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    for published in &tally.published {
        ticks.tick().await;
        published.store(tally.now(), Ordering::Release);
        poster.post(&side.publish()).await?;
    }
    tally.until(&tally.delivered, (timed * streams) as u64).await?;
    let [p50, p99] = [0.5, 0.99].map(|part| tally.latency(part));

    let (rate, cpu) = saturate(&server, side, streams as u64, time, &tally).await?;
    Ok([rate, cpu, p50, p99, idle])
}

async fn saturate(
    server: &Process,
    side: Side,
    streams: u64,
    time: Duration,
    tally: &Arc<Tally>,
) -> Result<(f64, f64), String> {
    let (before, cpu, started) = (tally.delivered.load(Ordering::Acquire), server.cpu(), Instant::now());
    let most = (200_000 / streams).clamp(8, 256) * streams;
    let published = Arc::new(AtomicU64::new(0));
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        let (address, tally, published) = (server.address.clone(), tally.clone(), published.clone());
        publishers.spawn(async move {
            let (mut poster, request) = (Poster::open(&address).await, side.publish());
            while started.elapsed() < time {
                let out = published.load(Ordering::Acquire) * streams;
                if out.saturating_sub(tally.delivered.load(Ordering::Acquire) - before) > most {
                    sleep(Duration::from_millis(1)).await;
                    continue;
                }
                published.fetch_add(1, Ordering::AcqRel);
                poster.post(&request).await?;
            }
            Ok::<_, String>(())
        });
    }
    publishers.join_all().await.into_iter().collect::<Result<(), String>>()?;
    let wanted = published.load(Ordering::Acquire) * streams;
    tally.until(&tally.delivered, before + wanted).await?;
    let (spent, deliveries) = (server.cpu() - cpu, wanted as f64);
    Ok((deliveries / started.elapsed().as_secs_f64(), spent * 1e6 / deliveries))
}

/// So many streams are cut and miss so many events; the milliseconds from their coming back, all at once, until each has
/// all of them.
///
/// # Errors
/// When a stream is ended, or anything is missing or comes twice.
pub async fn resume(side: Side, streams: usize, events: usize) -> Result<[f64; 1], String> {
    let server = Process::start(side)?;
    let tally = Tally::new(0);
    let readers = connect(&server, side, streams, None, &tally).await;
    tally.until(&tally.connected, streams as u64).await?;
    let mut poster = Poster::open(&server.address).await;
    let place = poster.place(side).await?;
    tally.until(&tally.delivered, streams as u64).await?;
    drop(readers);
    for _ in 0..events {
        poster.post(&side.publish()).await?;
    }
    let (tally, started) = (Tally::new(0), Instant::now());
    let _readers = connect(&server, side, streams, Some(&place), &tally).await;
    tally.until(&tally.delivered, (streams * events) as u64).await?;
    Ok([started.elapsed().as_secs_f64() * 1e3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_wherever_they_are_cut() {
        let text = b"HTTP/1.1 200 OK\r\n\r\n9\r\n: hello\n\n\r\n4\r\nid: 1\ndata: 2\n\n\r\n3\r\n:\n\n\r\n8\r\nid: 2\ndata: {}\n\n\r\n";
        for cut in 1..text.len() {
            let mut scan = Scan::default();
            let found: u64 = text.chunks(cut).map(|part| scan.count(part)).sum();
            assert_eq!(found, 3, "{cut}");
        }
    }
}

//! Several handlers at a time, in order per key: `cargo run --example ordered_lanes`.
//!
//! Four handlers work on the moves of five cars. One car is slow, and another one has an accident that takes three attempts
//! to clear. Each car's moves are handled in their order, also across the failures, and no car waits for another.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pubsub::{Attempt, ChannelPolicy, HandlerError, Retry, Router, State};

const CARS: [&str; 5] = ["blue", "green", "red", "slow", "unlucky"];
const MOVES: u32 = 6;

#[pubsub::event("cars:moved")]
struct Moved {
    #[event(key)]
    car: String,
    number: u32,
}

/// By car: which move was handled, and when.
type Moves = BTreeMap<String, Vec<(u32, Instant)>>;

#[derive(Clone, Default)]
struct Track(Arc<Mutex<Moves>>);

impl Track {
    fn note(&self, car: String, number: u32) {
        let mut track = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        track.entry(car).or_default().push((number, Instant::now()));
    }

    fn moves(&self) -> Moves {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn follow(moved: Moved, Attempt(attempt): Attempt, State(track): State<Track>) -> Result<(), HandlerError> {
    match (moved.car.as_str(), moved.number) {
        ("slow", _) => tokio::time::sleep(Duration::from_millis(50)).await,
        ("unlucky", 2) if attempt < 3 => return Err(HandlerError::retry("an accident")),
        _ => {}
    }
    track.note(moved.car, moved.number);
    Ok(())
}

#[tokio::main]
async fn main() -> pubsub::Result<()> {
    // The channel promises order per key; so it holds when an event fails, too.
    let policy = ChannelPolicy::new().ordered_per_key(8);
    let bus = pubsub::builder("memory:").await?.policy("cars", policy)?.build();
    let track = Track::default();
    let retry = Retry::exponential(5).delays(Duration::from_millis(20), Duration::from_millis(40));
    let router = Router::new().group("map").concurrency(4).on(follow).layer(retry).with_state(track.clone());
    let running = router.start(&bus).await?;

    let begun = Instant::now();
    for number in 0..MOVES {
        for car in CARS {
            bus.publish(&Moved { car: car.into(), number }).await?;
        }
    }
    while running.handled("map", "cars")?.succeeded < u64::from(MOVES) * CARS.len() as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.drain(Duration::from_secs(5)).await?;
    for (car, moves) in track.moves() {
        let in_order = moves.iter().map(|(number, _)| *number).eq(0..MOVES);
        let last = moves.last().map(|(_, time)| time.duration_since(begun).as_millis()).unwrap_or_default();
        println!("{car:8} in order: {in_order}, done after {last:3} ms");
    }
    bus.close(Duration::from_secs(5)).await
}

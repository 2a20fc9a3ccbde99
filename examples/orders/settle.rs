//! Waiting until every group is through with every order.

use std::time::{Duration, Instant};

use pubsub::PubSub;

use super::{
    dead_letters::{DeadLetter, DeadLetters},
    failure::Failure,
    groups::{Groups, NAMES},
    intake::Intake,
    progress::Progress,
};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);
/// When nothing moves for this long, it waits no longer: the report shows what is missing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the numbers are told.
const TELL: Duration = Duration::from_millis(500);

/// Waits until each group has applied or given up as many orders as were published, and has none in hand. Returns the
/// dead letters of all groups.
pub(crate) async fn wait(
    bus: &PubSub,
    run: &str,
    intake: &Intake,
    groups: &Groups,
    progress: &Progress,
) -> Result<Vec<DeadLetter>, Failure> {
    let mut dead = NAMES.map(DeadLetters::of).into_iter().collect::<pubsub::Result<Vec<_>>>()?;
    let (mut last, mut moved) = (Vec::new(), Instant::now());
    let (mut told, mut tell_at) = (Vec::new(), Instant::now());
    loop {
        // Looked at first: what is in nobody's hands is in a ledger or among the dead letters.
        let in_hand = groups.in_hand();
        let mut settled = Vec::with_capacity(NAMES.len());
        for ((name, ledger), dead) in groups.ledgers().zip(&mut dead) {
            dead.read_on(bus, run).await?;
            settled.push((name, ledger.pages().entries.len() + dead.letters.len()));
        }
        let done = in_hand == 0 && settled.iter().all(|(_, count)| *count >= intake.accepted());
        if told != settled && (done || tell_at <= Instant::now()) {
            progress.settled(&settled, intake.accepted());
            (told, tell_at) = (settled.clone(), Instant::now() + TELL);
        }
        if settled != last {
            (last, moved) = (settled, Instant::now());
        }
        if !done && moved.elapsed() > PATIENCE {
            progress.say(&format!("nothing has moved for {PATIENCE:?}: giving up the wait"));
        } else if !done {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let letters = dead.into_iter().flat_map(|mut dead| {
            dead.letters.sort_by_key(|letter| letter.line);
            dead.letters
        });
        return Ok(letters.collect());
    }
}

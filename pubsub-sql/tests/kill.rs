//! A process that writes, relays and consumes is killed at random instants (SIGKILL): what was committed has its effect
//! once, nothing else has one. 40 times, or 200 with `PUBSUB_TEST_LONG`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a case that panics has failed")]
#![allow(clippy::print_stdout, reason = "its counts are what it is for")]

#[path = "kill/child.rs"]
mod child;
mod support;

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use child::Job;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use pubsub_core::store::Outbox;
use pubsub_sql::SqlOutbox;
use support::{Kind, Stage};

const CHILD: &str = "--killed-child";
/// The longest that a process lives once it is at work.
const LONGEST_LIFE: Duration = Duration::from_millis(400);

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    if words.get(1).is_some_and(|word| word == CHILD) {
        let job = Job { url: words[2].clone(), first: words[3].parse().unwrap(), inbox: words[4] == "inbox" };
        runtime().block_on(child::work_until_killed(&job));
        return ExitCode::SUCCESS;
    }
    let kills = if env::var_os("PUBSUB_TEST_LONG").is_some() { 200 } else { 40 };
    let trials = vec![
        Trial::ignorable_test("sqlite", move || survives(Kind::Sqlite, kills)),
        Trial::ignorable_test("postgres", move || survives(Kind::Postgres, kills)),
        Trial::ignorable_test("without_an_inbox_effects_are_doubled", || doubles(Kind::Sqlite)),
    ];
    let mut arguments = Arguments::from_args();
    // Each wants the processor for itself.
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials);
    support::stop_server();
    conclusion.exit_code()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = env::var("PUBSUB_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(now.as_nanos() as u64);
        println!("PUBSUB_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: Duration) -> Duration {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bound.mul_f64(((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// Starts a process, and kills it some time after it has begun to work.
fn kill_one(url: &str, round: u32, inbox: bool, after: Duration) {
    let program = env::current_exe().unwrap();
    let mut child = Command::new(program)
        .args([CHILD, url, &(i64::from(round) * 1_000_000).to_string(), if inbox { "inbox" } else { "none" }])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "at work\n", "the process ended by itself: {:?}", child.wait());
    thread::sleep(after);
    assert_eq!(child.try_wait().unwrap(), None, "the process ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn stage(kind: Kind) -> Result<Stage, String> {
    let stage = Stage::open(kind).await?;
    // No key: what happens twice has to show.
    stage.run("CREATE TABLE effects (n BIGINT NOT NULL)").await;
    stage.run("CREATE TABLE copies (n BIGINT NOT NULL)").await;
    Ok(stage)
}

fn survives(kind: Kind, kills: u32) -> Result<Completion, Failed> {
    let runtime = runtime();
    let stage = match runtime.block_on(stage(kind)) {
        Ok(stage) => stage,
        Err(missing) => return Ok(Completion::ignored_with(missing)),
    };
    let (mut dice, begun) = (Dice::new(), Instant::now());
    for round in 0..kills {
        kill_one(&stage.url, round, true, dice.below(LONGEST_LIFE));
    }
    runtime.block_on(async {
        let job = Job { url: stage.url.clone(), first: 0, inbox: true };
        child::finish(&job).await;
        let outbox = SqlOutbox::new(&support::memory(), &stage.database);
        let backlog = Outbox::backlog(&outbox).await.unwrap();
        assert_eq!((backlog.depth, backlog.parked), (0, 0));
        let rows = stage.things().await;
        let events = stage.number("SELECT COUNT(*) FROM pubsub_outbox WHERE state = 1").await;
        let effects = stage.number("SELECT COUNT(*) FROM effects").await;
        let lost = stage.number("SELECT COUNT(*) FROM things WHERE n NOT IN (SELECT n FROM effects)").await;
        let foreign = stage.number("SELECT COUNT(*) FROM effects WHERE n NOT IN (SELECT n FROM things)").await;
        let copies = stage.number("SELECT COUNT(*) FROM copies").await;
        let took = begun.elapsed().as_secs();
        println!("{kind:?}: {kills} kills in {took} s: {rows} rows, {events} events, {effects} effects, {lost} lost");
        println!("{kind:?}: {copies} copies of events were delivered and had no effect");
        assert_eq!((events, effects, lost, foreign), (rows, rows, 0, 0));
        assert!(rows > i64::from(kills), "the processes hardly worked: {rows} rows");
    });
    Ok(Completion::Completed)
}

/// The same kills, and no inbox: were no event delivered twice, the test above would prove little.
fn doubles(kind: Kind) -> Result<Completion, Failed> {
    let runtime = runtime();
    let stage = runtime.block_on(stage(kind))?;
    let mut dice = Dice::new();
    for round in 0..40 {
        kill_one(&stage.url, round, false, dice.below(LONGEST_LIFE));
        let doubled = stage.number("SELECT COUNT(*) - COUNT(DISTINCT n) FROM effects");
        if runtime.block_on(doubled) > 0 {
            return Ok(Completion::Completed);
        }
    }
    Err("40 kills have doubled nothing".into())
}

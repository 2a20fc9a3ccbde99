//! `pubsub dlq`: dead letters.

use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use pubsub::{DeadLetterBox, Letter, LetterFilter, LettersDone, PubSub};
use serde_json::{Value, json};

use crate::{
    Fault,
    args::{Dlq, LettersOf},
    output::{Output, document, payload, printable},
};

/// More letters than any channel keeps.
const ALL: usize = usize::MAX;

pub(crate) async fn run(bus: &PubSub, command: Dlq, output: Output) -> Result<(), Fault> {
    let open = |of: &LettersOf| bus.dead_letter_box(&of.channel, &of.group);
    match command {
        Dlq::List { of, which, limit } => {
            for letter in open(&of)?.list(&which.filter()?, limit).await? {
                output.say(&described(&letter), || line(&letter));
            }
        }
        Dlq::Show { of, id } => {
            let letter = open(&of)?.show(&id).await?;
            output.say(&described(&letter), || whole(&letter));
        }
        Dlq::Redrive { of, which } => {
            let (letters, filter) = (open(&of)?, which.filter()?);
            let bar = bar(&letters, &filter, "delivered again").await?;
            let done = letters.on_progress(counting(&bar)).redrive(&filter).await?;
            told(&bar, &done, "redriven", output)?;
        }
        Dlq::Drop { of, which } => {
            let (letters, filter) = (open(&of)?, which.filter()?);
            let bar = bar(&letters, &filter, "dropped").await?;
            let done = letters.on_progress(counting(&bar)).discard(&filter).await?;
            told(&bar, &done, "dropped", output)?;
        }
    }
    Ok(())
}

fn line(letter: &Letter) -> String {
    let (id, name) = (letter.id(), letter.message().name());
    format!("{id} {} {name} after {}: {}", letter.time(), letter.attempts(), printable(letter.reason()))
}

fn whole(letter: &Letter) -> String {
    let message = letter.message();
    let first = letter.first_seen().map_or_else(|| "-".to_owned(), |time| time.to_string());
    [
        format!("id        {}", letter.id()),
        format!("name      {} version {}", message.name(), message.version()),
        format!("reason    {}", printable(letter.reason())),
        format!("attempts  {}", letter.attempts()),
        format!("first     {first}"),
        format!("given up  {}", letter.time()),
        format!("payload   {}", payload(message)),
    ]
    .join("\n")
}

fn described(letter: &Letter) -> Value {
    json!({
        "id": letter.id(),
        "reason": letter.reason(),
        "attempts": letter.attempts(),
        "firstSeen": letter.first_seen(),
        "time": letter.time(),
        "event": document(letter.message()),
    })
}

/// A bar as long as there are letters. It hides itself where no person looks, and then they are not read to be counted.
async fn bar(letters: &DeadLetterBox, filter: &LetterFilter, verb: &'static str) -> Result<ProgressBar, Fault> {
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} {msg}, {eta} left")?;
    let bar = ProgressBar::new(0).with_style(style).with_message(verb);
    if !bar.is_hidden() {
        bar.set_length(letters.list(filter, ALL).await?.len() as u64);
    }
    Ok(bar)
}

fn counting(bar: &ProgressBar) -> impl Fn(&LettersDone) + Send + Sync + 'static {
    let (bar, last) = (bar.clone(), AtomicU64::new(0));
    move |done| {
        let now = (done.done + done.failed) as u64;
        bar.inc(now.saturating_sub(last.swap(now, Ordering::Relaxed)));
    }
}

fn told(bar: &ProgressBar, done: &LettersDone, verb: &str, output: Output) -> Result<(), Fault> {
    bar.finish_and_clear();
    output.say(&json!({ (verb): done.done, "failed": done.failed }), || format!("{verb}: {}", done.done));
    match &done.first_error {
        None => Ok(()),
        Some(error) => {
            Err(format!("{} letters are left where they were; the first because: {error}", done.failed).into())
        }
    }
}

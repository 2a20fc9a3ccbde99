//! A15, A16, E15: which handler gets which event.

use std::{borrow::Cow, error::Error as StdError, sync::Arc, time::Duration};

use pubsub_core::{
    __private::schemars, ChannelName, ContentType, DecodedBy, Decoder, Envelope, Event, EventName, Letter,
    LetterFilter, Message, Payload, PubSub,
};
use pubsub_router::Router;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{HANDLERS, Log, drain, note, notes, publish, settled, start};
use crate::{
    conformance::{Case, Ctx, Note, Time, Verdict, ensure, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "A15",
        title: "one handler on two channels, two groups on one channel, two names on one channel: each gets what is its own",
        needs: HANDLERS,
        bites: &[Fault::GroupsMerged, Fault::LoseMessage, Fault::CrossTalk],
        run: |ctx| Box::pin(split(ctx)),
    },
    Case {
        id: "A16",
        title: "handlers added at run time receive, and stopped ones receive no more and lose nothing",
        needs: HANDLERS,
        bites: &[Fault::LoseMessage],
        run: |ctx| Box::pin(come_and_go(ctx)),
    },
    Case {
        id: "E15",
        title: "prefixes nest, and a router that is included twice is there once",
        needs: HANDLERS,
        bites: &[Fault::LoseMessage, Fault::Duplicate],
        run: |ctx| Box::pin(prefixes(ctx)),
    },
    Case {
        id: "E15-codec",
        title: "a handler reads its event by a decoder of its own, and no other handler does",
        needs: HANDLERS,
        bites: &[Fault::LoseMessage, Fault::GroupsMerged],
        run: |ctx| Box::pin(decoders(ctx)),
    },
];

/// Another event on the channel of notes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "pubsub_core::__private::schemars")]
struct Erased {
    topic: String,
    at: Time,
}

impl Event for Erased {
    const NAME: &'static str = "conformance:erased";
    const CHANNEL: &'static str = Note::CHANNEL;

    fn key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.topic))
    }
}

type Seen = Log<(&'static str, String, u64)>;

/// A handler of notes that writes down which channel they came on.
fn reader(name: &'static str, log: &Seen) -> Router {
    let log = log.clone();
    Router::new().on(move |event: Note, message: Arc<Message>| {
        log.add((name, message.channel().to_string(), event.number));
        async {}
    })
}

async fn split(ctx: Ctx) -> Verdict {
    let (bus, log) = (ctx.bus().await?, Seen::default());
    let erased = log.clone();
    let handler = reader("both", &log);
    let router = Router::new().merge(Router::new().group("one").merge(handler.clone()).nest("second", handler)).merge(
        Router::new().group("two").merge(reader("other", &log)).on(move |event: Erased| {
            erased.add(("erased", event.topic, 0));
            async {}
        }),
    );
    let running = start(&bus, router).await?;
    bus.publish(&note("a", 1)).await?;
    bus.publish(&Erased { topic: "gone".to_owned(), at: Time(bus.clock().now()) }).await?;
    let mut elsewhere = bus.envelope(&note("a", 2))?;
    elsewhere.channel = ChannelName::parse(&format!("second.{}", Note::CHANNEL))?;
    bus.publish_envelope(elsewhere).await?;
    let mut seen = log.reach(&ctx, 4).await?;
    settled(&ctx, &running, "one").await?;
    settled(&ctx, &running, "two").await?;
    drain(&ctx, &running).await?;
    same("the number of deliveries", log.len(), 4)?;
    seen.sort();
    let (first, second) = (Note::CHANNEL.to_owned(), format!("second.{}", Note::CHANNEL));
    let expected =
        [("both", first.clone(), 1), ("both", second, 2), ("erased", "gone".to_owned(), 0), ("other", first, 1)];
    same("what each handler got", seen, expected.to_vec())
}

async fn come_and_go(ctx: Ctx) -> Verdict {
    let (bus, log, deadline) = (ctx.bus().await?, Seen::default(), ctx.bounds().close);
    let running = start(&bus, reader("first", &log).group("first")).await?;
    publish(&bus, "a", 0..10).await?;
    log.reach(&ctx, 10).await?;
    running.add(reader("second", &log).group("second")).await?;
    publish(&bus, "a", 10..20).await?;
    // The second group may begin with what is retained.
    let of = |name, log: &Seen| {
        let mut numbers: Vec<_> = log.all().iter().filter(|seen| seen.0 == name).map(|seen| seen.2).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    let complete = |name, least: u64| {
        let log = log.clone();
        move || of(name, &log).iter().filter(|number| **number >= least).count() == (20 - least) as usize
    };
    crate::conformance::eventually(&ctx, "the new group to get what came later", complete("second", 10)).await?;
    running.stop("first", Note::CHANNEL, deadline).await?;
    let before = of("first", &log);
    publish(&bus, "a", 20..30).await?;
    crate::conformance::eventually(&ctx, "the other group to go on", {
        let log = log.clone();
        move || of("second", &log).contains(&29)
    })
    .await?;
    same("what a stopped handler got", of("first", &log), before)?;
    running.add(reader("first", &log).group("first")).await?;
    let all: Vec<_> = (0..30).collect();
    crate::conformance::eventually(&ctx, "the stopped group to have everything in the end", || {
        of("first", &log) == all
    })
    .await?;
    drain(&ctx, &running).await
}

async fn prefixes(ctx: Ctx) -> Verdict {
    let (bus, log) = (ctx.bus().await?, Seen::default());
    let inner = Router::new().nest("eu", reader("it", &log));
    let router = Router::new().group("g").nest("shop", inner.clone()).nest("shop", inner);
    let running = start(&bus, router).await?;
    let channel = format!("shop.eu.{}", Note::CHANNEL);
    for number in 0..5 {
        let mut event = bus.envelope(&note("a", number))?;
        event.channel = ChannelName::parse(&channel)?;
        bus.publish_envelope(event).await?;
    }
    publish(&bus, "a", 90..91).await?;
    log.reach(&ctx, 5).await?;
    drain(&ctx, &running).await?;
    let seen: Vec<_> = log.all().into_iter().map(|(_, channel, number)| (channel, number)).collect();
    same("what came on the prefixed channel", seen, (0..5).map(|number| (channel.clone(), number)).collect())
}

/// Notes as `topic;number`.
struct Lines;

impl Decoder<Note> for Lines {
    fn decode(message: &Message) -> Result<Note, Box<dyn StdError + Send + Sync>> {
        let line = std::str::from_utf8(message.payload().data().ok_or("a tombstone")?)?;
        let (topic, number) = line.split_once(';').ok_or("no semicolon")?;
        Ok(Note { topic: topic.to_owned(), number: number.parse()? })
    }
}

async fn decoders(ctx: Ctx) -> Verdict {
    // The publisher knows no type, so it may write the event as it likes.
    let (bus, foreign) = (ctx.bus().await?, ctx.bus().await?);
    let (lines, plain) = (Log::<u64>::default(), Log::<u64>::default());
    let (own, usual) = (lines.clone(), plain.clone());
    let router = Router::new()
        .merge(Router::new().group("lines").on(move |note: DecodedBy<Lines, Note>| {
            own.add(note.number);
            async {}
        }))
        .merge(Router::new().group("plain").on(move |note: Note| {
            usual.add(note.number);
            async {}
        }));
    let running = start(&bus, router).await?;
    let content_type = ContentType::parse("text/csv")?;
    let csv = |text: &'static str| Payload::Data { bytes: text.into(), content_type: content_type.clone() };
    for payload in [csv("a;1"), Payload::encode(&note("a", 2))?, csv("a;3")] {
        let name = EventName::parse(Note::NAME)?;
        foreign.publish_envelope(Envelope::new(name, notes()?, payload)).await?;
    }
    let read = (lines.reach(&ctx, 2).await?, plain.reach(&ctx, 1).await?);
    let refused = letters(&ctx, &bus, "lines", 1).await?;
    letters(&ctx, &bus, "plain", 2).await?;
    drain(&ctx, &running).await?;
    same("what the handler with a decoder of its own got", read.0, vec![1, 3])?;
    same("what the usual handler got", read.1, vec![2])?;
    let reason = refused[0].reason();
    ensure(reason.contains("no semicolon"), "the letter to say what the decoder said", reason)
}

/// The letters of a group, once there are as many.
async fn letters(ctx: &Ctx, bus: &PubSub, group: &str, count: usize) -> Verdict<Vec<Letter>> {
    let (letters, begun) = (bus.dead_letter_box(Note::CHANNEL, group)?, Instant::now());
    loop {
        let found = letters.list(&LetterFilter::all(), 10).await?;
        if found.len() == count {
            return Ok(found);
        }
        ensure(begun.elapsed() < ctx.bounds().receive, format!("{count} letters of {group}"), found.len())?;
        sleep(Duration::from_millis(20)).await;
    }
}

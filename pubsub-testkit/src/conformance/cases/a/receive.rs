//! A17: taking single events, with a timeout.

use std::time::{Duration, Instant};

use pubsub_core::{ErrorKind, driver::Feature};

use crate::{
    conformance::{Case, Ctx, Ledger, Mode, Numbered, Verdict, ensure, failed, publish_numbered, refused, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "A17",
        title: "receiving with a timeout gives an event or nothing, loses none, and tells of the end",
        needs: &[Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::Duplicate],
        run: |ctx| Box::pin(with_timeout(ctx, Mode::Durable)),
    },
    Case {
        id: "A17-ephemeral",
        title: "receiving with a timeout from a broadcast gives an event or nothing, and loses none",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::LoseMessage, Fault::Duplicate],
        run: |ctx| Box::pin(with_timeout(ctx, Mode::Ephemeral)),
    },
];

async fn with_timeout(ctx: Ctx, mode: Mode) -> Verdict {
    let (bus, channel, bounds) = (ctx.bus_in(mode).await?, ctx.channel("a17")?, ctx.bounds());
    let mut events = ctx.reader(&bus, &channel, mode, "readers").await?;
    let started = Instant::now();
    if let Some(event) = events.next_timeout(bounds.quiet).await? {
        return failed("nothing on an empty channel", format!("{:?}", event.message()));
    }
    ensure(
        started.elapsed() >= bounds.quiet,
        format!("a wait of {:?}", bounds.quiet),
        format!("{:?}", started.elapsed()),
    )?;

    let mut ledger = Ledger::new();
    publish_numbered(&bus, &channel, 0..1, &mut ledger).await?;
    match events.next_timeout(bounds.receive).await? {
        Some(event) => {
            same("the only event", event.serial()?, 0)?;
            ledger.saw(0);
            event.ack();
        }
        None => return failed("the event that was published", "nothing"),
    }

    // Receives that give up all the time must not lose what arrives meanwhile.
    let publish = publish_numbered(&bus, &channel, 1..51, &mut ledger);
    let mut seen = Vec::new();
    let receive = async {
        let deadline = Instant::now() + bounds.receive;
        while seen.len() < 50 && Instant::now() < deadline {
            if let Some(event) = events.next_timeout(Duration::from_micros(50)).await? {
                seen.push(event.serial()?);
                event.ack();
            }
        }
        Verdict::Ok(())
    };
    let (published, received) = tokio::join!(publish, receive);
    published.and(received)?;
    seen.into_iter().for_each(|serial| {
        ledger.saw(serial);
    });
    ledger.verdict(&bounds)?;

    ctx.close_bus(&bus).await?;
    refused("receiving after the close", events.next_timeout(bounds.quiet).await, ErrorKind::Closed).map(drop)
}

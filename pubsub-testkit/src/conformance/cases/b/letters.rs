//! B22: dead letters are looked at, delivered again, and dropped.

use pubsub_core::{
    ChannelPolicy, DeadLetterBox, ErrorKind, GroupName, LetterFilter, Message, PubSub,
    driver::{ChannelSpec, Feature, Topology, TopologyMode},
};
use tokio::time::{Instant, sleep};

use crate::{
    conformance::{Case, Ctx, Failure, Numbered, Verdict, cases::crowd::enqueue, next, next_n, numbered, quiet, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "B22",
        title: "dead letters are delivered again to their group alone and once, or dropped",
        needs: &[Feature::DurableGroup, Feature::Nack, Feature::DeliveryCount, Feature::DeadLetter],
        bites: &[Fault::LoseMessage, Fault::RejectRequeues, Fault::DropHeaders],
        run: |ctx| Box::pin(handled(ctx)),
    },
    Case {
        id: "B22-missing",
        title: "a dead letter of a channel that is gone cannot be delivered again, says so, and stays",
        needs: &[Feature::DurableGroup, Feature::DeadLetter, Feature::StrictChannels],
        bites: &[Fault::StrictIgnored],
        run: |ctx| Box::pin(channel_gone(ctx)),
    },
];

/// The serial numbers of the letters that are left, once there are so many.
async fn left(ctx: &Ctx, letters: &DeadLetterBox, filter: &LetterFilter, count: usize) -> Verdict<Vec<usize>> {
    let limit = Instant::now() + ctx.bounds().receive;
    loop {
        let found = letters.list(filter, 1_000).await?;
        if found.len() == count {
            let mut serials: Vec<_> =
                found.iter().map(|letter| letter.message().serial()).collect::<Verdict<Vec<_>>>()?;
            serials.sort_unstable();
            return Ok(serials);
        }
        if Instant::now() >= limit {
            return Err(Failure::new(format!("{count} letters left"), found.len()));
        }
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn handled(ctx: Ctx) -> Verdict {
    let (bus, channel) = (ctx.bus().await?, ctx.channel("b22")?);
    let mut failing = bus.subscribe_channel(channel.as_str()).group("failing").await?;
    let mut sound = bus.subscribe_channel(channel.as_str()).group("sound").await?;
    for serial in 0..6 {
        bus.publish_envelope(numbered(&channel, serial)?).await?;
    }
    for event in next_n(&ctx, &mut sound, 6).await? {
        event.ack();
    }
    for event in next_n(&ctx, &mut failing, 6).await? {
        let reason = if event.serial()? % 2 == 0 { "even" } else { "odd" };
        event.reject(reason)?;
    }
    let letters = bus.dead_letter_box(channel.as_str(), "failing")?;
    let (all, even, odd) = (LetterFilter::all(), LetterFilter::all().reason("even"), LetterFilter::all().reason("odd"));
    same("all letters", left(&ctx, &letters, &all, 6).await?, vec![0, 1, 2, 3, 4, 5])?;
    for expected in [3, 0] {
        let outcome = letters.redrive(&even).await?;
        outcome.first_error.map_or(Ok(()), Err)?;
        same("how many were delivered again", outcome.done, expected)?;
    }
    let mut again = Vec::new();
    for _ in 0..3 {
        let event = next(&ctx, &mut failing).await?;
        same("the attempt", event.attempt(), 1)?;
        let serial = event.serial()?;
        again.push(serial);
        if serial == 4 { event.reject("still even")? } else { event.ack() }
    }
    again.sort_unstable();
    same("what was delivered again", again, vec![0, 2, 4])?;
    quiet(&ctx, &mut failing).await?;
    quiet(&ctx, &mut sound).await.map_err(|failure| failure.during("in the other group"))?;
    same("what is left", left(&ctx, &letters, &all, 4).await?, vec![1, 3, 4, 5])?;
    for expected in [3, 0] {
        same("how many were dropped", letters.discard(&odd).await?.done, expected)?;
    }
    same("what is left in the end", left(&ctx, &letters, &all, 1).await?, vec![4])?;
    quiet(&ctx, &mut failing).await
}

async fn channel_gone(ctx: Ctx) -> Verdict {
    let channel = ctx.channel("b22")?;
    let adapter = ctx.harness().strict(ctx.name()).await?;
    let bus = PubSub::builder(adapter.clone()).topology_mode(TopologyMode::Validate).build();
    let outcome = async {
        let on = channel.dead_letter(&GroupName::parse("failing")?);
        let spec = ChannelSpec::new(on.clone(), ChannelPolicy::default());
        adapter.ensure(&Topology::new(TopologyMode::Create).channel(spec)).await?;
        let original = Message::from(numbered(&channel, 7)?);
        let letter = original.dead_letter(on, "its channel is gone since", 1, None, bus.clock().now());
        enqueue(&*adapter, letter.into_envelope()).await?;
        let (letters, all) = (bus.dead_letter_box(channel.as_str(), "failing")?, LetterFilter::all());
        same("the letter", left(&ctx, &letters, &all, 1).await?, vec![7])?;
        let done = letters.redrive(&all).await?;
        same("how many were delivered again, and not", (done.done, done.failed), (0, 1))?;
        same("why", done.first_error.map(|error| error.kind()), Some(ErrorKind::NotFound))?;
        same("what is left", left(&ctx, &letters, &all, 1).await?, vec![7])
    };
    let outcome = outcome.await;
    let closed = bus.close(ctx.bounds().close).await;
    outcome.and(closed.map_err(Into::into))
}

//! C2, C14: what keeps its order, and until when.

use std::time::Duration;

use pubsub_core::{
    ChannelName, ChannelPolicy, Events, Key, PubSub, Raw,
    driver::{Feature, RetryPolicy},
};

use crate::{
    conformance::{
        Case, Ctx, Ledger, Mode, Numbered, Verdict,
        cases::crowd::{Crowd, publish},
        ensure, next, numbered, quiet, same,
    },
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "C2",
        title: "events of one key keep their order over the members of a group",
        needs: &[Feature::DurableGroup, Feature::KeyOrder],
        bites: &[Fault::Reorder, Fault::DropKey, Fault::LoseMessage],
        run: |ctx| Box::pin(per_key(ctx, |_, _| false)),
    },
    Case {
        id: "C2-redelivery",
        title: "events of one key keep their order when some of them fail",
        needs: &[Feature::DurableGroup, Feature::KeyOrder, Feature::DeliveryCount],
        bites: &[Fault::OrderForgotten, Fault::Reorder, Fault::AttemptStuck],
        run: |ctx| Box::pin(per_key(ctx, |serial, attempt| serial % 7 == 3 && attempt < 3)),
    },
    Case {
        id: "C2-total",
        title: "all events of a totally ordered channel keep their order over the members of a group",
        needs: &[Feature::DurableGroup, Feature::TotalOrder],
        bites: &[Fault::Reorder],
        run: |ctx| Box::pin(total(ctx)),
    },
    Case {
        id: "C2-ephemeral",
        title: "a broadcast sees the events of one publisher in order",
        needs: &[Feature::EphemeralBroadcast],
        bites: &[Fault::Reorder, Fault::LoseMessage],
        run: |ctx| Box::pin(broadcast(ctx, Mode::Ephemeral)),
    },
    Case {
        id: "C2-lossless",
        title: "a broadcast of a durable channel sees all events in order",
        needs: &[Feature::LosslessBroadcast],
        bites: &[Fault::Reorder, Fault::LoseMessage],
        run: |ctx| Box::pin(broadcast(ctx, Mode::Durable)),
    },
    Case {
        id: "C14",
        title: "the first two and every fifth of the deliveries fail: those come again, the others never, all are read",
        needs: &[Feature::DurableGroup, Feature::Nack],
        bites: &[Fault::IgnoreNack, Fault::RedeliverAcked],
        run: |ctx| Box::pin(some_fail(ctx)),
    },
];

const KEYS: usize = 16;

async fn per_key(ctx: Ctx, fails: fn(usize, u32) -> bool) -> Verdict {
    let (count, members) = (ctx.count(480, 1_000), ctx.count(5, 10));
    let channel = ctx.channel("c2")?;
    let policy = || ChannelPolicy::new().ordered_per_key(4);
    let mut crowd = Crowd::expecting(0..count);
    let retry = RetryPolicy::default().delays(Duration::from_millis(5), Duration::from_millis(20));
    for _ in 0..members {
        let bus = ctx.bus_of(policy()).await?;
        let reader = ctx.reader(&bus, &channel, Mode::Durable, "ordered").max_in_flight(64).retry(retry);
        crowd.join_with(reader.await?, usize::MAX, fails);
    }
    publish_keyed(&ctx.bus_of(policy()).await?, &channel, count).await?;
    let seen = crowd.finish(&ctx).await?;
    seen.keys_in_order()?;
    ensure(seen.acked.iter().all(|(key, serial)| *key == key_of(*serial)), "each event with its key", "another key")?;
    let failures: usize = (0..count).map(|serial| (1..9).filter(|attempt| fails(serial, *attempt)).count()).sum();
    // A failure also takes back those later events of its key that were not begun; none of them is seen by a reader.
    seen.ledger.verdict_allowing(failures + count * ctx.bounds().duplicates_per_mille / 1_000)
}

/// Runs of three per key: among neighbours are always some whose order counts.
fn key_of(serial: usize) -> String {
    format!("key-{}", serial / 3 % KEYS)
}

async fn publish_keyed(bus: &PubSub, channel: &ChannelName, count: usize) -> Verdict {
    let mut tickets = Vec::with_capacity(count);
    for serial in 0..count {
        let key = Key::new(&key_of(serial))?;
        tickets.push(bus.publish_envelope(numbered(channel, serial)?).key(key).enqueue().await?);
    }
    for ticket in tickets {
        ticket.await?;
    }
    Ok(())
}

async fn total(ctx: Ctx) -> Verdict {
    let (count, channel) = (ctx.count(200, 1_000), ctx.channel("c2-total")?);
    let mut crowd = Crowd::expecting(0..count);
    for _ in 0..3 {
        let bus = ctx.bus_of(ChannelPolicy::new().totally_ordered()).await?;
        crowd.join(ctx.reader(&bus, &channel, Mode::Durable, "ordered").await?);
    }
    publish(&ctx.bus_of(ChannelPolicy::new().totally_ordered()).await?, &channel, 0..count).await?;
    let seen = crowd.finish(&ctx).await?;
    seen.keys_in_order()?; // without keys, all events are of one
    seen.ledger.verdict(&ctx.bounds())
}

async fn broadcast(ctx: Ctx, mode: Mode) -> Verdict {
    let (count, channel) = (ctx.count(200, 1_000), ctx.channel("c2-broadcast")?);
    let bus = ctx.bus_in(mode).await?;
    let mut events = bus.subscribe_channel(channel.as_str()).buffer(count).await?;
    publish(&bus, &channel, 0..count).await?;
    in_sequence(&ctx, &mut events, count).await
}

async fn in_sequence(ctx: &Ctx, events: &mut Events<Raw>, count: usize) -> Verdict {
    for expected in 0..count {
        same("the next serial", next(ctx, events).await?.serial()?, expected)?;
    }
    Ok(())
}

async fn some_fail(ctx: Ctx) -> Verdict {
    let pause = Duration::from_millis(ctx.count(20, 1_000) as u64);
    let (bus, channel) = (ctx.bus().await?, ctx.channel("c14")?);
    let mut events = ctx.reader(&bus, &channel, Mode::Durable, "verify").await?;
    publish(&bus, &channel, 0..10).await?;
    let (mut ledger, mut done, mut failed) = (Ledger::expecting(0..10), Ledger::expecting(0..10), Ledger::new());
    for delivery in 1.. {
        if done.is_complete() {
            break;
        }
        let event = next(&ctx, &mut events).await?;
        let (serial, again) = (event.serial()?, event.attempt() > 1);
        ledger.saw(serial);
        // Redeliveries do not fail once more, or the numbers would say nothing.
        if !again && (delivery <= 2 || delivery % 5 == 0) {
            failed.saw(serial);
            tokio::time::sleep(pause).await;
            event.nack()?;
        } else {
            done.saw(serial);
            event.ack();
        }
    }
    quiet(&ctx, &mut events).await?;
    same("deliveries beyond the first of each event", ledger.duplicates(), failed.distinct())?;
    done.verdict(&ctx.bounds())
}

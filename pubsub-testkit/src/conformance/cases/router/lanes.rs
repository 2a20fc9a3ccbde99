//! C3, X6: keys do not wait for one another, and poison stalls nobody.

use std::{collections::BTreeMap, sync::Arc};

use pubsub_core::{ChannelPolicy, Control, Envelope, Payload, driver::Feature};
use pubsub_router::{HandlerError, Router};
use tokio::sync::Semaphore;

use super::{Log, drain, eager, note, notes, settled, start};
use crate::{
    conformance::{Case, Ctx, Note, Verdict, dead_letters, ensure, same},
    faulty::Fault,
};

const ORDERED: &[Feature] = &[
    Feature::DurableGroup,
    Feature::Nack,
    Feature::DelayedNack,
    Feature::DeliveryCount,
    Feature::DeadLetter,
    Feature::KeyOrder,
];

pub(super) const CASES: &[Case] = &[
    Case {
        id: "C3",
        title: "a slow key does not delay others, every key keeps its order, and the bound of what is in flight holds",
        needs: ORDERED,
        bites: &[Fault::Reorder, Fault::LoseMessage, Fault::IgnorePrefetch],
        run: |ctx| Box::pin(slow_key(ctx)),
    },
    Case {
        id: "X6",
        title: "of 99 good events and three poisonous ones, the good are done and the poison is in the dead letters",
        needs: ORDERED,
        bites: &[Fault::LoseMessage, Fault::IgnoreNack, Fault::AttemptStuck],
        run: |ctx| Box::pin(poison(ctx)),
    },
];

async fn slow_key(ctx: Ctx) -> Verdict {
    const BOUND: usize = 40;
    const SLOW: u64 = 8;
    let bus = ctx.bus_of(ChannelPolicy::new().ordered_per_key(4)).await?;
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    let (seen, slow, out) = (log.clone(), gate.clone(), Log::default());
    let most = out.clone();
    let handler = move |event: Note, control: Control| {
        let (seen, slow, most) = (seen.clone(), slow.clone(), most.clone());
        async move {
            most.add(control.stats().outstanding);
            if event.topic == "slow" {
                slow.acquire().await?.forget();
            }
            seen.add((event.topic, event.number));
            Ok::<_, HandlerError>(())
        }
    };
    let router = Router::new().group("g").concurrency(4).max_in_flight(BOUND).on(handler);
    let running = start(&bus, router).await?;
    let rounds = ctx.count(10, 100) as u64;
    for round in 0..rounds {
        // Two of a key in a row, so that changing places shows. Fewer slow events than the bound: others need room.
        for number in [2 * round, 2 * round + 1] {
            if number < SLOW {
                bus.publish(&note("slow", number)).await?;
            }
        }
        for key in 0..6 {
            bus.publish(&note(&format!("key-{key}"), 2 * round)).await?;
            bus.publish(&note(&format!("key-{key}"), 2 * round + 1)).await?;
        }
    }
    let flowed = log.reach(&ctx, 12 * rounds as usize).await?;
    ensure(flowed.iter().all(|(topic, _)| topic != "slow"), "no slow event before its gate is open", "one")?;
    gate.add_permits(SLOW as usize);
    let slow = SLOW.min(2 * rounds);
    let mut by_key = BTreeMap::<String, Vec<u64>>::new();
    for (topic, number) in log.reach(&ctx, (12 * rounds + slow) as usize).await? {
        by_key.entry(topic).or_default().push(number);
    }
    settled(&ctx, &running, "g").await?;
    drain(&ctx, &running).await?;
    for (topic, numbers) in by_key {
        let count = if topic == "slow" { slow } else { 2 * rounds };
        same(&format!("the order of `{topic}`"), numbers, (0..count).collect())?;
    }
    let most = out.all().into_iter().max().unwrap_or(0);
    ensure(most <= BOUND, format!("at most {BOUND} events out at a time"), most)
}

async fn poison(ctx: Ctx) -> Verdict {
    let bus = ctx.bus_of(ChannelPolicy::new().ordered_per_key(4)).await?;
    let log = Log::default();
    let seen = log.clone();
    let handler = move |event: Note| {
        let seen = seen.clone();
        async move {
            match event.topic.as_str() {
                "fails" => Err(HandlerError::retry("always")),
                "panics" => std::panic::resume_unwind(Box::new("always")),
                _ => {
                    seen.add(event.number);
                    Ok(())
                }
            }
        }
    };
    let router = Router::new().group("g").concurrency(4).on(handler).layer(eager(3));
    let running = start(&bus, router).await?;
    let unreadable: Envelope = {
        let mut envelope = bus.envelope(&note("undecodable", 0))?;
        envelope.payload = Payload::json("{\"topic\": 7}");
        envelope
    };
    for number in 0..99 {
        match number {
            20 => drop(bus.publish(&note("fails", 0)).await?),
            40 => drop(bus.publish(&note("panics", 0)).await?),
            60 => drop(bus.publish_envelope(unreadable.clone()).await?),
            _ => {}
        }
        bus.publish(&note(&format!("key-{}", number % 7), number)).await?;
    }
    let mut seen = log.reach(&ctx, 99).await?;
    seen.sort_unstable();
    seen.dedup();
    same("the good events", seen, (0..99).collect::<Vec<_>>())?;
    let letters = dead_letters(&ctx, &bus, &notes()?, "g", 3).await?;
    settled(&ctx, &running, "g").await?;
    drain(&ctx, &running).await?;
    let mut attempts: Vec<_> = letters
        .iter()
        .map(|letter| (letter.message.key().map(ToString::to_string), letter.message.meta().dead_attempts))
        .collect();
    attempts.sort();
    let key = |topic: &str| Some(topic.to_owned());
    let expected = vec![(key("fails"), Some(3)), (key("panics"), Some(3)), (key("undecodable"), Some(1))];
    same("the dead letters and their attempts", attempts, expected)
}

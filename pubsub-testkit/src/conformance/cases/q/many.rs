//! Q3, Q7: many calls at once.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use pubsub_client::EventRpc;
use pubsub_core::{ErrorKind, driver::Feature, rpc::ReplyBody};

use super::{Add, adding, answer, reply_to};
use crate::{
    conformance::{Case, Ctx, Failure, Verdict, eventually, failed, next, same, together},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "Q3",
        title: "a thousand parallel callers of several handles each get their own reply",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::PublishUnconfirmedSuccess, Fault::InboxDeaf],
        run: |ctx| Box::pin(parallel(ctx)),
    },
    Case {
        id: "Q3-gather",
        title: "each of several groups answers one question",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::GroupsMerged],
        run: |ctx| Box::pin(gathered(ctx)),
    },
    Case {
        id: "Q7",
        title: "of thousands of calls, with one in ten unanswered and one in a hundred answered twice, no waiter is left",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::InboxDeaf],
        run: |ctx| Box::pin(leaks(ctx)),
    },
];

async fn parallel(ctx: Ctx) -> Verdict {
    let callers = ctx.count(200, 1_000) as u64;
    let responders = [ctx.bus().await?, ctx.bus().await?];
    let _members = [adding(&responders[0], "adding").await?, adding(&responders[1], "adding").await?];
    let ends = [EventRpc::new(&ctx.bus().await?), EventRpc::new(&ctx.bus().await?)];
    let limit = ctx.bounds().receive * 3;
    let calls = (0..callers).map(|caller| {
        let rpc = ends[caller as usize % ends.len()].clone();
        async move {
            for right in 0..5 {
                let sum = rpc.request(&Add { left: caller, right }).timeout(limit).await?;
                same("the sum", sum, caller + right)?;
            }
            Verdict::Ok(())
        }
    });
    together(calls).await?;
    for rpc in &ends {
        same("waiters and foreign replies", (rpc.stats().pending, rpc.stats().foreign), (0, 0))?;
    }
    Ok(())
}

async fn gathered(ctx: Ctx) -> Verdict {
    let bus = ctx.bus().await?;
    let _members = [adding(&bus, "one").await?, adding(&bus, "two").await?, adding(&bus, "three").await?];
    let rpc = EventRpc::new(&bus);
    let mut who = Vec::new();
    for answer in rpc.request(&Add { left: 1, right: 2 }).timeout(ctx.bounds().receive).gather(3).await? {
        same("an answer", answer.outcome?, 3)?;
        who.extend(answer.responder);
    }
    who.sort_unstable();
    same("the responders", who, vec!["one".to_owned(), "three".to_owned(), "two".to_owned()])?;
    same("waiters", rpc.stats().pending, 0)
}

async fn leaks(ctx: Ctx) -> Verdict {
    let calls = ctx.count(1_000, 5_000) as u64;
    let (callers, responders) = (ctx.bus().await?, ctx.bus().await?);
    let rpc = EventRpc::new(&callers);
    let mut requests = responders.subscribe::<Add>().group("by-hand").await?;
    let (world, bus) = (ctx.clone(), responders.clone());
    let answering = tokio::spawn(async move {
        let mut unanswered = Vec::new();
        for _ in 0..calls {
            let request = next(&world, &mut requests).await?;
            if request.left % 10 == 0 {
                unanswered.push(request.message().clone());
            } else {
                let to = reply_to(request.message())?;
                for _ in 0..1 + usize::from(request.left % 100 == 1) {
                    bus.reply(&to, ReplyBody::value(&(request.left + 1))?).await?;
                }
            }
            // Also what is answered too late: it would fill the room of the subscription.
            request.ack();
        }
        Verdict::Ok(unanswered)
    });
    let (short, long) = (Duration::from_secs(2), ctx.bounds().receive * 3);
    let asking = stream::iter(0..calls).map(|left| {
        let rpc = rpc.clone();
        async move {
            let timeout = if left % 10 == 0 { short } else { long };
            (left, rpc.request(&Add { left, right: 1 }).timeout(timeout).await)
        }
    });
    let mut asking = std::pin::pin!(asking.buffer_unordered(100));
    while let Some((left, outcome)) = asking.next().await {
        match outcome {
            Ok(sum) => same("the sum", (sum, left % 10 == 0), (left + 1, false))?,
            Err(error) if left % 10 == 0 && error.bus_kind() == Some(ErrorKind::Timeout) => {}
            Err(error) => return failed(format!("an answer to call {left}"), error),
        }
    }
    let unanswered = answering.await.map_err(|error| Failure::new("a responder that ends well", error))??;
    for request in unanswered {
        answer(&responders, &request, 0).await?;
    }
    let (tenth, hundredth) = (calls.div_ceil(10), (calls + 98) / 100);
    eventually(&ctx, "every late and second reply to be counted", || {
        (rpc.stats().late, rpc.stats().duplicate) == (tenth, hundredth)
    })
    .await?;
    let stats = rpc.stats();
    same("waiters, timeouts and foreign replies", (stats.pending, stats.timeouts, stats.foreign), (0, tenth, 0))
}

//! Q8: answers in many items.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use pubsub_client::{EventRpc, rpc::ReplySink};
use pubsub_core::{ErrorKind, driver::Feature, rpc::Failure};

use super::Add;
use crate::{
    conformance::{Case, Ctx, Verdict, eventually, failed, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "Q8",
        title: "an answer in many items comes whole and in order, through a window",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::InboxDeaf],
        run: |ctx| Box::pin(whole(ctx)),
    },
    Case {
        id: "Q8-cancel",
        title: "a caller that reads no further stops its responder",
        needs: &[Feature::Inbox, Feature::DurableGroup],
        bites: &[Fault::LoseMessage, Fault::InboxDeaf],
        run: |ctx| Box::pin(cancelled(ctx)),
    },
];

async fn whole(ctx: Ctx) -> Verdict {
    let items = ctx.count(500, 10_000) as u64;
    let (callers, responders) = (ctx.bus().await?, ctx.bus().await?);
    let count = |asked: Add, mut sink: ReplySink<u64>| async move {
        for number in 0..asked.left {
            sink.send(&number).await?;
        }
        Ok(())
    };
    let _responder = EventRpc::new(&responders).respond_stream::<Add, _, _>("counting", count).await?;
    let rpc = EventRpc::new(&callers);
    let ask = Add { left: items, right: 0 };
    let mut replies = rpc.request(&ask).timeout(ctx.bounds().case).window(16).stream().await?;
    for expected in 0..items {
        match replies.next().await {
            Some(item) => same("an item", item?, expected)?,
            None => return failed(format!("{items} items"), format!("an end after {expected}")),
        }
    }
    same("what follows the last item", replies.next().await.is_none(), true)?;
    same("waiters", rpc.stats().pending, 0)
}

async fn cancelled(ctx: Ctx) -> Verdict {
    let (callers, responders) = (ctx.bus().await?, ctx.bus().await?);
    let stopped = Arc::new(AtomicUsize::new(0));
    let counted = stopped.clone();
    let endless = move |_: Add, mut sink: ReplySink<u64>| {
        let stopped = counted.clone();
        async move {
            loop {
                if let Err(error) = sink.send(&7).await {
                    if error.kind() == ErrorKind::Cancelled {
                        stopped.fetch_add(1, Ordering::Relaxed);
                    }
                    return Err(Failure::from(error));
                }
            }
        }
    };
    let _responder = EventRpc::new(&responders).respond_stream::<Add, _, _>("endless", endless).await?;
    let rpc = EventRpc::new(&callers);
    let call = rpc.request(&Add { left: 0, right: 0 }).timeout(ctx.bounds().case);
    let mut replies = call.window(4).stream().await?;
    for _ in 0..20 {
        match replies.next().await {
            Some(item) => same("an item", item?, 7)?,
            None => return failed("a stream without end", "its end"),
        }
    }
    drop(replies);
    same("waiters", rpc.stats().pending, 0)?;
    eventually(&ctx, "the responder to stop", || stopped.load(Ordering::Relaxed) == 1).await
}

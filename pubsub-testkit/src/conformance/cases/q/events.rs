//! Q6: the event bus, and requests of its classic form.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use pubsub_client::{EventBus, EventRpc};
use pubsub_core::{Catalog, driver::Feature};
use serde_json::{Value, json};

use super::Add;
use crate::{
    conformance::{Case, Ctx, Verdict, eventually, same, together},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "Q6",
        title: "on, once, off and emit: once is once under races, off works from within, faults end nothing",
        needs: &[Feature::LosslessBroadcast],
        bites: &[Fault::LoseMessage, Fault::Duplicate, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(listeners(ctx)),
    },
    Case {
        id: "Q6-classic",
        title: "a request in the classic form gets the event that answers it and no other",
        needs: &[Feature::LosslessBroadcast],
        bites: &[Fault::LoseMessage, Fault::PublishUnconfirmedSuccess],
        run: |ctx| Box::pin(classic(ctx)),
    },
];

async fn listeners(ctx: Ctx) -> Verdict {
    // By name alone, only the catalog tells the channel.
    let here = ctx.bus_with(|builder| Ok(builder.catalog(Catalog::new().with::<Add>()?))).await?;
    let there = ctx.bus().await?;
    let (listening, emitting) = (EventBus::new(&here), EventBus::new(&there));
    let (ons, onces, offs) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (counted, heard) = (ons.clone(), order.clone());
    listening
        .on(move |add: Add| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(add.left);
            counted.fetch_add(1, Ordering::SeqCst);
            async move { if add.left == 3 { Err("the error of the case") } else { Ok(()) } }
        })
        .await?;
    let counted = onces.clone();
    listening
        .once(move |_: Add| {
            counted.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .await?;
    let counted = offs.clone();
    listening
        .on_name("conformance:add", move |heard| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let _ = heard.bus().off(heard.listener());
            }
        })
        .await?;
    let gone = listening.once(|_: Add| async { Err::<(), &str>("a listener that was taken off") }).await?;
    same("whether a listener was there", (listening.off(gone), listening.off(gone)), (true, false))?;
    let count = ctx.count(50, 1_000);
    for left in 0..count as u64 {
        emitting.emit(&Add { left, right: 0 }).await?;
    }
    eventually(&ctx, "every event to be heard", || ons.load(Ordering::SeqCst) >= count).await?;
    listening.close().await;
    let order = order.lock().unwrap_or_else(PoisonError::into_inner).clone();
    same("what was heard", order, (0..count as u64).collect())?;
    let calls = [ons, onces, offs].map(|calls| calls.load(Ordering::SeqCst));
    same("calls of the listeners", calls, [count, 1, 1])?;
    same("faults", listening.faults(), 1)
}

async fn classic(ctx: Ctx) -> Verdict {
    let (callers, services) = (ctx.bus().await?, ctx.bus().await?);
    let events = EventBus::new(&services);
    events
        .on_name("TARGET_CREATE_REQUESTED", |heard| async move {
            let data: Value = heard.data()?;
            let id = heard.request_id().unwrap_or_default();
            let (name, answer) = match data["name"].as_str() {
                Some("") => ("TARGET_CREATE_FAILED", json!({ "error": "a name is missing" })),
                _ => ("TARGET_CREATED", json!({ "name": data["name"] })),
            };
            heard.bus().emit_name(&format!("{name}_{id}"), &answer).await.map(drop)
        })
        .await?;
    let (rpc, limit) = (EventRpc::new(&callers), ctx.bounds().receive * 2);
    let ask = async |rpc: &EventRpc, name: String| {
        let (asks, succeeds, fails) = ("TARGET_CREATE_REQUESTED", "TARGET_CREATED", "TARGET_CREATE_FAILED");
        let data = json!({ "name": name });
        rpc.request_events::<_, Value>(asks, succeeds, fails, &data, limit).await
    };
    same("a target", ask(&rpc, "first".to_owned()).await?["name"].clone(), json!("first"))?;
    let calls = (0..ctx.count(20, 200)).map(|number| {
        let rpc = rpc.clone();
        async move {
            let name = format!("target {number}");
            let (asks, succeeds, fails) = ("TARGET_CREATE_REQUESTED", "TARGET_CREATED", "TARGET_CREATE_FAILED");
            let data = json!({ "name": name });
            let target: Value = rpc.request_events(asks, succeeds, fails, &data, limit).await?;
            same("the name of a target", target["name"].clone(), json!(name))
        }
    });
    together(calls).await?;
    let failure = ask(&rpc, String::new()).await.err();
    let message = failure.and_then(|error| error.failure().map(|failure| failure.message.clone()));
    same("the failure", message.as_deref(), Some("a name is missing"))?;
    same("faults", events.faults(), 0)
}

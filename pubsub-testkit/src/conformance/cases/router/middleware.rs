//! E12: the order of layers.

use std::task::{Context, Poll};

use pubsub_core::{__private::schemars, ChannelName, Event, Request};
use pubsub_router::{Attempt, Done, Emitter, HandlerError, Incoming, Router};
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tower_service::Service;

use super::{HANDLERS, Log, drain, eager, note, start};
use crate::{
    conformance::{Case, Ctx, Failure, Note, Verdict, same},
    faulty::Fault,
};

pub(super) const CASES: &[Case] = &[Case {
    id: "E12",
    title: "layers have one order, for what comes, for what is emitted, and for requests; they see and change errors",
    needs: HANDLERS,
    bites: &[Fault::LoseMessage, Fault::DropHeaders],
    run: |ctx| Box::pin(order(ctx)),
}];

/// A request whose answer is its own text.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "pubsub_core::__private::schemars")]
struct Echo {
    text: String,
}

impl Event for Echo {
    const NAME: &'static str = "conformance:echo";
    const CHANNEL: &'static str = "conformance-echo";
    const REPLY_SCHEMA: Option<fn() -> schemars::Schema> = Some(|| schemars::schema_for!(String));
}

impl Request for Echo {
    type Reply = String;
}

/// Writes down what passes, and leaves its mark on what is emitted.
#[derive(Clone)]
struct Spy(&'static str, Log<&'static str>);

#[derive(Clone)]
struct Spied<S>(Spy, S);

impl<S> Layer<S> for Spy {
    type Service = Spied<S>;

    fn layer(&self, inner: S) -> Spied<S> {
        Spied(self.clone(), inner)
    }
}

impl<S: Service<Incoming, Response = Done>> Service<Incoming> for Spied<S> {
    type Response = Done;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.1.poll_ready(cx)
    }

    fn call(&mut self, incoming: Incoming) -> S::Future {
        let name = self.0.0;
        self.0.1.add(name);
        incoming.on_emit(move |emitted| {
            let trail = emitted.meta.extra.get("trail").and_then(|trail| trail.as_str()).unwrap_or_default();
            let trail = format!("{trail}{name}>");
            emitted.meta.extra.insert("trail".to_owned(), trail.into());
        });
        self.1.call(incoming)
    }
}

async fn order(ctx: Ctx) -> Verdict {
    let (bus, log, trails) = (ctx.bus().await?, Log::default(), Log::default());
    let spy = |name| Spy(name, log.clone());
    let handler = |event: Note, Attempt(attempt): Attempt, emit: Emitter| async move {
        let mut next = emit.envelope(&event)?;
        next.channel = ChannelName::parse(&format!("after.{}", Note::CHANNEL))?;
        emit.emit_envelope(next)?;
        if attempt == 1 { Err(HandlerError::retry("at first")) } else { Ok(()) }
    };
    let seen = trails.clone();
    let after = Router::new().nest(
        "after",
        Router::new().on(move |_: Note, incoming: Incoming| {
            let trail = incoming.message().meta().extra.get("trail").cloned();
            seen.add(trail.and_then(|trail| trail.as_str().map(str::to_owned)));
            async {}
        }),
    );
    let echo = |echo: Echo| async move { Ok::<_, HandlerError>(echo.text) };
    let inner = Router::new().layer(spy("handler")).on(handler).action(echo);
    let router = Router::new().group("g").merge(inner).layer(spy("router")).layer(eager(3)).layer(spy("outer"));
    let running = start(&bus, router.merge(after.group("after"))).await?;
    let once = vec!["outer", "router", "handler"];

    bus.publish(&note("a", 1)).await?;
    let trail = trails.reach(&ctx, 1).await?;
    same("the marks on what was emitted", trail, vec![Some("outer>router>handler>".to_owned())])?;
    // The emitted event's own handler is inside of the outer layers only.
    let calls = log.reach(&ctx, 8).await?;
    same("the layers of both calls", calls[..6].to_vec(), [once.clone(), once.clone()].concat())?;

    let before = log.len();
    let reply = running.act(bus.envelope(&Echo { text: "hello".to_owned() })?).await;
    let reply = reply.ok_or_else(|| Failure::new("an action", "none"))?;
    let reply = reply.map_err(|failure| Failure::new("a reply", failure))?;
    same("the reply", reply.data().map(|bytes| bytes.to_vec()), Some(b"\"hello\"".to_vec()))?;
    same("the layers of a request", log.all()[before..].to_vec(), once)?;
    drain(&ctx, &running).await
}

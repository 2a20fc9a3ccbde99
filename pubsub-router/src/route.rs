//! `Route`: a handler with its layers, erased once.

use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use pubsub_core::{EventDefinition, driver::BoxFuture};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    BoxError, Done, HandlerArgs, HandlerError, HandlerFn, Incoming, Verdict, extract::publish, isolate::isolate,
};

/// A handler behind whatever layers it has: a tower service that takes an [`Incoming`]. It is what a router's layers wrap.
#[derive(Clone)]
pub struct Route(Arc<dyn Call>);

/// What a route is to its caller: one virtual call, one boxed future.
pub(crate) trait Call: Send + Sync {
    /// For a caller that has the route for as long.
    fn call(&self, incoming: Incoming) -> BoxFuture<'_, Verdict>;

    /// For a layer, whose future lives by itself.
    fn call_apart(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Verdict>;
}

impl Route {
    /// A route to a handler, whose result `verdict` reads.
    pub(crate) fn handler<H, A, S>(
        handler: H,
        verdict: fn(H::Out) -> Verdict,
        state: S,
        definition: Arc<EventDefinition>,
    ) -> Self
    where
        H: HandlerFn<A>,
        A: HandlerArgs<S>,
        S: Send + Sync + 'static,
    {
        let endpoint = Endpoint { handler, verdict, state, definition, args: PhantomData::<fn() -> A> };
        Self::new(endpoint)
    }

    /// A route of another kind.
    pub(crate) fn new(call: impl Call + 'static) -> Self {
        Self(Arc::new(call))
    }

    /// Puts a stack of layers around it.
    pub(crate) fn layered<L>(self, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<Incoming, Response = Done> + Clone + Send + Sync + 'static,
        <L::Service as Service<Incoming>>::Error: Into<BoxError>,
        <L::Service as Service<Incoming>>::Future: Send,
    {
        Self(Arc::new(Layered(layer.layer(self))))
    }

    /// Runs it.
    pub(crate) fn run(&self, incoming: Incoming) -> BoxFuture<'_, Verdict> {
        self.0.call(incoming)
    }
}

impl Service<Incoming> for Route {
    type Response = Done;
    type Error = HandlerError;
    type Future = BoxFuture<'static, Verdict>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HandlerError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, incoming: Incoming) -> Self::Future {
        self.0.clone().call_apart(incoming)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

struct Endpoint<H: HandlerFn<A>, A, S> {
    handler: H,
    verdict: fn(H::Out) -> Verdict,
    state: S,
    definition: Arc<EventDefinition>,
    args: PhantomData<fn() -> A>,
}

impl<H, A, S> Endpoint<H, A, S>
where
    H: HandlerFn<A>,
    A: HandlerArgs<S>,
{
    async fn handle(&self, incoming: Incoming) -> Verdict {
        incoming.begin();
        let args = A::extract(&incoming, &self.state, &self.definition)?;
        let done = (self.verdict)(self.handler.invoke(args).await)?;
        let emitted = incoming.hold(incoming.take_emitted());
        if !emitted.is_empty() {
            // In a box of its own: it is far larger than all the rest, and most handlers emit nothing.
            Box::pin(publish(incoming.bus(), emitted)).await?;
        }
        Ok(done)
    }
}

impl<H, A, S> Call for Endpoint<H, A, S>
where
    H: HandlerFn<A>,
    A: HandlerArgs<S>,
    S: Send + Sync + 'static,
{
    fn call(&self, incoming: Incoming) -> BoxFuture<'_, Verdict> {
        Box::pin(isolate(self.handle(incoming)))
    }

    fn call_apart(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Verdict> {
        Box::pin(isolate(async move { self.handle(incoming).await }))
    }
}

struct Layered<T>(T);

impl<T> Call for Layered<T>
where
    T: Service<Incoming, Response = Done> + Clone + Send + Sync + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
{
    fn call(&self, incoming: Incoming) -> BoxFuture<'_, Verdict> {
        Box::pin(isolate(pass(self.0.clone(), incoming)))
    }

    fn call_apart(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Verdict> {
        Box::pin(isolate(pass(self.0.clone(), incoming)))
    }
}

/// Waits until the service is ready, and calls it.
pub(crate) async fn pass<T>(mut service: T, incoming: Incoming) -> Verdict
where
    T: Service<Incoming, Response = Done>,
    T::Error: Into<BoxError>,
{
    let failed = |error: T::Error| HandlerError::from_boxed(error.into());
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(failed)?;
    service.call(incoming).await.map_err(failed)
}

//! Layers: what happens around a handler. All are tower layers over [`Route`](crate::Route), so they stack with tower's
//! own and with anybody's.

mod breaker;
mod correlate;
mod dead_letter;
mod dedup;
mod limit;
mod memory_dedup;
mod retry;
mod timeout;
#[cfg(feature = "trace")]
mod trace;

pub use breaker::CircuitBreaker;
pub use correlate::Correlate;
pub use dead_letter::DeadLetter;
pub use dedup::Dedup;
pub use limit::{ConcurrencyLimit, RateLimit};
pub use memory_dedup::MemoryDedup;
pub use retry::Retry;
pub use timeout::{TimedOut, Timeout};
#[cfg(feature = "trace")]
pub use trace::Trace;

/// A tower layer and its service, for a struct of settings with `async fn around(&self, incoming, inner) -> Verdict`.
macro_rules! layer {
    ($layer:ident, $service:ident) => {
        impl<S> tower_layer::Layer<S> for $layer {
            type Service = $service<S>;

            fn layer(&self, inner: S) -> $service<S> {
                $service { settings: self.clone(), inner }
            }
        }

        /// The service of the layer.
        #[derive(Clone, Debug)]
        pub struct $service<S> {
            settings: $layer,
            inner: S,
        }

        impl<S> tower_service::Service<$crate::Incoming> for $service<S>
        where
            S: tower_service::Service<$crate::Incoming, Response = $crate::Done> + Clone + Send + 'static,
            S::Error: Into<$crate::BoxError>,
            S::Future: Send,
        {
            type Response = $crate::Done;
            type Error = $crate::HandlerError;
            type Future = pubsub_core::driver::BoxFuture<'static, $crate::Verdict>;

            fn poll_ready(
                &mut self,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), $crate::HandlerError>> {
                // What is inside is asked right before it is called.
                std::task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, incoming: $crate::Incoming) -> Self::Future {
                let (settings, inner) = (self.settings.clone(), self.inner.clone());
                Box::pin(async move { settings.around(incoming, inner).await })
            }
        }
    };
}
use layer;

/// What a layer of ours may put itself around.
pub(crate) trait Inner:
    tower_service::Service<crate::Incoming, Response = crate::Done, Error: Into<crate::BoxError>, Future: Send>
    + Clone
    + Send
    + 'static
{
    /// Calls it, once it is ready.
    fn run(&self, incoming: crate::Incoming) -> impl Future<Output = crate::Verdict> + Send {
        crate::route::pass(self.clone(), incoming)
    }
}

impl<S> Inner for S where
    S: tower_service::Service<crate::Incoming, Response = crate::Done, Error: Into<crate::BoxError>, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// Sleeps on the bus's clock, but not while the router is drained: the error then gives the delivery back.
pub(crate) async fn wait(incoming: &crate::Incoming, delay: std::time::Duration) -> Result<(), crate::HandlerError> {
    tokio::select! {
        biased;
        () = incoming.drain().clone().started() => Err(crate::HandlerError::release("the router is being drained")),
        () = incoming.bus().clock().sleep(delay) => Ok(()),
    }
}

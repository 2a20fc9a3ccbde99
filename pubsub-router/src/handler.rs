//! Which functions are handlers. The shape of a function and what its arguments must be are two traits, so that the
//! compiler names the argument at fault instead of the function.

use std::future::Future;

use pubsub_core::{Event, EventArg, EventDefinition};

use crate::{FromDelivery, HandlerError, Incoming};

/// A function of the shape of a handler: asynchronous, with a future that may move between threads, and up to ten
/// arguments. What each argument must be is said by [`HandlerArgs`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not have the shape of a handler",
    label = "not an `async` function of an event and up to nine other arguments",
    note = "a handler is `async fn(Event, …) -> Result<(), E>` or an `async` closure `|event: Event, …| async move {{ … }}`",
    note = "its future must be `Send`: hold no `Rc`, `RefCell` borrow or `MutexGuard` across an `.await`"
)]
pub trait HandlerFn<Args>: Send + Sync + 'static {
    /// What it returns in the end.
    type Out;

    /// Calls it.
    fn invoke(&self, args: Args) -> impl Future<Output = Self::Out> + Send;
}

/// Arguments that can be taken from a delivery: first the event, then anything that implements [`FromDelivery`].
#[diagnostic::on_unimplemented(
    message = "these arguments cannot be taken from a delivery",
    label = "the first must be an event or an `Arc` of one, the others must implement `FromDelivery<{S}>`"
)]
pub trait HandlerArgs<S>: Sized + Send + 'static {
    /// The event.
    type Event: Event;

    /// Takes them all.
    ///
    /// # Errors
    /// Why one of them is not there.
    fn extract(incoming: &Incoming, state: &S, definition: &EventDefinition) -> Result<Self, HandlerError>;
}

macro_rules! arguments {
    ($($other:ident),*) => {
        impl<F, Fut, E0, $($other),*> HandlerFn<(E0, $($other,)*)> for F
        where
            F: Fn(E0, $($other),*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send,
        {
            type Out = Fut::Output;

            #[allow(non_snake_case, reason = "named after the types")]
            fn invoke(&self, (event, $($other,)*): (E0, $($other,)*)) -> impl Future<Output = Fut::Output> + Send {
                self(event, $($other),*)
            }
        }

        impl<S, E0, $($other),*> HandlerArgs<S> for (E0, $($other,)*)
        where
            E0: EventArg,
            $($other: FromDelivery<S> + Send + 'static,)*
        {
            type Event = E0::Event;

            #[allow(unused_variables, reason = "a handler of an event alone needs no state")]
            fn extract(incoming: &Incoming, state: &S, definition: &EventDefinition) -> Result<Self, HandlerError> {
                let event = E0::take(incoming.message(), incoming.is_shared(), definition);
                Ok((event.map_err(HandlerError::unreadable)?, $($other::from_delivery(incoming, state)?,)*))
            }
        }
    };
}

arguments!();
arguments!(A1);
arguments!(A1, A2);
arguments!(A1, A2, A3);
arguments!(A1, A2, A3, A4);
arguments!(A1, A2, A3, A4, A5);
arguments!(A1, A2, A3, A4, A5, A6);
arguments!(A1, A2, A3, A4, A5, A6, A7);
arguments!(A1, A2, A3, A4, A5, A6, A7, A8);
arguments!(A1, A2, A3, A4, A5, A6, A7, A8, A9);

//! What handlers share.

use std::ops::{Deref, DerefMut};

use super::FromDelivery;
use crate::{HandlerError, Incoming};

/// The router's state, or a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State<T>(pub T);

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for State<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// How a part is taken from the router's state `S`. The state itself is a part of itself; implement it for others.
#[diagnostic::on_unimplemented(
    message = "the router's state `{S}` has no `{Self}`",
    label = "not a part of the state",
    note = "give the router a state of this type by `.with_state(…)`, or implement `FromState<{S}>` for `{Self}`"
)]
pub trait FromState<S> {
    /// Takes the part, usually by cloning an `Arc`.
    fn from_state(state: &S) -> Self;
}

impl<S: Clone> FromState<S> for S {
    fn from_state(state: &S) -> S {
        state.clone()
    }
}

impl<S, T: FromState<S>> FromDelivery<S> for State<T> {
    fn from_delivery(_: &Incoming, state: &S) -> Result<Self, HandlerError> {
        Ok(Self(T::from_state(state)))
    }
}

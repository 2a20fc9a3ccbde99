//! Without the feature `trace` there are no spans.

use std::{fmt, sync::Arc};

use crate::{ChannelName, Message, Meta, observe::Observer};

/// The span of one step of an event's way. Empty without the feature `trace`.
#[derive(Clone, Debug, Default)]
pub struct Hop(());

impl Hop {
    /// The step in which the present task is.
    pub fn current() -> Self {
        Self(())
    }

    pub(crate) fn publish(_: &Observer, _: &mut Arc<Message>) -> Self {
        Self(())
    }

    pub(crate) fn create(_: &Observer, _: &mut Arc<Message>) -> Self {
        Self(())
    }

    pub(crate) fn send<'a>(_: &Observer, _: impl ExactSizeIterator<Item = &'a Message>) -> Self {
        Self(())
    }

    /// The processing of one delivery, in the trace of its event.
    pub fn process(_: &Observer, _: &str, _: &Message, _: u32) -> Self {
        Self(())
    }

    /// The processing of several events in one call, linked with all of them.
    pub fn process_batch<'a>(_: &Observer, _: &str, _: impl ExactSizeIterator<Item = &'a Message>) -> Self {
        Self(())
    }

    /// A call, from the question to the answer.
    pub fn request(_: &Observer, _: Option<&ChannelName>) -> Self {
        Self(())
    }

    /// Lets an event that comes of this step say so, if it names no span yet.
    pub fn stamp(&self, _: &mut Meta) {}

    /// Links the step with a span that is named as in `traceparent`.
    pub fn link(&self, _: Option<&str>) {}

    /// Runs something as part of the step.
    pub fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    /// Runs a future as part of the step.
    pub fn run<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        future
    }

    /// The step succeeded.
    pub fn succeeded(&self) {}

    /// The step failed: the kind of the error, from a small set, and its text.
    pub fn failed(&self, _: &str, _: &dyn fmt::Display) {}

    /// As [`Hop::failed`], where nobody else tells of it: it is logged, too.
    pub fn complained(&self, _: &str, _: &dyn fmt::Display) {}
}

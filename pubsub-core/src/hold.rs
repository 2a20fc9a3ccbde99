//! Placeholder until the hold lands.
use crate::{
    Clock, Result,
    driver::{Chunk, Drain, RetryPolicy, Source},
};
use std::task::{Context, Poll};
#[allow(missing_docs, dead_code)]
pub struct HoldOptions {
    pub window: usize,
    pub retry: RetryPolicy,
    pub clock: Clock,
    pub drain: Drain,
}
#[allow(missing_docs)]
pub struct KeyHold(Box<dyn Source>);
impl KeyHold {
    #[allow(missing_docs)]
    pub fn new(inner: Box<dyn Source>, _: HoldOptions) -> Self {
        Self(inner)
    }
}
impl Source for KeyHold {
    fn poll_chunk(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<Option<Result<()>>> {
        self.0.poll_chunk(cx, chunk)
    }
}

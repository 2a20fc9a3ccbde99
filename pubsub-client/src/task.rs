//! A task that ends with its owner.

use std::future::Future;

use tokio::{runtime::Handle, task::JoinHandle};

/// A task that is aborted when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(runtime: &Handle, future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(runtime.spawn(future))
    }

    /// Whether it has ended, be it with its runtime.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until it has ended. Cancel safe.
    pub(crate) async fn ended(&mut self) {
        // Only a panic or an abort is an error here, and both are an end.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

//! The signal by which a process is asked to end.

/// Resolves when the process is asked to end: by SIGTERM, as orchestrators send it, or by Ctrl-C. Hand it to
/// [`Router::run`](crate::Router::run).
///
/// From the first poll on, these signals no longer end the process by themselves. Where the system lets a program listen to
/// none of them, it never resolves.
pub async fn terminated() {
    tokio::select! {
        () = terminate() => {}
        () = interrupt() => {}
    }
}

async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
async fn terminate() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut signals) => {
            // `None` is never given while the runtime lives.
            signals.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminate() {
    std::future::pending().await
}

//! How a client is made.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use pubsub_core::{Error, ErrorKind, Result};

use super::{
    HttpClient,
    connect::Options,
    transport::{TokenSource, Transport},
};

/// What a client knows beside the address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) inactivity: Duration,
    pub(super) longest_event: usize,
    pub(super) remembered: usize,
    pub(super) offline: Option<usize>,
}

/// Builds an [`HttpClient`].
#[must_use]
pub struct HttpClientBuilder {
    url: String,
    token: TokenSource,
    headers: Vec<(String, String)>,
    connect: Options,
    settings: Settings,
}

impl std::fmt::Debug for HttpClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Tokens and headers are secrets, and so is what may stand before the host until it is refused.
        f.debug_struct("HttpClientBuilder")
            .field("url", &self.url.rsplit('@').next())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl HttpClientBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: Arc::new(|| Box::pin(std::future::ready(Ok(None)))),
            headers: Vec::new(),
            connect: Options { limit: Duration::from_secs(10), ca: None },
            settings: Settings {
                timeout: Duration::from_secs(30),
                attempts: 3,
                first_pause: Duration::from_millis(500),
                longest_pause: Duration::from_secs(30),
                inactivity: Duration::from_secs(45),
                longest_event: 8 * 1024 * 1024,
                remembered: 1_024,
                offline: None,
            },
        }
    }

    /// Sets a token that stays the same, sent as `Authorization: Bearer`.
    pub fn token(self, token: impl Into<String>) -> Self {
        let token = token.into();
        self.token_with(move || std::future::ready(Ok(token.clone())))
    }

    /// Sets where the token comes from. It is asked for before every attempt, so a refreshed one is taken at once; an
    /// error of it fails the attempt, which is repeated if the error is retryable. When the server answers 401 it is asked
    /// once more, and a token that differs is tried at once.
    pub fn token_with<F, T>(mut self, source: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String>> + Send + 'static,
    {
        self.token = Arc::new(move || {
            let token = source();
            Box::pin(async move { token.await.map(Some) })
        });
        self
    }

    /// Adds a header to every request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets how long a connection may take to be made, its TLS included: 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect.limit = limit;
        self
    }

    /// Trusts the authorities of this file, in PEM, for `https://`, and no others: those that the machine trusts are for
    /// clients that name none.
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.connect.ca = Some(file.into());
        self
    }

    /// Sets how long a call may take, all its attempts together: 30 s.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.settings.timeout = limit;
        self
    }

    /// Sets how often a call is attempted: 3. An attempt is repeated only after failures that may pass, with the same id, so
    /// that the server does once what it is asked twice.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts;
        self
    }

    /// Sets the pause before the second attempt, and the longest one: 500 ms and 30 s. Pauses double, and are up to a half
    /// shorter at random.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.settings.first_pause, self.settings.longest_pause) = (first, longest);
        self
    }

    /// Sets how long a stream may be silent before it is opened anew: 45 s. It must exceed the server's heartbeat, whose
    /// comments count as signs of life.
    pub fn inactivity(mut self, limit: Duration) -> Self {
        self.settings.inactivity = limit;
        self
    }

    /// Sets how long one event of a stream may be, in bytes: 8 MiB.
    pub fn longest_event(mut self, bytes: usize) -> Self {
        self.settings.longest_event = bytes;
        self
    }

    /// Sets how many ids of events a subscription remembers, so as to hand out each event once: 1,024; 0 for none.
    pub fn remember_ids(mut self, count: usize) -> Self {
        self.settings.remembered = count;
        self
    }

    /// Offers [`HttpClient::enqueue`]: up to so many events wait in this process while the server is away, and go out in
    /// order. They are lost with the process.
    pub fn offline_queue(mut self, capacity: usize) -> Self {
        self.settings.offline = Some(capacity);
        self
    }

    /// Makes the client. Nothing is connected yet; for `https://` the authorities are read.
    ///
    /// # Errors
    /// `Invalid` for an address, a header, a file or a number that makes no sense, and for an offline queue outside of a
    /// tokio runtime; `Unsupported` for `https://` without the feature `tls`.
    pub fn build(self) -> Result<HttpClient> {
        let Settings { attempts, inactivity, longest_event, offline, timeout, .. } = self.settings;
        for (is_sound, message) in [
            (attempts > 0, "field `attempts` must be at least 1"),
            (!timeout.is_zero(), "field `timeout` must be longer than nothing"),
            (!inactivity.is_zero(), "field `inactivity` must be longer than nothing"),
            (longest_event > 0, "field `longest_event` must be at least 1"),
            (offline != Some(0), "field `offline_queue` must have room for at least 1"),
        ] {
            if !is_sound {
                return Err(Error::new(ErrorKind::Invalid, "build client", message));
            }
        }
        let transport = Transport::new(&self.url, self.token, &self.headers, &self.connect)?;
        HttpClient::assembled(transport, self.settings)
    }
}

//! How fast callers may call.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pubsub_core::rpc::FailureCode;
use tokio::time::Instant;

use crate::{ApiError, CallRate};

/// How many callers are remembered. Those that have not called for a while are forgotten; they have their whole allowance.
const MAX_CALLERS: usize = 65_536;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    User(String),
    Address(IpAddr),
    Anybody,
}

/// What is left of each caller's allowance.
#[derive(Debug)]
pub(crate) struct Rates {
    rate: Option<CallRate>,
    left: Mutex<HashMap<Who, (Instant, f64)>>,
}

impl Rates {
    pub(crate) fn new(rate: Option<CallRate>) -> Self {
        Self { rate, left: Mutex::default() }
    }

    /// Takes one call.
    ///
    /// # Errors
    /// `TOO_MANY_REQUESTS`, with when the next call may come.
    pub(crate) fn take(&self, user: Option<&str>, address: Option<IpAddr>) -> Result<(), ApiError> {
        let Some(CallRate { per_second, burst, .. }) = self.rate else { return Ok(()) };
        let (per_second, burst) = (f64::from(per_second), f64::from(burst));
        let who = match (user, address) {
            (Some(user), _) => Who::User(user.to_owned()),
            (None, Some(address)) => Who::Address(address),
            (None, None) => Who::Anybody,
        };
        let now = Instant::now();
        let filled = |(since, left): (Instant, f64)| (left + (now - since).as_secs_f64() * per_second).min(burst);
        // The table is whole at every point where a panic could come from.
        let mut table = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= MAX_CALLERS && !table.contains_key(&who) {
            table.retain(|_, entry| filled(*entry) < burst);
            if table.len() >= MAX_CALLERS {
                return Err(ApiError::new(FailureCode::TooManyRequests, "too many callers at once"));
            }
        }
        let entry = table.entry(who).or_insert((now, burst));
        let left = filled(*entry);
        *entry = (now, left);
        if left < 1.0 {
            let after = Duration::from_secs_f64((1.0 - left) / per_second);
            let error = ApiError::new(FailureCode::TooManyRequests, "too many calls: slow down");
            return Err(error.with_retry_after(after));
        }
        entry.1 -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_the_rate() {
        let rates = Rates::new(Some(CallRate::new(10, 3)));
        for _ in 0..3 {
            rates.take(Some("u"), None).unwrap();
        }
        let error = rates.take(Some("u"), None).unwrap_err();
        assert_eq!(error.code(), FailureCode::TooManyRequests);
        assert!(error.retry_after().unwrap() <= Duration::from_millis(100));
        rates.take(Some("v"), None).unwrap();
        tokio::time::advance(Duration::from_millis(101)).await;
        rates.take(Some("u"), None).unwrap();
        rates.take(Some("u"), None).unwrap_err();
        assert_eq!(Rates::new(None).take(None, None), Ok(()));
    }
}

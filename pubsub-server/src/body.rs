//! Reads a request's body whole: no more than allowed, no longer than allowed.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use pubsub_core::rpc::FailureCode;
use tokio::time::timeout;

use crate::ApiError;

/// How much more than the allowed size is taken off the wire, times that size. An answer given while the client still
/// sends would not be read: the connection breaks under it.
const DRAINED: u64 = 8;

/// Bounds of a request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// In bytes.
    pub(crate) size: usize,
    /// From the first byte to the last.
    pub(crate) time: Duration,
}

/// The whole body.
///
/// # Errors
/// `PAYLOAD_TOO_LARGE` over the size, `TIMEOUT` over the time, `BAD_REQUEST` if it breaks off.
pub(crate) async fn read(body: Body, limits: BodyLimits) -> Result<Bytes, ApiError> {
    let too_large = || {
        let message = format!("The body is larger than {} bytes", limits.size);
        ApiError::new(FailureCode::PayloadTooLarge, message)
    };
    let most = (limits.size as u64).saturating_mul(DRAINED);
    if body.size_hint().lower() > most {
        return Err(too_large());
    }
    let in_time = timeout(limits.time, collect(body, limits.size, most)).await;
    match in_time {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::new(FailureCode::BadRequest, "The body broke off")),
        Err(_) => Err(ApiError::new(FailureCode::Timeout, "The body did not arrive in time")),
    }
}

/// `None` if it is larger than `size`.
async fn collect(mut body: Body, size: usize, most: u64) -> Result<Option<Bytes>, axum::Error> {
    let mut seen = 0_u64;
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        seen = seen.saturating_add(data.len() as u64);
        if seen <= size as u64 {
            bytes.extend_from_slice(&data);
        } else {
            bytes = BytesMut::new();
        }
        if seen > most {
            break;
        }
    }
    Ok((seen <= size as u64).then(|| bytes.freeze()))
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures_util::{StreamExt, stream};

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { size: 10, time: Duration::from_secs(5) };

    fn parts(parts: impl IntoIterator<Item = &'static str, IntoIter: Send + 'static>) -> Body {
        Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, Infallible>)))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_the_limit() {
        assert_eq!(read(Body::empty(), LIMITS).await.unwrap(), "");
        assert_eq!(read(parts(["01234", "56789"]), LIMITS).await.unwrap(), "0123456789");
        assert_eq!(read(Body::from("0123456789"), LIMITS).await.unwrap(), "0123456789");
        let refused = read(parts(["01234", "567890"]), LIMITS).await.unwrap_err();
        assert_eq!(refused.code(), FailureCode::PayloadTooLarge);
    }

    #[tokio::test]
    async fn a_little_too_much_is_taken_off_the_wire_and_endless_is_not() {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        let long = stream::repeat_with(move || {
            counted.fetch_add(7, Ordering::Relaxed);
            Ok::<_, Infallible>("0123456")
        });
        let refused = read(Body::from_stream(long.take(1000)), LIMITS).await.unwrap_err();
        assert_eq!(refused.code(), FailureCode::PayloadTooLarge);
        let taken = taken.load(Ordering::Relaxed);
        assert!((80..100).contains(&taken), "{taken}");
        let announced = read(Body::from("x".repeat(81)), LIMITS).await.unwrap_err();
        assert_eq!(announced.code(), FailureCode::PayloadTooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up() {
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>("x"), ()))
        });
        let refused = read(Body::from_stream(trickle), LIMITS).await.unwrap_err();
        assert_eq!(refused.code(), FailureCode::Timeout);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_body() {
        let broken = stream::iter([Ok("{}"), Err(std::io::Error::other("reset"))]);
        let refused = read(Body::from_stream(broken), LIMITS).await.unwrap_err();
        assert_eq!(refused.code(), FailureCode::BadRequest);
    }
}

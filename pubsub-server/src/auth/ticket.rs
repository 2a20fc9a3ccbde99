//! Single-use tickets for streams, where headers cannot be set.
//!
//! A ticket holds the user and the time of its end, signed; that it was used is recorded in the idempotency store. Nodes
//! that share the key and the store take each other's tickets.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use pubsub_core::{
    Clock, Error, ErrorKind, EventId, EventName, Result, Timestamp,
    store::{ActionId, Claim, Idempotency},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::User;
use crate::ApiError;

/// How long a ticket is valid.
const LIFE: Duration = Duration::from_secs(60);
/// The longest ticket that is read, in characters.
const MAX_LEN: usize = 8_192;

/// A ticket for one stream.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// Given as `?ticket=` when the stream is opened.
    pub ticket: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a ticket says.
#[derive(Serialize, Deserialize)]
struct Claims {
    id: String,
    user: String,
    roles: Vec<String>,
    until: Option<i64>,
    expires: i64,
}

/// Gives tickets out, and takes them.
pub(crate) struct Tickets {
    key: [u8; 32],
    store: Arc<dyn Idempotency>,
    clock: Clock,
}

impl Tickets {
    /// Tickets signed with `secret`, or with a random key of this process.
    ///
    /// # Errors
    /// `Invalid` for a secret of fewer than 16 bytes, `Backend` if the system gives no random numbers.
    pub(crate) fn new(secret: Option<&[u8]>, store: Arc<dyn Idempotency>, clock: Clock) -> Result<Self> {
        let key = match secret {
            Some(secret) if secret.len() < 16 => {
                let text = "the secret of tickets must have at least 16 bytes";
                return Err(Error::new(ErrorKind::Invalid, "build server", text));
            }
            Some(secret) => Sha256::digest(secret).into(),
            None => {
                let mut key = [0; 32];
                getrandom::fill(&mut key).map_err(|cause| {
                    let text = "the system gives no random numbers";
                    Error::new(ErrorKind::Backend, "build server", text).because(cause)
                })?;
                key
            }
        };
        Ok(Self { key, store, clock })
    }

    pub(crate) fn issue(&self, user: &User) -> std::result::Result<Ticket, ApiError> {
        let expires_at = self.clock.now().saturating_add(LIFE);
        let claims = Claims {
            id: EventId::random().to_string(),
            user: user.id.clone(),
            roles: user.roles.clone(),
            until: user.valid_until.map(Timestamp::as_millis),
            expires: expires_at.as_millis(),
        };
        let text = serde_json::to_vec(&claims).map_err(|_| ApiError::unavailable("no ticket can be written"))?;
        let ticket = format!("{}.{}", URL_SAFE_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(self.sign(&text)));
        if ticket.len() > MAX_LEN {
            return Err(ApiError::bad_request("the user has too many roles for a ticket"));
        }
        Ok(Ticket { ticket, expires_at })
    }

    /// The user of a ticket, which is used up by that.
    pub(crate) async fn redeem(&self, ticket: &str) -> std::result::Result<User, ApiError> {
        let refused = || ApiError::unauthorized("the ticket is not valid, or was used");
        let claims = self.read(ticket).ok_or_else(refused)?;
        let end = Timestamp::from_millis(claims.expires).map_err(|_| refused())?;
        if end <= self.clock.now() {
            return Err(refused());
        }
        let id = EventId::parse(&claims.id).map_err(|_| refused())?;
        let name = EventName::from_static("pubsub:ticket").map_err(|error| ApiError::of(&error))?;
        let action = ActionId::new("", name, id).map_err(|error| ApiError::of(&error))?;
        let stored = |error: Error| ApiError::of(&error);
        match self.store.claim(&action, b"", 2 * LIFE).await.map_err(stored)? {
            Claim::Granted(permit) => self.store.complete(&permit, Bytes::new()).await.map_err(stored)?,
            _ => return Err(refused()),
        }
        let mut user = User::new(claims.user, claims.roles);
        user.valid_until = claims.until.and_then(|millis| Timestamp::from_millis(millis).ok());
        Ok(user)
    }

    fn read(&self, ticket: &str) -> Option<Claims> {
        if ticket.len() > MAX_LEN {
            return None;
        }
        let (text, signature) = ticket.split_once('.')?;
        let (text, signature) = (URL_SAFE_NO_PAD.decode(text).ok()?, URL_SAFE_NO_PAD.decode(signature).ok()?);
        same(&self.sign(&text), &signature).then(|| serde_json::from_slice(&text).ok())?
    }

    /// HMAC-SHA256 (RFC 2104).
    fn sign(&self, text: &[u8]) -> [u8; 32] {
        let keyed = |pad: u8| {
            let mut block = [pad; 64];
            block.iter_mut().zip(self.key).for_each(|(byte, key)| *byte ^= key);
            block
        };
        let inner = Sha256::new().chain_update(keyed(0x36)).chain_update(text).finalize();
        Sha256::new().chain_update(keyed(0x5c)).chain_update(inner).finalize().into()
    }
}

/// Whether both are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use pubsub_core::ManualClock;

    use super::*;
    use crate::MemoryIdempotency;

    fn tickets(secret: &[u8]) -> (Tickets, ManualClock) {
        let clock = ManualClock::new(Timestamp::from_millis(1_000).unwrap());
        let store = Arc::new(MemoryIdempotency::new(Duration::from_secs(300)));
        (Tickets::new(Some(secret), store, Clock::from(clock.clone())).unwrap(), clock)
    }

    #[tokio::test]
    async fn a_ticket_is_good_for_one_stream_and_a_minute() {
        let (tickets, clock) = tickets(b"a secret of 24 bytes....");
        let user = User::new("u-1", ["reader"]);
        let ticket = tickets.issue(&user).unwrap();
        assert_eq!(tickets.redeem(&ticket.ticket).await.unwrap(), user);
        assert!(tickets.redeem(&ticket.ticket).await.is_err(), "used");
        let late = tickets.issue(&user).unwrap();
        clock.advance(LIFE);
        assert!(tickets.redeem(&late.ticket).await.is_err(), "over");
    }

    #[tokio::test]
    async fn a_forged_ticket_is_refused() {
        let (ours, _) = tickets(b"a secret of 24 bytes....");
        let (theirs, _) = tickets(b"another secret, as long.");
        let good = ours.issue(&User::new("u-1", ["reader"])).unwrap().ticket;
        let (text, signature) = good.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD
            .encode(String::from_utf8(URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap().replace("reader", "writer"));
        for bad in ["", ".", "a.b", text, &format!("{forged}.{signature}"), &format!("{text}.")] {
            assert!(ours.redeem(bad).await.is_err(), "{bad}");
        }
        assert!(theirs.redeem(&good).await.is_err());
        assert!(ours.redeem(&good).await.is_ok());
        assert!(Tickets::new(Some(b"short"), ours.store.clone(), Clock::system()).is_err());
    }

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // RFC 4231, case 2, whose key is shorter than a block and so is used as it is.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let (mut tickets, _) = tickets(b"a secret of 24 bytes....");
        tickets.key = key;
        let signature = tickets.sign(b"what do ya want for nothing?");
        assert_eq!(signature[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }
}

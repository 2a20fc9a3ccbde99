//! Tokens as the means to tell who calls.

use std::{collections::HashMap, fmt, sync::Arc};

use pubsub_core::driver::BoxFuture;
use sha2::{Digest, Sha256};

use super::{Authenticate, Credentials, User};
use crate::ApiError;

/// A fixed list of tokens and the users behind them, for tests, demonstrations and service accounts.
#[derive(Clone, Default)]
pub struct Tokens {
    // By digest, so that looking one up takes no time that depends on how much of a guess is right.
    users: HashMap<[u8; 32], User>,
}

impl Tokens {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token.
    #[must_use]
    pub fn with(mut self, token: &str, user: User) -> Self {
        self.users.insert(Sha256::digest(token.as_bytes()).into(), user);
        self
    }
}

impl Authenticate for Tokens {
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<Option<User>, ApiError>> {
        Box::pin(async move {
            let Some(token) = credentials.token()? else { return Ok(None) };
            let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
            let user = self.users.get(&digest).cloned();
            user.map(Some).ok_or_else(|| ApiError::unauthorized("the token is not valid"))
        })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("users", &self.users.values()).finish()
    }
}

/// A function from token to user.
pub(crate) struct ByToken<F>(pub(crate) Arc<F>);

impl<F, Fut> Authenticate for ByToken<F>
where
    F: Fn(String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<User, ApiError>> + Send + 'static,
{
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<Option<User>, ApiError>> {
        Box::pin(async move {
            match credentials.token()? {
                Some(token) => (self.0)(token.to_owned()).await.map(Some),
                None => Ok(None),
            }
        })
    }
}

//! Who calls, and what they may do.

#[cfg(feature = "jwt")]
mod jwt;
mod ticket;
mod tokens;

use std::{fmt, sync::Arc};

use http::{header, request::Parts};
use pubsub_core::{ChannelName, Envelope, Timestamp, driver::BoxFuture};

#[cfg(feature = "jwt")]
pub use jwt::{Jwt, JwtBuilder};
pub use ticket::Ticket;
pub(crate) use ticket::Tickets;
pub(crate) use tokens::ByToken;
pub use tokens::Tokens;

use crate::{ApiError, Operation, procedure::ConnectionParams};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// The name that events carry as `meta.userId`, and by which ids of sent events are kept apart.
    pub id: String,
    /// What the user may do, as channel policies name it.
    pub roles: Vec<String>,
    /// When the credentials end; streams end then at the latest.
    pub valid_until: Option<Timestamp>,
}

impl User {
    /// A user.
    pub fn new<R: Into<String>>(id: impl Into<String>, roles: impl IntoIterator<Item = R>) -> Self {
        Self { id: id.into(), roles: roles.into_iter().map(Into::into).collect(), valid_until: None }
    }

    /// Sets when the credentials end.
    #[must_use]
    pub fn valid_until(mut self, end: Timestamp) -> Self {
        self.valid_until = Some(end);
        self
    }

    /// Whether the user has a role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|known| known == role)
    }
}

/// What a request says about its caller.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    parts: &'a Parts,
    params: Option<&'a ConnectionParams>,
    cookie: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// The request without its body.
    pub fn parts(&self) -> &'a Parts {
        self.parts
    }

    /// A value of the query parameter `connectionParams`.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params?.get(name).map(String::as_str)
    }

    /// The token: of the header `Authorization: Bearer`, else of `connectionParams.token`, else of the cookie that the
    /// application named. Nothing of it is checked here.
    ///
    /// # Errors
    /// `UNAUTHORIZED` for an `Authorization` header of another kind.
    pub fn token(&self) -> Result<Option<&'a str>, ApiError> {
        if let Some(value) = self.parts.headers.get(header::AUTHORIZATION) {
            let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
            let token = bearer.filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
            let refused = || ApiError::unauthorized("the Authorization header must be `Bearer` and a token");
            return token.filter(|token| !token.is_empty()).map(Some).ok_or_else(refused);
        }
        Ok(self.param("token").or_else(|| self.cookie_value()))
    }

    fn cookie_value(&self) -> Option<&'a str> {
        let name = self.cookie?;
        let headers = self.parts.headers.get_all(header::COOKIE).into_iter();
        let mut cookies = headers.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
        cookies.find_map(|cookie| cookie.trim().split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
    }
}

/// Finds out who calls: the application's hook.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell who asks",
    label = "does not implement `Authenticate`",
    note = "`Tokens` and, with the feature `jwt`, `Jwt` do"
)]
pub trait Authenticate: Send + Sync + 'static {
    /// Who calls; `None` for a request without credentials.
    ///
    /// # Errors
    /// `UNAUTHORIZED` for credentials that are there and not valid; others if they cannot be checked now.
    fn authenticate<'a>(&'a self, credentials: Credentials<'a>) -> BoxFuture<'a, Result<Option<User>, ApiError>>;
}

/// Decides what callers may do, in place of the scopes of the policies: the application's hook.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell who may do what",
    label = "does not implement `Authorize`",
    note = "a function `Fn(Option<&User>, &ChannelName, Operation) -> bool` does"
)]
pub trait Authorize: Send + Sync + 'static {
    /// Whether the caller may do this.
    ///
    /// # Errors
    /// That it cannot be decided now.
    fn authorize<'a>(
        &'a self,
        user: Option<&'a User>,
        channel: &'a ChannelName,
        operation: Operation,
    ) -> BoxFuture<'a, Result<bool, ApiError>>;
}

impl<F> Authorize for F
where
    F: Fn(Option<&User>, &ChannelName, Operation) -> bool + Send + Sync + 'static,
{
    fn authorize<'a>(
        &'a self,
        user: Option<&'a User>,
        channel: &'a ChannelName,
        operation: Operation,
    ) -> BoxFuture<'a, Result<bool, ApiError>> {
        let allowed = self(user, channel, operation);
        Box::pin(async move { Ok(allowed) })
    }
}

/// Which events a caller may see: the application's hook.
pub(crate) type Visible = Arc<dyn Fn(Option<&User>, &Envelope) -> bool + Send + Sync>;

/// Who calls, or why that is not known.
pub(crate) type Identity = Result<Option<Arc<User>>, ApiError>;

/// All hooks together.
pub(crate) struct Gate {
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    pub(crate) authorize: Option<Arc<dyn Authorize>>,
    pub(crate) visible: Option<Visible>,
    pub(crate) cookie: Option<String>,
    pub(crate) tickets: Tickets,
}

impl Gate {
    /// Who calls. A ticket counts before everything else.
    pub(crate) async fn identify(
        &self,
        parts: &Parts,
        params: Option<&ConnectionParams>,
        ticket: Option<&str>,
    ) -> Identity {
        if let Some(ticket) = ticket {
            return Ok(Some(Arc::new(self.tickets.redeem(ticket).await?)));
        }
        let Some(hook) = &self.authenticate else { return Ok(None) };
        let credentials = Credentials { parts, params, cookie: self.cookie.as_deref() };
        Ok(hook.authenticate(credentials).await?.map(Arc::new))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("authenticate", &self.authenticate.is_some())
            .field("authorize", &self.authorize.is_some())
            .field("visible", &self.visible.is_some())
            .finish_non_exhaustive()
    }
}

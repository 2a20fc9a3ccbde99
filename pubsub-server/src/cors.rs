//! Which pages of other origins may ask.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use pubsub_core::{Error, ErrorKind, Result};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Which origins' pages may use the server, as the application decides. Without it only pages of the server's own origin
/// can.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// None for any.
    origins: Option<Vec<String>>,
    credentials: bool,
}

impl Cors {
    /// Pages of any origin, without cookies.
    pub fn any() -> Self {
        Self::default()
    }

    /// Pages of these origins, such as `https://shop.example`.
    pub fn origins<O: Into<String>>(origins: impl IntoIterator<Item = O>) -> Self {
        Self { origins: Some(origins.into_iter().map(Into::into).collect()), credentials: false }
    }

    /// Lets them send cookies, too; only for named origins.
    #[must_use]
    pub fn credentials(mut self) -> Self {
        self.credentials = true;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// `Invalid` for an origin that is none, and for credentials from anywhere.
    pub(crate) fn layer(&self) -> Result<CorsLayer> {
        let invalid = |text: String| Error::new(ErrorKind::Invalid, "build server", text);
        let origin = match &self.origins {
            None if self.credentials => return Err(invalid("cookies are for named origins only".to_owned())),
            None => AllowOrigin::any(),
            Some(origins) => {
                let parse = |origin: &String| {
                    let bad = || invalid(format!("`{origin}` is not an origin such as https://shop.example"));
                    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
                    let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'));
                    HeaderValue::from_str(origin).ok().filter(|_| good).ok_or_else(bad)
                };
                AllowOrigin::list(origins.iter().map(parse).collect::<Result<Vec<_>>>()?)
            }
        };
        let own = |name: &'static str| HeaderName::from_static(name);
        Ok(CorsLayer::new()
            .allow_origin(origin)
            .allow_credentials(self.credentials)
            .allow_methods([Method::GET, Method::POST, Method::HEAD])
            .allow_headers([
                header::CONTENT_TYPE,
                header::AUTHORIZATION,
                own("trpc-accept"),
                own("last-event-id"),
                own("idempotency-key"),
            ])
            .expose_headers([own("pubsub-last-event-id")])
            .max_age(Duration::from_secs(600)))
    }
}

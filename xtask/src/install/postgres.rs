//! PostgreSQL, whose server the tests start for themselves.

use pubsub_testkit::postgres::{self, Postgres};

use super::{Consent, apt};
use crate::Fault;
use crate::log::Log;

/// Gets it unless it is there or the environment names a server, and says so.
pub(crate) fn ensure(consent: Consent, log: &mut Log) -> Result<String, Fault> {
    if let Some(url) = postgres::url_from_environment() {
        // Without what may be a password.
        let host = url.rsplit('@').next().unwrap_or_default();
        return Ok(format!("a server at {host}"));
    }
    if Postgres::is_installed().is_ok() {
        return Ok("on the machine".into());
    }
    apt::install_with(consent, &["postgresql"], log)?;
    Postgres::is_installed()?;
    Ok("got postgresql".into())
}

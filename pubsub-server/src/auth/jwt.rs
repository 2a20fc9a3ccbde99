//! `Jwt`: JSON Web Tokens as credentials (feature `jwt`).

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use pubsub_core::{Error, ErrorKind, Result, Timestamp, driver::BoxFuture};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::{Authenticate, Credentials, User};
use crate::ApiError;

/// The shortest secret that is as good as the algorithm, in bytes.
const MIN_SECRET: usize = 32;

/// Verifies JSON Web Tokens: signed with a secret that both sides know, or with a key of a JWKS file, which is read again
/// when a token names a key that was not there.
///
/// A token needs `sub`, which becomes the user's id, and `exp`; streams end with it. An algorithm is taken only where the
/// key is for it, so a token cannot choose another one.
///
/// ```
/// use pubsub_server::Jwt;
///
/// # fn main() -> Result<(), pubsub_core::Error> {
/// let jwt = Jwt::secret(b"at least thirty-two bytes, please").audience("shop").build()?;
/// # drop(jwt);
/// # Ok(())
/// # }
/// ```
pub struct Jwt {
    settings: Settings,
    keys: Arc<RwLock<Keys>>,
}

#[derive(Clone)]
struct Settings {
    file: Option<PathBuf>,
    audience: Option<String>,
    issuer: Option<String>,
    roles: String,
    leeway: Duration,
}

/// The keys by id; those without one under nothing.
#[derive(Default)]
struct Keys {
    by_id: HashMap<Option<String>, Key>,
    /// When the file they are from was changed.
    changed: Option<SystemTime>,
}

#[derive(Clone)]
struct Key {
    key: Arc<DecodingKey>,
    algorithms: Vec<Algorithm>,
}

/// Collects what a [`Jwt`] needs.
#[must_use]
pub struct JwtBuilder {
    secret: Option<Vec<u8>>,
    settings: Settings,
}

impl Jwt {
    /// Tokens signed with HMAC (HS256, HS384, HS512) and this secret, at least 32 bytes.
    pub fn secret(secret: &[u8]) -> JwtBuilder {
        JwtBuilder::new(Some(secret.to_vec()), None)
    }

    /// Tokens signed with a key of this file, a JSON Web Key Set.
    pub fn jwks_file(path: impl Into<PathBuf>) -> JwtBuilder {
        JwtBuilder::new(None, Some(path.into()))
    }

    fn find(&self, id: Option<&str>) -> Option<Key> {
        // The table is whole at every point where a panic could come from.
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        match id {
            Some(id) => keys.by_id.get(&Some(id.to_owned())).or_else(|| keys.by_id.get(&None)).cloned(),
            // A token that names no key is for the only one.
            None if keys.by_id.len() == 1 => keys.by_id.values().next().cloned(),
            None => keys.by_id.get(&None).cloned(),
        }
    }

    /// Reads the file again if it was changed; whether it was.
    async fn reload(&self) -> bool {
        let Some(file) = self.settings.file.clone() else { return false };
        let keys = self.keys.clone();
        let read = spawn_blocking(move || {
            let known = keys.read().unwrap_or_else(PoisonError::into_inner).changed;
            if changed(&file) == known {
                return Ok(false);
            }
            let fresh = read_keys(&file)?;
            *keys.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            Ok::<_, Error>(true)
        });
        match read.await {
            Ok(Ok(changed)) => changed,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the file of keys cannot be read; the keys that are known stay");
                false
            }
            Err(_) => false,
        }
    }

    async fn verify(&self, token: &str) -> Option<User> {
        let header = decode_header(token).ok()?;
        let id = header.kid.as_deref();
        let key = match self.find(id) {
            Some(key) => key,
            None if self.reload().await => self.find(id)?,
            None => return None,
        };
        if !key.algorithms.contains(&header.alg) {
            return None;
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = self.settings.leeway.as_secs();
        validation.validate_nbf = true;
        let mut required = vec!["exp", "sub"];
        if let Some(audience) = &self.settings.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.settings.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let claims = decode::<Map<String, Value>>(token, &key.key, &validation).ok()?.claims;
        let roles: Vec<String> = match claims.get(&self.settings.roles) {
            Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(roles)) => roles.split_whitespace().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let mut user = User::new(claims.get("sub")?.as_str()?, roles);
        // Seconds, perhaps with a fraction.
        let seconds = claims.get("exp")?.as_f64()?;
        user.valid_until = Timestamp::from_millis((seconds * 1_000.0) as i64).ok();
        Some(user)
    }
}

impl JwtBuilder {
    fn new(secret: Option<Vec<u8>>, file: Option<PathBuf>) -> Self {
        let settings =
            Settings { file, audience: None, issuer: None, roles: "roles".to_owned(), leeway: Duration::ZERO };
        Self { secret, settings }
    }

    /// Sets for whom tokens must be: `aud`. Without it, tokens that are for somebody are refused.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.settings.audience = Some(audience.into());
        self
    }

    /// Sets who must have issued tokens: `iss`.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.settings.issuer = Some(issuer.into());
        self
    }

    /// Sets the claim that holds the roles, as a list or as words in one text, such as `scope`. The default is `roles`.
    pub fn roles_claim(mut self, claim: impl Into<String>) -> Self {
        self.settings.roles = claim.into();
        self
    }

    /// Sets by how much the clocks of issuer and server may differ, in whole seconds. The default is not at all.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.settings.leeway = leeway;
        self
    }

    /// The verifier. Reads the file of keys, if there is one, and waits for that.
    ///
    /// # Errors
    /// `Invalid` for a secret that is too short, and for a file that cannot be read or has no usable key.
    pub fn build(self) -> Result<Jwt> {
        let keys = match (&self.secret, &self.settings.file) {
            (Some(secret), _) if secret.len() < MIN_SECRET => {
                return Err(invalid(format!("the secret of tokens must have at least {MIN_SECRET} bytes")));
            }
            (Some(secret), _) => {
                let key = DecodingKey::from_secret(secret);
                let key = key.map_err(|cause| invalid("the secret cannot be used".to_owned()).because(cause))?;
                let algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
                Keys { by_id: HashMap::from([(None, Key { key: Arc::new(key), algorithms })]), changed: None }
            }
            (None, Some(file)) => read_keys(file)?,
            (None, None) => Keys::default(),
        };
        Ok(Jwt { settings: self.settings, keys: Arc::new(RwLock::new(keys)) })
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::Invalid, "build token verifier", text)
}

fn changed(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|about| about.modified()).ok()
}

fn read_keys(file: &Path) -> Result<Keys> {
    let name = file.display();
    let changed = changed(file);
    let text = std::fs::read(file).map_err(|cause| invalid(format!("`{name}` cannot be read")).because(cause))?;
    let set: JwkSet =
        serde_json::from_slice(&text).map_err(|cause| invalid(format!("`{name}` is no set of keys")).because(cause))?;
    let mut by_id = HashMap::new();
    for jwk in &set.keys {
        let algorithms = algorithms(jwk);
        // Keys for other uses may be among them.
        if let (false, Ok(key)) = (algorithms.is_empty(), DecodingKey::from_jwk(jwk)) {
            by_id.insert(jwk.common.key_id.clone(), Key { key: Arc::new(key), algorithms });
        }
    }
    if by_id.is_empty() {
        return Err(invalid(format!("`{name}` has no key that tokens can be verified with")));
    }
    Ok(Keys { by_id, changed })
}

/// What a key is for: the algorithm that it names, or those of its kind.
fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    let of_kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
        AlgorithmParameters::OctetKey(_) => vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
        _ => Vec::new(),
    };
    match jwk.common.key_algorithm {
        Some(named) => {
            let named: Option<Algorithm> = named.to_string().parse().ok();
            of_kind.into_iter().filter(|algorithm| Some(*algorithm) == named).collect()
        }
        None => of_kind,
    }
}

impl Authenticate for Jwt {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, std::result::Result<Option<User>, ApiError>> {
        Box::pin(async move {
            let Some(token) = credentials.token()? else { return Ok(None) };
            let user = self.verify(token).await;
            user.map(Some).ok_or_else(|| ApiError::unauthorized("the token is not valid"))
        })
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("file", &self.settings.file).finish_non_exhaustive()
    }
}

impl fmt::Debug for JwtBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtBuilder").field("file", &self.settings.file).finish_non_exhaustive()
    }
}

//! JSON Web Tokens: what is taken, and what is not.
#![cfg(feature = "jwt")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Site, bus, open};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use pubsub::server::{Access, Jwt, WebPolicy};
use serde_json::{Value, json};

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const OTHER: &[u8] = b"another secret of more than 32 bytes....";

fn in_seconds(seconds: i64) -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap() + seconds
}

fn signed(header: &Header, claims: &Value, secret: &[u8]) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret).unwrap()).unwrap()
}

fn claims() -> Value {
    json!({ "sub": "u-1", "exp": in_seconds(60), "aud": "shop", "scope": "reader other" })
}

fn with(mut claims: Value, key: &str, value: Value) -> Value {
    claims[key] = value;
    claims
}

fn encoded(text: &str) -> String {
    // Only for headers and claims of this test, whose text is ASCII.
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(text)
}

async fn site(jwt: Jwt) -> Site {
    let bus = bus("memory:").await;
    Site::of(open(&bus).channel(WebPolicy::new("secure.*").read(Access::scope("reader"))).authenticate(jwt)).await
}

async fn asked(site: &Site, token: &str) -> u16 {
    let request = site.client.get(format!("{}/channels/secure.a/history", site.url)).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_token_is_good_if_everything_about_it_is() {
    let jwt = Jwt::secret(SECRET).audience("shop").roles_claim("scope").build().unwrap();
    let site = site(jwt).await;
    let plain = Header::default();
    assert_eq!(asked(&site, &signed(&plain, &claims(), SECRET)).await, 200);
    assert_eq!(asked(&site, &signed(&Header::new(Algorithm::HS512), &claims(), SECRET)).await, 200);
    let weaker = with(claims(), "scope", json!("other"));
    assert_eq!(asked(&site, &signed(&plain, &weaker, SECRET)).await, 403);
    let none = format!("{}.{}.", encoded(r#"{"alg":"none","typ":"JWT"}"#), encoded(&claims().to_string()));
    let mut missing = claims();
    missing.as_object_mut().unwrap().remove("exp");
    for (why, token) in [
        ("expired", signed(&plain, &with(claims(), "exp", json!(in_seconds(-1))), SECRET)),
        ("not yet", signed(&plain, &with(claims(), "nbf", json!(in_seconds(60))), SECRET)),
        ("for another", signed(&plain, &with(claims(), "aud", json!("other")), SECRET)),
        ("without end", signed(&plain, &missing, SECRET)),
        ("nobody's", signed(&plain, &with(claims(), "sub", Value::Null), SECRET)),
        ("signed by another", signed(&plain, &claims(), OTHER)),
        ("not signed", none),
        ("wrong algorithm", format!("{}.{}.AAAA", encoded(r#"{"alg":"RS256"}"#), encoded(&claims().to_string()))),
        ("nonsense", "a.b.c".to_owned()),
        ("nothing", "x".to_owned()),
    ] {
        assert_eq!(asked(&site, &token).await, 401, "{why}");
    }
    assert!(Jwt::secret(b"short").build().is_err());
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let site = site(Jwt::secret(SECRET).audience("shop").roles_claim("scope").build().unwrap()).await;
    let token = signed(&Header::default(), &with(claims(), "exp", json!(in_seconds(2))), SECRET);
    let params = json!({ "token": token }).to_string().replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
    let mut stream = site.stream(&format!("channel=secure.a&connectionParams={params}")).await;
    assert_eq!(stream.status, 200);
    tokio::time::timeout(Duration::from_secs(6), stream.end()).await.unwrap();
}

#[tokio::test]
async fn keys_come_from_a_file_that_may_change() {
    let file = std::env::temp_dir().join(format!("keys-{}.json", uuid::Uuid::new_v4()));
    let set = |keys: &[(&str, &[u8])]| {
        let keys: Vec<_> = keys
            .iter()
            .map(|(id, secret)| json!({ "kty": "oct", "alg": "HS256", "kid": id, "k": encoded(std::str::from_utf8(secret).unwrap()) }))
            .collect();
        std::fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
    };
    set(&[("one", SECRET)]);
    let site = site(Jwt::jwks_file(&file).audience("shop").roles_claim("scope").build().unwrap()).await;
    let named = |id: &str, algorithm| Header { kid: Some(id.to_owned()), ..Header::new(algorithm) };
    let (one, two) = (named("one", Algorithm::HS256), named("two", Algorithm::HS256));
    assert_eq!(asked(&site, &signed(&one, &claims(), SECRET)).await, 200);
    assert_eq!(
        asked(&site, &signed(&named("one", Algorithm::HS384), &claims(), SECRET)).await,
        401,
        "not its algorithm"
    );
    assert_eq!(asked(&site, &signed(&two, &claims(), OTHER)).await, 401);
    // Changed until the file system sees a later time.
    let later = common::until("the new key is found", Duration::from_secs(5), async || {
        set(&[("two", OTHER)]);
        asked(&site, &signed(&two, &claims(), OTHER)).await == 200
    });
    later.await;
    assert_eq!(asked(&site, &signed(&one, &claims(), SECRET)).await, 401, "it is no longer in the file");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(asked(&site, &signed(&two, &claims(), OTHER)).await, 200, "keys that are known stay");
    assert!(Jwt::jwks_file(&file).build().is_err());
}

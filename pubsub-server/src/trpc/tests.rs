//! The wire over procedures that are made up, asked as clients ask.

mod calls;
mod fake;
mod refusals;
mod streams;
mod subscriptions;

use std::sync::Arc;

use axum::{Router, body::Body, response::Response};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower_service::Service;

use self::fake::Fake;
use super::{Settings, router};

/// The wire below a prefix, as applications mount it, and what its procedures saw.
struct Asking {
    router: Router,
    fake: Arc<Fake>,
}

/// What came back.
struct Got {
    status: StatusCode,
    head: http::HeaderMap,
    text: String,
}

fn asking() -> Asking {
    asking_with(|_| ())
}

fn asking_with(change: impl FnOnce(&mut Settings)) -> Asking {
    let mut settings = fake::settings();
    change(&mut settings);
    let fake = Arc::new(Fake::default());
    Asking { router: Router::new().nest("/any/prefix", router(fake.clone(), settings)), fake }
}

impl Asking {
    async fn send(&self, request: Request<Body>) -> Response {
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("/any/prefix{}", parts.uri).parse().unwrap();
        let Ok(response) = self.router.clone().call(Request::from_parts(parts, body)).await;
        response
    }

    async fn ask(&self, request: Request<Body>) -> Got {
        let (head, body) = self.send(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Got { status: head.status, head: head.headers, text: String::from_utf8(bytes.into()).unwrap() }
    }

    async fn get(&self, uri: &str) -> Got {
        self.ask(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, uri: &str, body: impl Into<Body>) -> Got {
        self.ask(Request::post(uri).header("content-type", "application/json").body(body.into()).unwrap()).await
    }
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.head.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of the one error, and that everything in and about it agrees.
    fn refusal(&self) -> String {
        let json = self.json();
        let error = &json["error"];
        assert_eq!(error["data"]["httpStatus"], self.status.as_u16(), "{json}");
        assert!(error["message"].is_string() && error["code"].is_i64(), "{json}");
        assert_eq!(self.header("content-type"), "application/json");
        error["data"]["code"].as_str().unwrap().to_owned()
    }
}

/// JSON as it stands in a query.
fn encoded(input: &Value) -> String {
    form_urlencoded::byte_serialize(input.to_string().as_bytes()).collect()
}

fn done(data: impl Into<Value>) -> Value {
    json!({ "result": { "data": data.into() } })
}

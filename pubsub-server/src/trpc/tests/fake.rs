//! Procedures that do next to nothing.

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use http::request::Parts;
use pubsub_core::rpc::FailureCode;
use serde_json::{Value, json, value::RawValue};

use crate::{
    ApiError, Issue,
    body::BodyLimits,
    procedure::{ConnectionParams, ProcedureKind, Procedures},
    trpc::Settings,
};

pub(super) fn settings() -> Settings {
    Settings {
        max_batch_size: 4,
        body: BodyLimits { size: 100, time: Duration::from_secs(30) },
        method_override: false,
        ping: Duration::from_secs(15),
        reconnect_after_inactivity: Some(Duration::from_secs(45)),
        retry: Duration::from_millis(2000),
    }
}

/// What calls left behind.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) seen: Mutex<Vec<String>>,
}

impl Procedures for Fake {
    type Caller = Result<String, ApiError>;
    type Stream = BoxStream<'static, Bytes>;

    fn kind(&self, path: &str) -> Option<ProcedureKind> {
        match path {
            "echo" | "fail" | "wait" | "who" | "health" => Some(ProcedureKind::Query),
            "add" | "a,b" => Some(ProcedureKind::Mutation),
            "live" | "silent" => Some(ProcedureKind::Subscription),
            _ => None,
        }
    }

    fn caller<'a>(&'a self, parts: &'a Parts, params: Option<ConnectionParams>) -> BoxFuture<'a, Self::Caller> {
        self.seen.lock().unwrap().push("caller".into());
        let header = parts.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let token = header.or_else(|| params?.remove("token")).unwrap_or_else(|| "nobody".into());
        let refused = || ApiError::new(FailureCode::Unauthorized, "no such token");
        let caller = if token == "bad" { Err(refused()) } else { Ok(token) };
        std::future::ready(caller).boxed()
    }

    fn call<'a>(
        &'a self,
        caller: &'a Self::Caller,
        path: &'a str,
        input: Option<&'a RawValue>,
    ) -> BoxFuture<'a, Result<Box<RawValue>, ApiError>> {
        let input = input.map(|input| input.get().to_owned());
        async move {
            self.seen.lock().unwrap().push(format!("{path} {}", input.as_deref().unwrap_or("-")));
            let data = match path {
                "health" => json!("well"),
                _ => json!(self.outcome(caller.as_ref().map_err(Clone::clone)?, path, input).await?),
            };
            Ok(serde_json::value::to_raw_value(&data).unwrap())
        }
        .boxed()
    }

    fn subscribe<'a>(
        &'a self,
        caller: &'a Self::Caller,
        path: &'a str,
        input: Option<&'a RawValue>,
        position: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Self::Stream, ApiError>> {
        let input = input.map_or("-", RawValue::get).to_owned();
        async move {
            let caller = caller.clone()?;
            if path == "silent" {
                return Ok(stream::pending().boxed());
            }
            if input == "\"later\"" {
                let error = ApiError::new(FailureCode::ServiceUnavailable, "draining");
                return Err(error.with_retry_after(Duration::from_millis(700)));
            }
            let data = json!({ "caller": caller, "input": input, "position": position });
            Ok(stream::iter([format!("id: c1\ndata: {data}\n\n").into(), "id: c2\ndata: 2\n\n".into()]).boxed())
        }
        .boxed()
    }
}

impl Fake {
    async fn outcome(&self, caller: &str, path: &str, input: Option<String>) -> Result<Value, ApiError> {
        let input: Option<Value> = input.map(|input| serde_json::from_str(&input).unwrap());
        match path {
            "who" => Ok(caller.into()),
            "wait" => {
                let millis = input.and_then(|input| input.as_u64()).unwrap_or_default();
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok(millis.into())
            }
            "fail" => {
                let code = input.as_ref().and_then(Value::as_str).and_then(FailureCode::parse);
                let issue = Issue { pointer: "/a".into(), message: "not a code".into() };
                Err(match code {
                    Some(code) => ApiError::new(code, "as asked").with_retry_after(Duration::from_millis(2100)),
                    None => ApiError::new(FailureCode::BadRequest, "faulty").with_issues(vec![issue]),
                })
            }
            _ => Ok(input.unwrap_or_else(|| "nothing".into())),
        }
    }
}

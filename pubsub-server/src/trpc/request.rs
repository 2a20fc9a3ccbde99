//! What a request asks for, by its head alone: everything that is checked before a call is made.

use http::{HeaderMap, Method, header, request::Parts};
use percent_encoding::percent_decode_str;
use pubsub_core::rpc::FailureCode;

use super::Settings;
use crate::{
    ApiError, connection_params,
    procedure::{ConnectionParams, ProcedureKind, Procedures},
    query::Query,
};

const JSON_LINES: &str = "application/jsonl";

/// A request whose form is right.
#[derive(Debug)]
pub(super) struct Asked {
    /// One, unless it is a batch; a batch may have one as well.
    pub(super) paths: Vec<(String, Option<ProcedureKind>)>,
    pub(super) batch: bool,
    /// Whether the answers of a batch are to come one by one.
    pub(super) json_lines: bool,
    pub(super) params: Option<ConnectionParams>,
    /// The input in the query, where it is read from there.
    pub(super) input: Option<String>,
    /// Where a subscription starts, unless its input says so.
    pub(super) position: Option<String>,
    /// The methods that are right for these procedures, where this one is not.
    pub(super) allow: Option<&'static str>,
}

impl Asked {
    /// Checks in the order of the reference: content type, batch, kinds, connection parameters.
    ///
    /// # Errors
    /// The one error of the whole request.
    pub(super) fn of<P: Procedures>(
        parts: &Parts,
        path: &str,
        settings: &Settings,
        procedures: &P,
    ) -> Result<Self, ApiError> {
        if parts.method == Method::POST {
            check_content_type(&parts.headers)?;
        }
        let path = decode(path)?;
        let query = Query::of(&parts.uri);
        let batch = query.get("batch") == Some("1");
        let paths: Vec<_> = if batch { path.split(',').collect() } else { vec![&*path] };
        if paths.len() > settings.max_batch_size {
            let message = format!("The batch has more than {} calls", settings.max_batch_size);
            return Err(ApiError::new(FailureCode::BadRequest, message));
        }
        let paths: Vec<_> = paths.into_iter().map(|path| (path.to_owned(), procedures.kind(path))).collect();
        let kind = only_kind(&paths)?;
        let params = query.get("connectionParams").map(connection_params::parse).transpose()?.flatten();
        let json_lines = accepts_json_lines(&parts.headers);
        if json_lines && !batch {
            let message = "Answers that come one by one are those of a batch, which may have one call";
            return Err(ApiError::new(FailureCode::BadRequest, message));
        }
        let input = (parts.method == Method::GET).then(|| query.filled("input").unwrap_or_default().to_owned());
        let accepted = kind.map(|kind| accepted_methods(kind, settings.method_override));
        let allow = accepted.filter(|methods| !methods.split(", ").any(|method| method == parts.method.as_str()));
        Ok(Self { paths, batch, json_lines, params, input, position: position(&parts.headers, &query), allow })
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let media_type = given.as_deref().and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = match &given {
        Some(given) => format!("Unsupported content-type \"{given}\""),
        None => "Missing content-type header".into(),
    };
    Err(ApiError::new(FailureCode::UnsupportedMediaType, message))
}

/// Decodes the path once. Unlike in a query string, what is not well formed is an error.
fn decode(path: &str) -> Result<String, ApiError> {
    let mut escapes = path.split('%').skip(1);
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    let decoded = percent_decode_str(path).decode_utf8();
    match decoded {
        Ok(decoded) if escapes.all(is_escape) => Ok(decoded.into_owned()),
        _ => Err(ApiError::new(FailureCode::BadRequest, format!("Invalid URL-encoding in path \"{path}\""))),
    }
}

/// What the procedures of a request are; `None` if there is none on any of the paths.
fn only_kind(paths: &[(String, Option<ProcedureKind>)]) -> Result<Option<ProcedureKind>, ApiError> {
    let mut kinds = paths.iter().filter_map(|(_, kind)| *kind);
    let first = kinds.next();
    if kinds.any(|kind| Some(kind) != first) {
        let message = "A batch cannot mix queries, mutations and subscriptions";
        return Err(ApiError::new(FailureCode::BadRequest, message));
    }
    Ok(first)
}

/// As the header `allow` lists them. A mutation is never made by `GET`.
fn accepted_methods(kind: ProcedureKind, method_override: bool) -> &'static str {
    match kind {
        ProcedureKind::Mutation => "POST",
        ProcedureKind::Query | ProcedureKind::Subscription if method_override => "GET, POST",
        ProcedureKind::Query | ProcedureKind::Subscription => "GET",
    }
}

fn accepts_json_lines(headers: &HeaderMap) -> bool {
    match headers.get("trpc-accept") {
        Some(value) => value == JSON_LINES,
        None => headers.get(header::ACCEPT).is_some_and(|value| {
            value.to_str().is_ok_and(|value| value.split(',').any(|media_type| media_type.trim() == JSON_LINES))
        }),
    }
}

/// The header wins: a browser that reconnects repeats the old URL with a fresh header. What is empty counts as none.
fn position(headers: &HeaderMap, query: &Query<'_>) -> Option<String> {
    let header = headers.get("last-event-id").filter(|value| !value.is_empty());
    match header {
        // It is whoever reads positions that refuses those with foreign characters.
        Some(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        None => query.filled("lastEventId").or_else(|| query.filled("Last-Event-Id")).map(str::to_owned),
    }
}

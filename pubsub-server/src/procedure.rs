//! The seam between what the server can do and how it is asked: the tRPC wire and the plain endpoints call the same
//! procedures.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::Stream};
use serde_json::value::RawValue;

use crate::ApiError;

/// What a procedure is, and so by which method it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcedureKind {
    /// Reads; by `GET`.
    Query,
    /// Changes something; by `POST`.
    Mutation,
    /// Answers with a stream of events; by `GET`.
    Subscription,
}

/// What `connectionParams` said: credentials of clients that cannot set headers.
pub(crate) type ConnectionParams = BTreeMap<String, String>;

/// All that the wire has to know of the server.
///
/// The wire drops a call's future when its client goes away: what must not stop half-way runs in a task of its own.
pub(crate) trait Procedures: Send + Sync + 'static {
    /// Who asks, as the application's hook finds it; told once per HTTP request and given to each of its calls. Credentials
    /// that are refused are a caller, too: which calls fail for it (not `pubsub.health`) and how is up to each call.
    type Caller: Send + Sync + 'static;
    /// An accepted subscription, which began before it was handed over. Each item is one or several whole events, with `id`
    /// and `data` and without a name; the wire adds what comes first, and pings. When it ends so does the response, and
    /// clients come back.
    type Stream: Stream<Item = Bytes> + Send + 'static;

    /// What stands behind a dotted path, if anything does.
    fn kind(&self, path: &str) -> Option<ProcedureKind>;

    /// Who asks. It is found out once the form of the request is known to be right.
    fn caller<'a>(
        &'a self,
        parts: &'a http::request::Parts,
        params: Option<ConnectionParams>,
    ) -> BoxFuture<'a, Self::Caller>;

    /// Runs a query or a mutation. The answer is JSON text.
    fn call<'a>(
        &'a self,
        caller: &'a Self::Caller,
        path: &'a str,
        input: Option<&'a RawValue>,
    ) -> BoxFuture<'a, Result<Box<RawValue>, ApiError>>;

    /// Opens a subscription. `position` is what the `Last-Event-ID` header or the query said, and wins over the input; it
    /// may hold anything.
    fn subscribe<'a>(
        &'a self,
        caller: &'a Self::Caller,
        path: &'a str,
        input: Option<&'a RawValue>,
        position: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Self::Stream, ApiError>>;
}

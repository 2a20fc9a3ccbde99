//! The procedures, as tRPC 11 puts them into HTTP.

use pubsub_core::rpc::FailureCode::{
    self, BadRequest, Forbidden, NotFound, PreconditionFailed, ServiceUnavailable, Unauthorized,
};
use serde_json::{Map, Value, json};

use super::{
    operation::{answer, body, header, in_path, json_query, position, responses, stream},
    plain::CALL_FAILURES,
    schema_ref,
};
use crate::{
    Procedure,
    ProcedureKind::{self, Mutation, Query, Subscription},
    names::Types,
    procedure::OWN_ROUTER,
};

/// How a query may fail.
const QUERY_FAILURES: &[FailureCode] =
    &[BadRequest, Unauthorized, Forbidden, NotFound, PreconditionFailed, ServiceUnavailable];

/// A procedure of the library itself.
struct Own {
    name: &'static str,
    kind: ProcedureKind,
    /// The schema of the input, and whether there must be one.
    input: Option<(&'static str, bool)>,
    output: &'static str,
    summary: &'static str,
}

const fn own(
    name: &'static str,
    kind: ProcedureKind,
    input: Option<(&'static str, bool)>,
    output: &'static str,
    summary: &'static str,
) -> Own {
    Own { name, kind, input, output, summary }
}

const OWN: &[Own] = &[
    own("publish", Mutation, Some(("PublishInput", true)), "PublishOutput", "Puts an event on a channel"),
    own("sendEvent", Mutation, Some(("SendEventInput", true)), "SendEventOutput", "Sends an event as a client"),
    own("fetchHistory", Query, Some(("FetchHistoryInput", true)), "History", "Past events of a channel"),
    own("listChannels", Query, Some(("ListChannelsInput", false)), "ChannelList", "The channels to read"),
    own("getChannelInfo", Query, Some(("GetChannelInfoInput", true)), "ChannelInfo", "What is known of a channel"),
    own("getEventDefinitions", Query, None, "EventDefinitions", "The events that there are"),
    own("getServiceStatus", Query, None, "ServiceStatus", "What the service does"),
    own("getSubscriptionStats", Query, None, "SubscriptionStats", "Who listens"),
    own("health", Query, None, "HealthReport", "Whether the service is healthy"),
    own("subscribe", Subscription, Some(("SubscribeInput", true)), "EventEnvelope", "The events of channels"),
];

pub(super) fn paths(procedures: &[Procedure<'_>], types: &Types) -> Map<String, Value> {
    let mut paths = Map::new();
    paths.insert("/trpc/{procedures}".into(), batch());
    for Own { name, kind, input, output, summary } in OWN {
        let input = input.map(|(schema, required)| (schema_ref(schema), required));
        let call =
            Call { path: format!("{OWN_ROUTER}.{name}"), kind: *kind, input, output: schema_ref(output), summary };
        paths.insert(format!("/trpc/{}", call.path), call.item());
    }
    for procedure in procedures {
        let (contract, names) = (procedure.contract, types.get(procedure.contract));
        let (input, output) = match procedure.kind {
            Subscription => ((schema_ref("ResumeInput"), false), schema_ref(&names.envelope)),
            Query | Mutation => {
                let output = match contract.reply_schema {
                    Some(_) => schema_ref(&names.reply),
                    None => json!({ "description": "What the action returned; `null` without action." }),
                };
                ((schema_ref(&names.payload), true), output)
            }
        };
        let summary = contract.meaning().unwrap_or(contract.name.as_str());
        let call = Call { path: procedure.path(), kind: procedure.kind, input: Some(input), output, summary };
        paths.insert(format!("/trpc/{}", call.path), call.item());
    }
    paths
}

struct Call<'a> {
    path: String,
    kind: ProcedureKind,
    input: Option<(Value, bool)>,
    output: Value,
    summary: &'a str,
}

impl Call<'_> {
    fn item(&self) -> Value {
        let mut operation = json!({
            "operationId": format!("trpc.{}", self.path), "tags": ["trpc"],
            // Only the first sentence: the rest is with the schema.
            "summary": self.summary.lines().next().unwrap_or_default(),
        });
        let in_query = || self.input.as_ref().map(|(schema, required)| json_query("input", "JSON.", schema, *required));
        match self.kind {
            Query => {
                operation["parameters"] = json!(in_query().into_iter().collect::<Vec<_>>());
                operation["responses"] = responses(&[("200", self.result())], QUERY_FAILURES);
                json!({ "get": operation })
            }
            Mutation => {
                let key = json!({ "type": "string", "pattern": "^[!-~]{1,128}$" });
                operation["parameters"] = json!([header("idempotency-key", "The `clientEventId`.", &key)]);
                if let Some((schema, required)) = &self.input {
                    operation["requestBody"] = body(schema, *required);
                }
                operation["responses"] = responses(&[("200", self.result())], &CALL_FAILURES);
                json!({ "post": operation })
            }
            Subscription => {
                let parameters: Vec<_> = in_query().into_iter().chain(position()).collect();
                operation["parameters"] = json!(parameters);
                let live = stream(
                    "`connected`, then each event with its cursor as `id`; failures as `serialized-error`, also those \
                     of the input.",
                    &self.output,
                );
                operation["responses"] = responses(&[("200", live)], &[]);
                json!({ "get": operation })
            }
        }
    }

    fn result(&self) -> Value {
        let result = json!({ "type": "object", "properties": { "data": self.output }, "required": ["data"] });
        answer("The result.", &json!({ "type": "object", "properties": { "result": result }, "required": ["result"] }))
    }
}

/// Several calls in one request, and what is the same for all procedures.
fn batch() -> Value {
    let names = in_path("procedures", "Dotted paths, with commas between them.", &json!({ "type": "string" }));
    let mut flag = super::operation::query("batch", "Says that it is a batch.", &json!({ "const": "1" }));
    flag["required"] = json!(true);
    let accept = header(
        "trpc-accept",
        "Asks for each answer on a line of its own, as soon as it is there.",
        &json!({ "const": "application/jsonl" }),
    );
    let inputs = json!({ "type": "object", "description": "The inputs, by the index of the call.", "additionalProperties": true });
    let each = json!({
        "anyOf": [
            { "type": "object", "properties": { "result": { "type": "object" } }, "required": ["result"] },
            schema_ref("ErrorResponse"),
        ],
    });
    let answers = json!({ "type": "array", "items": each, "description": "In the order of the calls." });
    let mut success = answer("The answers of all calls.", &answers);
    success["content"]["application/jsonl"] = json!({ "schema": { "type": "string" } });
    let mixed = answer("The answers, with different statuses.", &answers);
    // What fails before any call answers one object, what fails in all calls a list of them.
    let refused =
        answer("The request failed, or all of its calls.", &json!({ "anyOf": [schema_ref("ErrorResponse"), answers] }));
    let responses = json!({ "200": success, "207": mixed, "default": refused });
    let operation = |id: &str, summary: &str| json!({ "operationId": id, "tags": ["trpc"], "summary": summary, "responses": responses });
    let mut queries = operation("trpcQueries", "Several queries in one request");
    queries["parameters"] = json!([flag, accept, json_query("input", "JSON.", &inputs, false)]);
    let mut mutations = operation("trpcMutations", "Several mutations in one request");
    mutations["parameters"] = json!([flag, accept]);
    mutations["requestBody"] = body(&inputs, false);
    let head = json!({
        "operationId": "trpcHead", "tags": ["trpc"], "summary": "Whether the router is there; nothing is called",
        "responses": { "204": { "description": "It is." } },
    });
    json!({ "parameters": [names], "get": queries, "post": mutations, "head": head })
}

//! `pubsub request`.

use pubsub::{EventRpc, Payload, PubSub, rpc::CallError};
use serde_json::Value;

use super::envelope;
use crate::{
    Fault,
    args::Request,
    output::{Output, printable},
};

pub(crate) async fn run(bus: &PubSub, request: &Request, output: Output) -> Result<(), Fault> {
    let rpc = EventRpc::new(bus);
    let call = rpc.request_envelope(envelope(&request.event)?).timeout(request.timeout);
    if !request.stream {
        return say(call.await, output);
    }
    let mut replies = call.stream().await?;
    while let Some(item) = replies.next().await {
        say(item, output)?;
    }
    Ok(())
}

/// A failure is an answer too: with `--json` it is printed as such, and the status tells.
fn say(answer: Result<Payload, CallError>, output: Output) -> Result<(), Fault> {
    match answer {
        Ok(payload) => {
            let document = payload.decode::<Value>()?;
            output.say(&document, || printable(&document.to_string()));
            Ok(())
        }
        Err(CallError::Failed(failure)) if output.json => {
            output.say(&serde_json::to_value(&failure)?, String::new);
            Err(failure.into())
        }
        Err(error) => Err(error.into()),
    }
}

//! `pubsub publish`.

use pubsub::PubSub;
use serde_json::json;

use super::envelope;
use crate::{Fault, args::Publish, output::Output};

pub(crate) async fn run(bus: &PubSub, event: &Publish, output: Output) -> Result<(), Fault> {
    let envelope = envelope(event)?;
    let id = envelope.id.clone();
    let receipt = bus.publish_envelope(envelope).await?;
    let position = receipt.position.map(|position| position.to_string());
    output.say(&json!({ "id": id, "position": position, "duplicate": receipt.duplicate }), || {
        let again = if receipt.duplicate { ", which the channel had already" } else { "" };
        format!("{id}{again}")
    });
    Ok(())
}

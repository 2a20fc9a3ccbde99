//! `pubsub tail`: events as they come.

use pubsub::{EventItem, PubSub};
use serde_json::json;

use crate::{
    Fault,
    args::Tail,
    output::{Output, document, payload},
};

pub(crate) async fn run(bus: &PubSub, tail: &Tail, output: Output) -> Result<(), Fault> {
    let mut events = bus.subscribe_channel(&tail.channel).start(tail.from.clone()).await?;
    let mut left = tail.count.unwrap_or(u64::MAX);
    while left > 0 {
        let item = tokio::select! {
            item = events.next_item() => item,
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        };
        match item {
            Some(Ok(EventItem::Event(event))) => {
                left -= 1;
                output.say(&document(event.message()), || {
                    let message = event.message();
                    format!("{} {} {} {}", message.timestamp(), message.channel(), message.name(), payload(message))
                });
                event.ack();
            }
            Some(Ok(EventItem::Gap(gap))) if output.json => {
                let lost = json!({ "channel": gap.channel, "lost": gap.lost, "reason": format!("{:?}", gap.reason) });
                output.say(&json!({ "gap": lost }), String::new);
            }
            Some(Ok(other)) => eprintln!("pubsub: {other:?}"),
            Some(Err(error)) => eprintln!("pubsub: {error}"),
            None => return Ok(()),
        }
    }
    Ok(())
}

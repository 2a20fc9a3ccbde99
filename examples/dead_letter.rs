//! What becomes of events that cannot be handled: `cargo run --example dead_letter`.
//!
//! Three payments come in. One is fine, one fails each time, and one is not what it should be. The last two end up among
//! the dead letters of the group, with their bytes, the reason and the number of attempts; nothing is lost, and nothing
//! stands in the way of the good one.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use pubsub::{ChannelName, Envelope, EventName, HandlerError, Payload, Retry, Router, StartPosition};

#[pubsub::event("payments:received")]
struct PaymentReceived {
    account: String,
    cents: i64,
}

async fn book(payment: PaymentReceived) -> Result<(), HandlerError> {
    if payment.account == "closed" {
        // Any error means: try again, and in the end a dead letter with this text.
        return Err(HandlerError::retry(format!("account `{}` takes no payments", payment.account)));
    }
    println!("booked {} for {}", payment.cents, payment.account);
    Ok(())
}

#[tokio::main]
async fn main() -> pubsub::Result<()> {
    let bus = pubsub::connect("memory:").await?;
    let retry = Retry::exponential(3).delays(Duration::from_millis(10), Duration::from_millis(50));
    let running = Router::new().group("booking").on(book).layer(retry).start(&bus).await?;

    bus.publish(&PaymentReceived { account: "closed".into(), cents: 500 }).await?;
    let (name, channel) = (EventName::parse("payments:received")?, ChannelName::parse("payments")?);
    bus.publish_envelope(Envelope::new(name, channel, Payload::json(r#"{"account": "A-1", "cents": "many"}"#))).await?;
    bus.publish(&PaymentReceived { account: "A-2".into(), cents: 1_250 }).await?;

    let letters = loop {
        let page = bus.dead_letters("payments", "booking", StartPosition::Earliest).await?;
        if page.events.len() == 2 {
            break page.events;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    for letter in letters {
        let (message, meta) = (&letter.message, letter.message.meta());
        let bytes = message.payload().data().map(|bytes| String::from_utf8_lossy(bytes));
        println!(
            "dead after {} attempts: {}\n    {}",
            meta.dead_attempts.unwrap_or_default(),
            bytes.unwrap_or_default(),
            meta.dead_reason.as_deref().unwrap_or_default()
        );
    }
    let handled = running.handled("booking", "payments")?;
    println!("handled {}, and nothing is left: {}", handled.succeeded, running.in_hand() == 0);
    running.drain(Duration::from_secs(5)).await?;
    bus.close(Duration::from_secs(5)).await
}

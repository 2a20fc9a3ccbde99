//! Parts of an event need no dependency of their own.

#[pubsub::payload]
#[derive(Debug, Clone, PartialEq)]
struct Line {
    sku: String,
    #[serde(default)]
    quantity: u32,
}

#[pubsub::payload]
enum Currency {
    Eur,
    Usd,
}

#[pubsub::event("orders:created")]
struct Created {
    lines: Vec<Line>,
    currency: Currency,
}

fn main() {
    let event = Created { lines: vec![Line { sku: "a".into(), quantity: 1 }], currency: Currency::Eur };
    let envelope = pubsub::Envelope::of(event).and_then(|envelope| envelope.encode()).expect("an envelope");
    let back: Created = envelope.payload.decode().expect("the event");
    assert_eq!(back.lines[0].sku, "a");
    assert!(matches!(back.currency, Currency::Eur));
    let _ = Currency::Usd;
}

use pubsub_core::{Catalog, Direction, EventDefinition};
use serde_json::json;

use super::*;

fn order(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

fn first() -> Value {
    order(&json!({ "orderId": { "type": "string" }, "total": { "type": "number" } }), &["orderId", "total"])
}

fn second() -> Value {
    order(&json!({ "orderId": { "type": "string" }, "amount": { "type": "number" } }), &["orderId", "amount"])
}

fn created(version: u32, schema: &Value) -> EventDefinition {
    let definition = EventDefinition::dynamic("orders:created", "orders", version, schema.clone()).unwrap();
    definition.with_direction(Direction::Both)
}

fn contracts(definitions: impl IntoIterator<Item = EventDefinition>) -> Contracts {
    let mut catalog = Catalog::new();
    for definition in definitions {
        catalog.insert(definition).unwrap();
    }
    Contracts::of(&catalog)
}

fn locked() -> Lock {
    let mut lock = Lock::default();
    lock.publish(&contracts([created(1, &first())])).unwrap();
    lock
}

fn name() -> EventName {
    EventName::parse("orders:created").unwrap()
}

/// The only breach.
fn breach(lock: &Lock, definitions: impl IntoIterator<Item = EventDefinition>) -> String {
    let breaches = lock.breaches(&contracts(definitions));
    assert_eq!(breaches.len(), 1, "{breaches:#?}");
    breaches[0].to_string()
}

#[test]
fn the_file_is_read_back() {
    let mut lock = locked();
    lock.pin("billing", &name(), 1).unwrap();
    assert_eq!(Lock::read(&lock.to_text()).unwrap(), lock);
    let edited = lock.to_text().replace("\"number\"", "\"string\"");
    assert!(Lock::read(&edited).unwrap_err().message().contains("somebody has edited it"));
    for bad in ["", "[]", "{}", &lock.to_text().replace("\"lockVersion\": 1", "\"lockVersion\": 2")] {
        assert_eq!(Lock::read(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
    }
}

#[test]
fn what_is_unchanged_or_only_said_in_other_words_passes() {
    let mut reworded = first();
    reworded["description"] = json!("a customer has placed an order");
    reworded["required"] = json!(["total", "orderId"]);
    for same in [first(), reworded] {
        assert_eq!(locked().breaches(&contracts([created(1, &same)])), []);
    }
    let other = EventDefinition::dynamic("orders:paid", "orders", 1, json!(true)).unwrap();
    let contracts = contracts([created(1, &first()), other]);
    assert_eq!(locked().breaches(&contracts), []);
    assert_eq!(locked().unlocked(&contracts).len(), 1);
}

#[test]
fn a_changed_schema_is_refused_with_the_smallest_legal_change() {
    let text = breach(&locked(), [created(1, &second())]);
    assert_eq!(
        text,
        "event `orders:created` version 1 was published with another payload schema\n    \
         /amount is new, and required\n    \
         /total is gone\n  \
         smallest legal change: make the new form version 2 (`version = 2`), with the upcaster `.upcast(1, …)`, which \
         must set `/amount`"
    );
    // That change is legal.
    let mut lock = locked();
    lock.publish(&contracts([created(2, &second()).upcast(1, Ok)])).unwrap();
    assert_eq!(lock.events().count(), 2);

    let mut wider = first();
    wider["properties"]["note"] = json!({ "type": "string" });
    assert!(breach(&locked(), [created(1, &wider)]).contains("`.upcast(1, Ok)`, for older payloads fit as they are"));
}

#[test]
fn a_version_that_a_consumer_pins_stays() {
    let mut lock = locked();
    lock.pin("billing", &name(), 1).unwrap();
    let upcast = || [created(2, &second()).upcast(1, Ok)];
    let text = breach(&lock, upcast());
    assert!(text.contains("version 1 is gone, and billing pins it"), "{text}");
    assert!(text.contains("keep version 1 until billing reads a later one"), "{text}");
    assert!(text.contains("`contracts unpin billing orders:created 1`"), "{text}");
    assert_eq!(lock.breaches(&contracts(upcast().into_iter().chain([created(1, &first())]))), []);
    // A changed one has to stay beside the new one, too.
    let text = breach(&lock, [created(1, &second())]);
    assert!(text.contains("keep version 1 beside it as it was published, for billing pins it"), "{text}");
    assert_eq!(lock.retire(&name(), 1).unwrap_err().kind(), ErrorKind::Conflict);

    lock.unpin("billing", &name(), 1).unwrap();
    assert_eq!(lock.breaches(&contracts(upcast())), []);
    assert_eq!(lock.unpin("billing", &name(), 1).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(lock.pin("billing", &name(), 7).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_missing_upcaster_is_refused() {
    for definitions in [vec![created(2, &second())], vec![created(1, &first()), created(2, &second())]] {
        let text = breach(&locked(), definitions);
        assert!(text.contains("version 1 cannot be read by version 2: an upcaster is missing"), "{text}");
        assert!(text.contains("/total is gone"), "{text}");
        assert!(text.contains("add `.upcast(1, …)` to the definition of version 2"), "{text}");
    }
    // Two steps at once; and without any lock.
    let text = breach(&Lock::default(), [created(1, &first()), created(3, &second())]);
    assert!(text.contains("add `.upcast(1, …)`, `.upcast(2, …)` to the definition of version 3"), "{text}");
}

#[test]
fn an_event_that_is_gone_is_put_back_or_retired() {
    let mut lock = locked();
    assert!(breach(&lock, []).contains("`contracts retire orders:created 1`"));
    lock.retire(&name(), 1).unwrap();
    assert_eq!(lock.breaches(&contracts([])), []);
}

#[test]
fn clients_keep_what_they_could_do() {
    for narrower in [Direction::Sse, Direction::Cse, Direction::Internal] {
        let text = breach(&locked(), [created(1, &first()).with_direction(narrower)]);
        assert!(text.contains("let it be BOTH"), "{text}");
    }
    let mut lock = Lock::default();
    lock.publish(&contracts([created(1, &first()).with_direction(Direction::Sse)])).unwrap();
    lock.publish(&contracts([created(1, &first())])).unwrap();
    assert_eq!(lock.events().next().map(|event| event.direction), Some(Direction::Both));

    let moved = EventDefinition::dynamic("orders:created", "shop", 1, first()).unwrap();
    let text = breach(&locked(), [moved.with_direction(Direction::Both)]);
    assert!(text.contains("put it back on `orders`"), "{text}");
}

#[test]
fn a_reply_is_part_of_the_contract() {
    let get = |reply: Value| {
        let get = EventDefinition::dynamic("quotes:get", "quotes", 1, json!(true)).unwrap();
        [get.with_direction(Direction::Cse).with_reply_schema(reply)]
    };
    let mut lock = Lock::default();
    lock.publish(&contracts(get(json!({ "type": "number" })))).unwrap();
    assert_eq!(lock.breaches(&contracts(get(json!({ "type": "number", "title": "Price" })))), []);
    let text = breach(&lock, get(json!({ "type": "string" })));
    assert!(text.contains("was published with another reply schema\n    the reply has `type` \"string\""), "{text}");
    let without = || EventDefinition::dynamic("quotes:get", "quotes", 1, json!(true)).unwrap();
    assert!(breach(&lock, [without().with_direction(Direction::Cse)]).contains("had a reply"));

    // Declared later, where no client calls it.
    let internal = |reply: Value| get(reply).map(|get| get.with_direction(Direction::Internal));
    let mut lock = Lock::default();
    lock.publish(&contracts([without()])).unwrap();
    lock.publish(&contracts(internal(json!({ "type": "number" })))).unwrap();
    let text = breach(&lock, internal(json!({ "type": "string" })));
    assert!(text.contains("was published with another reply schema"), "{text}");
    assert_eq!(Lock::read(&lock.to_text()).unwrap(), lock);
}

#[test]
fn nothing_is_published_over_a_breach() {
    let mut lock = locked();
    let before = lock.clone();
    let error = lock.publish(&contracts([created(1, &second())])).unwrap_err();
    assert_eq!((error.kind(), &lock), (ErrorKind::Conflict, &before));
}

use pubsub::Event;

struct OrderCreated;

fn publish<E: Event>(_event: &E) {}

fn main() {
    publish(&OrderCreated);
}

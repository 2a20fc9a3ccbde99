use pubsub::Event;

#[derive(Event)]
#[event(name = "orders", version = 0)]
union OrderCreated {
    #[event(key)]
    id: u64,
    text: [u8; 8],
}

fn main() {}

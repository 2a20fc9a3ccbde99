// `u64` does not answer the request with `Placed`
#[pubsub::event("orders:place", reply = Placed)]
struct Place {
    number: u64,
}

#[pubsub::payload]
struct Placed {
    number: u64,
}

async fn place(place: Place) -> u64 {
    place.number
}

fn main() {
    let _: pubsub::Router = pubsub::Router::new().action(place);
}

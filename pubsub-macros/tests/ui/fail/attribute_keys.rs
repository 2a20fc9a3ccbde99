#[pubsub::event]
struct NoName;

#[pubsub::event()]
struct NothingInside;

#[pubsub::event("orders")]
struct BadName;

#[pubsub::event("orders:created", "orders:placed", versoin = 2)]
struct Unknown;

#[pubsub::event("orders:created", name = "orders:placed", version = 0)]
struct Twice;

#[pubsub::event(orders::created)]
struct NoQuotes;

fn main() {}

#[pubsub::payload(name = "orders:line", crate = ::pubsub)]
struct Line {
    sku: String,
}

#[pubsub::payload]
fn line() {}

fn main() {
    line();
}

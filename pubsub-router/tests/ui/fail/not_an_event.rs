// `NotEvent` is not an event
struct NotEvent;

async fn handle(_: NotEvent) {}

fn main() {
    let _: pubsub::Router = pubsub::Router::new().on(handle);
}

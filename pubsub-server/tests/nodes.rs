//! Several servers: in one process, and several nodes behind one bus.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{Site, bus, open};
use pubsub::server::{Server, WebPolicy};
use serde_json::json;

#[tokio::test]
async fn two_servers_in_one_process_know_nothing_of_each_other() {
    let (one, two) = (bus("memory:").await, bus("memory:").await);
    let first = open(&one).build().unwrap();
    let second = Server::builder(&two).channel(WebPolicy::public("demo.*")).build().unwrap();
    let app = axum::Router::new().nest("/one", first.router()).nest("/deep/two", second.router());
    let site = Site::at(first, move |_| app).await;
    let event = json!({ "name": "demo:number", "payload": { "n": 1 } });
    assert_eq!(site.post("/one/channels/demo.a/events", &event).await.0, 200);
    assert_eq!(site.get("/one/channels/demo.a/history").await.1["items"].as_array().unwrap().len(), 1);
    assert_eq!(site.get("/deep/two/channels/demo.a/history").await.1["items"], json!([]));
    assert_eq!(site.get("/deep/two/channels/short.a/history").await.0, 404);
    let health = site.get("/deep/two/trpc/pubsub.health").await;
    assert_eq!((health.0.as_u16(), &health.1["result"]["data"]["healthy"]), (200, &json!(true)));
    assert_eq!(site.get("/deep/two/nothing").await.1["error"]["data"]["code"], "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_on_at_another_node() {
    const COUNT: u64 = 600;
    let name = format!("memory://{}", uuid::Uuid::new_v4());
    let (one, two) = (bus(&name).await, bus(&name).await);
    let sites = [Site::of(open(&one)).await, Site::of(open(&two)).await];
    let publisher = async {
        for n in 0..COUNT {
            // Published at both nodes in turn.
            sites[usize::try_from(n % 2).unwrap()].publish("demo.a", n..n + 1).await;
        }
    };
    let reader = async {
        let (mut last, mut expected) = ("earliest".to_owned(), 0);
        for turn in 0_usize.. {
            let mut stream = sites[turn % 2].stream(&format!("channel=demo.a&lastEventId={last}")).await;
            for _ in 0..(7 + turn) {
                let block = stream.event().await.unwrap();
                assert_eq!(block.event.as_deref(), Some("demo:number"), "no gap");
                assert_eq!(block.number(), expected);
                expected += 1;
                last = block.id.unwrap();
                if expected == COUNT {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(3 * common::PATIENCE, async { tokio::join!(publisher, reader) }).await.unwrap();
}

//! Batches whose answers come one by one.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use super::*;

fn lines(uri: &str, header: &str) -> Request<Body> {
    Request::get(uri).header(header, "application/jsonl").body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn answers_come_as_they_are_ready() {
    let input = encoded(&json!({ "0": 300, "1": 100, "2": "CONFLICT", "3": 200 }));
    let uri = format!("/trpc/wait,wait,fail,wait?batch=1&input={input}");
    let begun = Instant::now();
    let response = asking().send(lines(&uri, "trpc-accept")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/json");
    let mut body = response.into_body().into_data_stream();
    let mut came = Vec::new();
    while let Some(line) = body.next().await {
        let line = String::from_utf8(line.unwrap().into()).unwrap();
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line:?}");
        came.push((begun.elapsed().as_millis() as u64 / 100, serde_json::from_str::<Value>(&line).unwrap()));
    }
    let head = json!({
        "0": [[0], [null, 0, 0]], "1": [[0], [null, 0, 1]], "2": [[0], [null, 0, 2]], "3": [[0], [null, 0, 3]],
    });
    let data = json!({ "code": "CONFLICT", "httpStatus": 409, "path": "fail" });
    let failed = json!({ "error": { "message": "as asked", "code": -32009, "data": data } });
    assert_eq!(
        came,
        [
            (0, head),
            (0, json!([2, 0, [[failed]]])),
            (1, json!([1, 0, [[done(100)]]])),
            (2, json!([3, 0, [[done(200)]]])),
            (3, json!([0, 0, [[done(300)]]])),
        ]
    );
}

#[tokio::test]
async fn either_header_asks_for_lines_and_ours_wins() {
    let asking = asking();
    for header in ["trpc-accept", "accept"] {
        let got = asking.ask(lines("/trpc/echo?batch=1", header)).await;
        assert_eq!(got.text, "{\"0\":[[0],[null,0,0]]}\n[0,0,[[{\"result\":{\"data\":\"nothing\"}}]]]\n", "{header}");
    }
    let request = Request::get("/trpc/echo?batch=1").header("accept", "text/html, application/jsonl, */*");
    assert!(asking.ask(request.body(Body::empty()).unwrap()).await.text.contains('\n'));
    let request = Request::get("/trpc/echo?batch=1").header("accept", "application/jsonl").header("trpc-accept", "*/*");
    assert_eq!(asking.ask(request.body(Body::empty()).unwrap()).await.json(), json!([done("nothing")]));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_calls() {
    let asking = asking();
    let before = Arc::strong_count(&asking.fake);
    let input = encoded(&json!({ "0": 3_600_000 }));
    let response = asking.send(lines(&format!("/trpc/wait?batch=1&input={input}"), "accept")).await;
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().unwrap().starts_with(b"{"));
    let next = tokio::time::timeout(Duration::from_millis(20), body.next()).await;
    assert!(next.is_err(), "it is on its way");
    assert!(Arc::strong_count(&asking.fake) > before);
    drop(body);
    assert_eq!(Arc::strong_count(&asking.fake), before);
}

//! Single calls and batches.

use super::*;

#[tokio::test]
async fn a_query_has_its_input_in_the_url() {
    let asking = asking();
    let input = json!({ "text": "ä+b c&d=e%41", "n": 1.5 });
    let got = asking.get(&format!("/trpc/echo?input={}", encoded(&input))).await;
    assert_eq!((got.status, got.json()), (StatusCode::OK, done(input)));
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("vary"), "trpc-accept, accept");
    for uri in ["/trpc/echo", "/trpc/echo?input=", "/trpc/ec%68o?other=1&batch=2"] {
        assert_eq!(asking.get(uri).await.json(), done("nothing"), "{uri}");
    }
    assert_eq!(asking.get("/trpc/echo?input=1&input=2").await.json(), done(1));
    assert_eq!(asking.get("/trpc/echo?input=null").await.json(), done(Value::Null));
}

#[tokio::test]
async fn a_mutation_has_its_input_in_the_body() {
    let asking = asking();
    let got = asking.post("/trpc/add?input=7", "{\"a\":[1, 2]}").await;
    assert_eq!((got.status, got.json()), (StatusCode::OK, done(json!({ "a": [1, 2] }))));
    assert_eq!(asking.post("/trpc/add", "").await.json(), done("nothing"));
    for content_type in ["application/json; charset=utf-8", "Application/JSON", " application/json ;x"] {
        let request = Request::post("/trpc/add").header("content-type", content_type).body(Body::from("1")).unwrap();
        assert_eq!(asking.ask(request).await.json(), done(1), "{content_type}");
    }
}

#[tokio::test]
async fn a_batch_answers_in_the_order_of_its_calls() {
    let asking = asking();
    let input = encoded(&json!({ "0": 30, "2": 10 }));
    let expected = json!([done(30), done("nothing"), done(10)]);
    for comma in [",", "%2C", "%2c"] {
        let got = asking.get(&format!("/trpc/wait{comma}echo{comma}wait?batch=1&input={input}")).await;
        assert_eq!((got.status, got.json()), (StatusCode::OK, expected.clone()));
    }
    let got = asking.get("/trpc/echo?batch=1").await;
    assert_eq!(got.json(), json!([done("nothing")]), "a batch of one is one");
    let got = asking.post("/trpc/add,add?batch=1", r#"{"0":{"x":1},"1":2}"#).await;
    assert_eq!(got.json(), json!([done(json!({ "x": 1 })), done(2)]));
}

#[tokio::test]
async fn calls_of_a_batch_run_at_the_same_time() {
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let input = encoded(&json!({ "0": 1000, "1": 1000, "2": 1000 }));
    asking().get(&format!("/trpc/wait,wait,wait?batch=1&input={input}")).await;
    assert!(begun.elapsed().as_millis() < 1100);
}

#[tokio::test]
async fn the_status_of_a_batch_is_the_common_one_or_207() {
    let asking = asking();
    let input = encoded(&json!({ "0": "NOT_FOUND", "1": "NOT_FOUND" }));
    let got = asking.get(&format!("/trpc/fail,fail?batch=1&input={input}")).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    let got = asking.get(&format!("/trpc/fail,echo?batch=1&input={input}")).await;
    assert_eq!(got.status, StatusCode::MULTI_STATUS);
    let json = got.json();
    assert_eq!(json[0]["error"]["data"]["path"], "fail");
    assert_eq!(json[1], done("NOT_FOUND"));
}

#[tokio::test]
async fn a_caller_is_told_to_every_call_and_found_once() {
    let asking = asking();
    let params = encoded(&json!({ "token": "me" }));
    let got = asking.get(&format!("/trpc/who,who?batch=1&connectionParams={params}")).await;
    assert_eq!(got.json(), json!([done("me"), done("me")]));
    let seen = asking.fake.seen.lock().unwrap().clone();
    assert_eq!(seen, ["caller", "who -", "who -"]);
    let request = Request::get(format!("/trpc/who?connectionParams={params}")).header("authorization", "other");
    assert_eq!(asking.ask(request.body(Body::empty()).unwrap()).await.json(), done("other"));
}

#[tokio::test]
async fn refused_credentials_fail_the_calls_that_need_them() {
    let request = Request::get("/trpc/health,who?batch=1").header("authorization", "bad");
    let got = asking().ask(request.body(Body::empty()).unwrap()).await;
    assert_eq!(got.status, StatusCode::MULTI_STATUS);
    assert_eq!(got.json()[0], done("well"));
    assert_eq!(got.json()[1]["error"]["data"]["code"], "UNAUTHORIZED");
}

#[tokio::test]
async fn queries_come_by_post_where_that_is_allowed() {
    let asking = asking_with(|settings| settings.method_override = true);
    assert_eq!(asking.post("/trpc/echo?input=1", "2").await.json(), done(2));
    assert_eq!(asking.post("/trpc/echo,echo?batch=1", r#"{"1":2}"#).await.json(), json!([done("nothing"), done(2)]));
    let got = asking.get("/trpc/add").await;
    assert_eq!((got.refusal().as_str(), got.header("allow")), ("METHOD_NOT_SUPPORTED", "POST"));
}

#[tokio::test]
async fn head_asks_for_nothing() {
    let asking = asking();
    for uri in ["/trpc/echo", "/trpc/add", "/trpc/live", "/trpc/no.such", "/trpc/"] {
        let got = asking.ask(Request::head(uri).body(Body::empty()).unwrap()).await;
        assert_eq!((got.status, got.text.as_str()), (StatusCode::NO_CONTENT, ""), "{uri}");
    }
    assert!(asking.fake.seen.lock().unwrap().is_empty());
}

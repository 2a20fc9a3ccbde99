//! What is refused, how, and in which order things are checked.

use super::*;

#[tokio::test]
async fn an_error_has_the_form_that_clients_demand() {
    let asking = asking();
    let got = asking.get("/trpc/fail?input={}").await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    let data = json!({
        "code": "BAD_REQUEST",
        "httpStatus": 400,
        "path": "fail",
        "issues": [{ "pointer": "/a", "message": "not a code" }],
    });
    assert_eq!(got.json(), json!({ "error": { "message": "faulty", "code": -32600, "data": data } }));
}

#[tokio::test]
async fn whoever_is_turned_away_for_now_learns_when_to_come_back() {
    let asking = asking();
    let fail = |code| format!("/trpc/fail?input=%22{code}%22");
    for code in ["TOO_MANY_REQUESTS", "SERVICE_UNAVAILABLE"] {
        let got = asking.get(&fail(code)).await;
        assert_eq!((got.refusal().as_str(), got.header("retry-after")), (code, "3"));
    }
    assert_eq!(asking.get("/trpc/no.such").await.header("retry-after"), "");
    let input = encoded(&json!({ "0": "TOO_MANY_REQUESTS", "1": "TOO_MANY_REQUESTS" }));
    let got = asking.get(&format!("/trpc/fail,fail?batch=1&input={input}")).await;
    assert_eq!((got.status, got.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "3"));
    assert_eq!(asking.get(&fail("UNAUTHORIZED")).await.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn unknown_procedures_are_not_found() {
    let asking = asking();
    for (uri, path) in [
        ("/trpc/no.such", "no.such"),
        ("/trpc/Echo", "Echo"),
        ("/trpc/echo/", "echo/"),
        ("/trpc/echo,echo", "echo,echo"),
        ("/trpc/%65cho%2525", "echo%25"),
        ("/trpc", ""),
        ("/trpc/", ""),
    ] {
        let got = asking.get(uri).await;
        assert_eq!(got.refusal(), "NOT_FOUND");
        let error = &got.json()["error"];
        assert_eq!(error["message"], format!("No procedure found on path \"{path}\""));
        assert_eq!(error["data"]["path"], path);
    }
    assert_eq!(asking.get("/trpc/echo,no?batch=1").await.status, StatusCode::MULTI_STATUS);
}

#[tokio::test]
async fn a_procedure_is_called_by_its_method() {
    let asking = asking();
    for (method, path, allow) in
        [("POST", "echo", "GET"), ("GET", "add", "POST"), ("PUT", "add", "POST"), ("DELETE", "echo", "GET")]
    {
        let request = Request::builder().method(method).uri(format!("/trpc/{path}"));
        let got = asking.ask(request.header("content-type", "application/json").body(Body::from("1")).unwrap()).await;
        assert_eq!((got.refusal().as_str(), got.header("allow")), ("METHOD_NOT_SUPPORTED", allow), "{method} {path}");
    }
    let got = asking.get("/trpc/add,no?batch=1").await;
    assert_eq!((got.status, got.header("allow")), (StatusCode::MULTI_STATUS, "POST"));
    assert_eq!(*asking.fake.seen.lock().unwrap(), ["caller"; 5]);
}

#[tokio::test]
async fn a_body_is_json() {
    let asking = asking();
    let mut types =
        vec!["text/plain", "multipart/form-data; boundary=x", "application/octet-stream", "application/jsonx"];
    types.extend(["application/x-www-form-urlencoded", "", "json", "text/plain, application/json"]);
    for content_type in types {
        let request = Request::post("/trpc/no.such").header("content-type", content_type);
        let got = asking.ask(request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(got.refusal(), "UNSUPPORTED_MEDIA_TYPE", "{content_type}");
        assert!(got.json()["error"]["data"].get("path").is_none());
    }
    let got = asking.ask(Request::post("/trpc/add").body(Body::from("{}")).unwrap()).await;
    assert_eq!(got.refusal(), "UNSUPPORTED_MEDIA_TYPE");
    let request = Request::get("/trpc/echo").header("content-type", "text/plain").body(Body::empty()).unwrap();
    assert_eq!(asking.ask(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_whole_request_is_refused_before_who_asks_is_asked() {
    let asking = asking();
    for (uri, code) in [
        ("/trpc/echo,echo,echo,echo,echo?batch=1", "BAD_REQUEST"),
        ("/trpc/echo,add?batch=1", "BAD_REQUEST"),
        ("/trpc/live,echo?batch=1", "BAD_REQUEST"),
        ("/trpc/%zz", "BAD_REQUEST"),
        ("/trpc/%ff", "BAD_REQUEST"),
        ("/trpc/echo%", "BAD_REQUEST"),
        ("/trpc/echo?connectionParams=", "PARSE_ERROR"),
        ("/trpc/echo?connectionParams=%7B", "PARSE_ERROR"),
        ("/trpc/live?connectionParams=%5B%5D", "PARSE_ERROR"),
        ("/trpc/no,no?batch=1&connectionParams=%7B%22token%22:7%7D", "PARSE_ERROR"),
        // Of several faults the first in the order of checks is told.
        ("/trpc/echo,add?batch=1&connectionParams=7", "BAD_REQUEST"),
    ] {
        assert_eq!(asking.get(uri).await.refusal(), code, "{uri}");
    }
    for uri in ["/trpc/echo", "/trpc/no.such"] {
        let request = Request::get(uri).header("trpc-accept", "application/jsonl").body(Body::empty()).unwrap();
        assert_eq!(asking.ask(request).await.refusal(), "BAD_REQUEST");
    }
    assert!(asking.fake.seen.lock().unwrap().is_empty());
    assert_eq!(asking.get("/trpc/echo?connectionParams=null").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_input_that_cannot_be_read_fails_each_call_that_would_read_it() {
    let asking = asking();
    for text in ["{", "[]", "null", "7"] {
        let got = asking.post("/trpc/add,no,add?batch=1", text).await;
        let json = got.json();
        let codes: Vec<_> = json.as_array().unwrap().iter().map(|one| &one["error"]["data"]["code"]).collect();
        assert_eq!(codes, ["BAD_REQUEST", "NOT_FOUND", "BAD_REQUEST"], "{text}");
    }
    for (uri, text) in [("/trpc/add", "{"), ("/trpc/add", "1 1")] {
        let got = asking.post(uri, text).await;
        assert_eq!(got.refusal(), "BAD_REQUEST");
        assert_eq!(got.json()["error"]["data"]["path"], "add");
    }
    assert_eq!(asking.get("/trpc/echo?input=%7B").await.refusal(), "BAD_REQUEST");
    assert_eq!(asking.post("/trpc/echo", "{").await.refusal(), "METHOD_NOT_SUPPORTED", "the method comes first");
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let asking = asking();
    let fits = format!("\"{}\"", "x".repeat(98));
    assert_eq!(asking.post("/trpc/add", fits.clone()).await.status, StatusCode::OK);
    let larger = fits.replacen('x', "xx", 1);
    assert_eq!(asking.post("/trpc/add", larger.clone()).await.refusal(), "PAYLOAD_TOO_LARGE");
    let got = asking.post("/trpc/add,add?batch=1", larger.clone()).await;
    assert_eq!((got.status, got.json().as_array().unwrap().len()), (StatusCode::PAYLOAD_TOO_LARGE, 2));
    assert_eq!(asking.post("/trpc/no.such", larger).await.refusal(), "NOT_FOUND");
}

#[tokio::test]
async fn subscriptions_are_not_part_of_a_batch() {
    let got = asking().get("/trpc/live,live?batch=1").await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    assert_eq!(got.json()[1]["error"]["data"]["code"], "BAD_REQUEST");
    let got = asking().post("/trpc/live?batch=1", "{}").await;
    assert_eq!(got.json()[0]["error"]["data"]["code"], "METHOD_NOT_SUPPORTED");
}

//! A server of events that is not ours, byte by byte: the other ends of lines, a byte order mark, comments, and an answer
//! whose end is that of the connection.

use std::time::Duration;

use futures_util::StreamExt;
use pubsub_client::http::{HttpClient, SseItem};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use crate::script::LIMIT;

const FIRST: &str = "\u{feff}: hello\r\nretry: 150\r\n\r\nid: 1\r\nevent: tick\r\ndata: a\r\ndata: b\r\n\r\n: a comment\r\rid: 2\rdata:c\r\r";
/// It repeats what the client has, ignores what the standard ignores, and ends in the middle of an event.
const SECOND: &str = "id: 2\ndata: c\n\nretry: soon\nother: x\nid: 3\ndata\n\nid: 4\ndata: lost";

/// Answers one request with these bytes, a few at a time, and hangs up. Gives the head of the request.
async fn answer(listener: &TcpListener, body: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let head = head(&mut stream).await;
    let greeting = "HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream;charset=UTF-8\r\nconnection: close\r\n\r\n";
    stream.write_all(greeting.as_bytes()).await.unwrap();
    for piece in body.as_bytes().chunks(7) {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    head
}

async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap().to_ascii_lowercase()
}

#[tokio::test]
async fn a_foreign_server_is_read_by_the_standard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let first = answer(&listener, FIRST).await;
        let ended = Instant::now();
        let second = answer(&listener, SECOND).await;
        (first, second, ended.elapsed())
    });
    let pause = Duration::from_millis(1);
    let client = HttpClient::builder(&url).backoff(pause, pause).token("t").build().unwrap();
    let mut stream = client.sse("/ticks?all=1", None).unwrap();
    let (mut told, mut pauses) = (Vec::new(), Vec::new());
    while pauses.len() < 2 {
        match timeout(LIMIT, stream.next()).await.unwrap().unwrap().unwrap() {
            SseItem::Message(message) => told.push((message.event, message.id, message.data)),
            SseItem::Interrupted { pause, .. } => pauses.push(pause),
            _ => {}
        }
    }
    let message = |event: &str, id: &str, data: &str| (event.to_owned(), id.to_owned(), data.to_owned());
    assert_eq!(told, [message("tick", "1", "a\nb"), message("message", "2", "c"), message("message", "3", "")]);
    // The server's wish, up to a half shorter.
    assert!(pauses.iter().all(|pause| (75..=150).contains(&pause.as_millis())), "{pauses:?}");
    let (first, second, waited) = timeout(LIMIT, server).await.unwrap().unwrap();
    assert!(waited >= Duration::from_millis(75), "{waited:?}");
    assert!(
        first.starts_with("get /ticks?all=1 http/1.1\r\n") && first.contains("authorization: bearer t\r\n"),
        "{first}"
    );
    assert!(first.contains("accept: text/event-stream\r\n") && !first.contains("last-event-id"), "{first}");
    assert!(second.contains("last-event-id: 2\r\n"), "{second}");
}

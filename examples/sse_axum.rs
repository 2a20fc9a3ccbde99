//! Live events in an axum application that is there already: `cargo run --example sse_axum --features web -- --serve`, then
//! open the page that it names. Without `--serve` it uses itself once, and ends; `--types` writes what `trpc_client` knows of it.
#![allow(clippy::print_stdout)] // it talks to a terminal

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{response::Html, routing::get};
use futures_util::StreamExt;
use pubsub::{
    Catalog, HandlerError, Router,
    codegen::Contracts,
    http::{HttpClient, HttpItem},
    server::{Access, Server, Tokens, User, WebPolicy},
};

/// Somebody said something.
#[pubsub::event("chat:said", direction = "both", reply = Said)]
struct Say {
    #[schemars(length(min = 1))]
    text: String,
}

#[pubsub::payload]
struct Said {
    letters: usize,
}

/// Runs when a client sends the event, before anybody sees it.
async fn say(said: Say) -> Result<Said, HandlerError> {
    Ok(Said { letters: said.text.chars().count() })
}

/// What the page knows of the server: an address, a name of events.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>Chat</title>
<form><input name="text" autofocus><button>Say</button></form><ul></ul>
<script>
  const show = (text) => document.querySelector('ul').append(Object.assign(document.createElement('li'), { textContent: text }));
  const events = new EventSource('/api/events?channel=chat&lastEventId=earliest');
  events.addEventListener('chat:said', (event) => show(JSON.parse(event.data).payload.text));
  events.addEventListener('pubsub:gap', () => show('… something may be missing …'));
  document.querySelector('form').onsubmit = (submit) => {
    submit.preventDefault();
    const payload = { text: submit.target.text.value };
    const headers = { 'content-type': 'application/json', authorization: 'Bearer letmein' };
    fetch('/api/events', { method: 'POST', headers, body: JSON.stringify({ name: 'chat:said', payload }) });
    submit.target.reset();
  };
</script>"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    let (serves, catalog) = (asked("--serve"), Catalog::new().with::<Say>()?);
    if asked("--types") {
        print!("{}", pubsub::codegen::typescript(&Contracts::of(&catalog))?);
        return Ok(());
    }
    let address = std::env::var("PUBSUB_URL").unwrap_or_else(|_| "memory:".to_owned());
    let bus = pubsub::builder(&address).await?.catalog(catalog).build();

    let actions = Router::new().group("chat").action(say).start(&bus).await?;
    let edge = Server::builder(&bus)
        .channel(WebPolicy::new("chat").read(Access::Public).write(Access::scope("member")))
        .authenticate(Tokens::new().with("letmein", User::new("ada", ["member"])))
        .actions(actions.clone())
        .build()?;

    // The application, which gets one route more.
    let app = axum::Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/about", get(|| async { "a page of the application's own" }))
        .nest("/api", edge.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let here = listener.local_addr()?;
    println!("listening on http://{here}");

    let (used, done) = tokio::sync::oneshot::channel::<()>();
    let until = async move {
        if serves {
            pubsub::terminated().await;
        } else {
            drop(done.await);
        }
        edge.drain(Duration::from_secs(1)).await;
    };
    let serving = tokio::spawn(pubsub::server::serve(listener, app, until));
    if !serves {
        use_it(here).await?;
    }
    drop(used);
    serving.await??;
    actions.drain(Duration::from_secs(5)).await?;
    Ok(bus.close(Duration::from_secs(5)).await?)
}

/// What a program elsewhere does.
async fn use_it(server: SocketAddr) -> Result<(), Box<dyn Error>> {
    let stranger = HttpClient::builder(&format!("http://{server}/api")).build()?;
    let refused = stranger.send(&Say { text: "let me in".to_owned() }).await;
    println!("a stranger: {}", refused.err().ok_or("a stranger may not write")?);

    let member = HttpClient::builder(&format!("http://{server}/api")).token("letmein").build()?;
    let mut events = member.subscribe_to::<Say>()?.earliest().start();
    for text in ["hello", "goodbye"] {
        let sent = member.send(&Say { text: text.to_owned() }).await?;
        println!("a member says {text:?}, and is answered {}", sent.result);
    }
    let mut heard = Vec::new();
    while heard.len() < 2 {
        match events.next().await.ok_or("the stream is over")?? {
            HttpItem::Event { event, .. } => heard.push(event.payload.text),
            HttpItem::Open => println!("the stream is open"),
            HttpItem::Gap { .. } => println!("something may be missing"),
            _ => println!("the stream comes back by itself"),
        }
    }
    println!("everybody hears {heard:?}");
    if heard == ["hello", "goodbye"] { Ok(()) } else { Err("something else was heard".into()) }
}

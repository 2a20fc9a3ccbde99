//! The demonstration server: a few channels on the in-memory adapter, for tests of clients and for trying things out.
//!
//! `cargo run -p pubsub-server --example demo -- --listen 127.0.0.1:8080`
//!
//! Then `curl -N 'http://127.0.0.1:8080/events?channel=pingpong'` in one window, and in another
//! `curl -H content-type:application/json -d '{"name":"ping:message","payload":{"message":"hi"}}' http://127.0.0.1:8080/events`.
//! `demo codegen --out DIR` writes its contracts instead, such as types and a client in TypeScript.
//! With `--dashboard` there is a page at `/_dashboard` that shows it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its interface")]

use std::{error::Error, process::ExitCode, time::Duration};

use pubsub::{
    Catalog, ChannelPolicy, Emitter, Failure, FailureCode, HandlerError, PubSub, Retention, Router, Timestamp,
    codegen::DocumentOptions,
    server::{Access, Cors, Server, Tokens, User, WebPolicy},
};

/// A message to be answered.
#[pubsub::event("ping:message", channel = "pingpong", direction = "cse", reply = Pong)]
struct Ping {
    #[schemars(length(min = 1))]
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
}

/// The answer to a message.
#[pubsub::event("pong:response", channel = "pingpong", direction = "sse")]
#[derive(Clone)]
#[serde(rename_all = "camelCase")]
struct Pong {
    reply: String,
    original_message: String,
    timestamp: String,
}

/// An order was made.
#[pubsub::event("orders:created", direction = "both", reply = Created)]
#[serde(rename_all = "camelCase")]
struct OrderCreated {
    #[event(key)]
    order_id: String,
    total: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
}

/// What the action of an order returns.
#[pubsub::payload]
struct Created {
    success: bool,
}

/// A line for the server's log.
#[pubsub::event("system:log", direction = "cse", reply = ())]
struct LogLine {
    message: String,
    level: String,
}

async fn pong(ping: Ping, emit: Emitter) -> Result<Pong, HandlerError> {
    let pong = Pong {
        reply: format!("Pong: {}", ping.message),
        original_message: ping.message,
        timestamp: Timestamp::now().to_string(),
    };
    emit.emit(&pong)?;
    Ok(pong)
}

async fn create(order: OrderCreated) -> Result<Created, HandlerError> {
    if order.total < 0.0 {
        let text = format!("the total of order {} is negative", order.order_id);
        return Err(Failure::new(FailureCode::UnprocessableContent, text).into());
    }
    Ok(Created { success: true })
}

async fn log(line: LogLine) -> Result<(), HandlerError> {
    eprintln!("{}: {}", line.level, line.message);
    Ok(())
}

fn catalog() -> Result<Catalog, pubsub::Error> {
    Catalog::new().with::<Ping>()?.with::<Pong>()?.with::<OrderCreated>()?.with::<LogLine>()
}

async fn bus() -> Result<PubSub, pubsub::Error> {
    let open = |count| ChannelPolicy::new().totally_ordered().retention(Retention::default().count(count));
    Ok(pubsub::builder("memory:")
        .await?
        .catalog(catalog()?)
        .policy("pingpong", ChannelPolicy::new().declared_only())?
        .policy("orders", ChannelPolicy::new().totally_ordered().declared_only())?
        .policy("system", ChannelPolicy::new().declared_only())?
        .policy("demo.*", open(10_000))?
        .policy("short.*", open(5))?
        .policy("tiny.*", open(10_000))?
        .policy("secure.*", open(10_000))?
        .build())
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("codegen") {
        return Ok(pubsub::codegen::main(&catalog()?, DocumentOptions::new("Demo", env!("CARGO_PKG_VERSION"))));
    }
    let (mut listen, mut dashboard) = ("127.0.0.1:0".to_owned(), false);
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        match (&*option, args.len()) {
            ("--dashboard", _) => dashboard = true,
            ("--listen", 1..) => listen = args.next().unwrap_or(listen),
            _ => return Err("usage: demo [--listen HOST:PORT] [--dashboard]".into()),
        }
    }
    let bus = bus().await?;
    let actions: Router = Router::new().group("demo").concurrency(16).action(pong).action(create).action(log);
    let running = actions.start(&bus).await?;
    let tokens = Tokens::new()
        .with("reader-token", User::new("reader", ["reader"]))
        .with("writer-token", User::new("writer", ["reader", "writer"]));
    let mut server = Server::builder(&bus)
        .channel(WebPolicy::public("pingpong"))
        .channel(WebPolicy::public("orders"))
        .channel(WebPolicy::public("system"))
        .channel(WebPolicy::public("demo.*"))
        .channel(WebPolicy::public("short.*"))
        .channel(WebPolicy::public("tiny.*").max_event_size(1024).max_subscribers(2))
        .channel(
            WebPolicy::new("secure.*")
                .read(Access::scope("reader"))
                .write(Access::scope("writer"))
                .publish(Access::scope("writer")),
        )
        .authenticate(tokens)
        .actions(running.clone())
        .cors(Cors::any())
        .configure(|settings| {
            settings.heartbeat = Duration::from_millis(500);
            settings.reconnect_after_inactivity = Duration::from_millis(3_000);
            settings.retry = Duration::from_millis(300);
            settings.method_override = true;
        });
    if dashboard {
        server = server.dashboard();
    }
    let server = server.build()?;

    let listener = tokio::net::TcpListener::bind(&listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    let drained = async {
        pubsub::terminated().await;
        server.drain(Duration::from_secs(1)).await;
    };
    pubsub::server::serve(listener, server.router(), drained).await?;
    running.drain(Duration::from_secs(5)).await?;
    bus.close(Duration::from_secs(5)).await?;
    Ok(ExitCode::SUCCESS)
}

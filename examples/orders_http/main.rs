//! A shop over HTTP: `cargo run -p pubsub-examples --features sql,web --example orders_http -- --serve`, then open the page
//! that it names and sign in with `ada-token`, `bob-token` or `desk-token`. Without `--serve` it opens with empty books, has
//! one visitor, and ends.
//!
//! Orders come by tRPC (`orders.place`) or by REST (`POST /api/events`), are written into SQLite together with the event that
//! tells of them, and leave for the broker by an outbox. Pages show them as they come; a customer sees her own, the desk all.
//!
//! `PUBSUB_URL` names the broker, `memory:` by default; with `?start=degraded` the shop opens although it is down.
//! `ORDERS_DB` is the file of the books (`orders.db`), `ORDERS_LISTEN` where the shop is (`127.0.0.1:0`). On `memory:` events do not outlive
//! the process: pages are told that they may have missed some, and read the books again.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a terminal")]

mod events;
mod rest;
mod shop;
mod visit;

use std::{env, error::Error, sync::Arc, time::Duration};

use pubsub::{
    ChannelPolicy, Retention,
    server::{Access, Server, Tokens, User, WebPolicy},
    sql::{
        Database, SqlActions, SqlOutbox,
        sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
    },
};
use tokio::{net::TcpListener, sync::oneshot};

use events::{PEOPLE, catalog, sees};
use rest::Desk;
use shop::Shop;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let serves = env::args().any(|argument| argument == "--serve");
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let visited = env::temp_dir().join(format!("pubsub-orders-http-{}.db", std::process::id()));
    let books = if serves { setting("ORDERS_DB", "orders.db").into() } else { visited.clone() };
    let file = SqliteConnectOptions::new().filename(&books).create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_with(file.journal_mode(SqliteJournalMode::Wal)).await?;
    let shop = Shop::open(pool.clone()).await?;
    let database = Database::from(pool);
    database.migrate().await?;

    // One order for the whole channel, and the events of a day for pages that were away.
    let day = Retention::default().age(Duration::from_secs(86_400));
    let policy = ChannelPolicy::new().totally_ordered().declared_only().retention(day);
    let bus = pubsub::builder(&setting("PUBSUB_URL", "memory:")).await?.catalog(catalog()?).policy("orders", policy)?;
    let bus = bus.build();

    let actions = shop::actions(shop.clone()).start(&bus).await?;
    let outbox = SqlOutbox::new(&bus, &database);
    let relay = outbox.relay();
    let relayed = relay.watch();
    let people = PEOPLE
        .iter()
        .fold(Tokens::new(), |people, (token, id, roles)| people.with(token, User::new(*id, roles.iter().copied())));
    let customers = || Access::scope("customer");
    let server = Server::builder(&bus)
        .channel(WebPolicy::new("orders").read(customers()).write(customers()))
        .authenticate(people)
        .visible(|user, event| {
            user.is_some_and(|user| sees(user).is_none_or(|id| event.meta.user_id.as_deref() == Some(id)))
        })
        .actions(actions.clone())
        .transactions(Arc::new(SqlActions::new(&outbox)))
        .ready_check("outbox", move || match relayed.stats().leads {
            true => Ok(()),
            false => Err("nothing is sent: another process does it, or nobody".to_owned()),
        })
        .configure(|settings| settings.retry = Duration::from_millis(500))
        .build()?;

    let (stop, stopped) = oneshot::channel::<()>();
    let relaying = tokio::spawn(relay.run(async { drop(stopped.await) }));
    let app = rest::routes(Desk { server: server.clone(), shop }).nest("/api", server.router());
    let listener = TcpListener::bind(setting("ORDERS_LISTEN", "127.0.0.1:0")).await?;
    let here = listener.local_addr()?;
    println!("listening on http://{here}");
    let (left, gone) = oneshot::channel::<()>();
    let drained = async move {
        match serves {
            true => pubsub::terminated().await,
            false => drop(gone.await),
        }
        server.drain(Duration::from_secs(1)).await;
    };
    let serving = tokio::spawn(pubsub::server::serve(listener, app, drained));
    if !serves {
        visit::visit(here).await?;
    }
    drop(left);
    serving.await??;

    actions.drain(Duration::from_secs(5)).await?;
    drop(stop);
    relaying.await??;
    bus.close(Duration::from_secs(5)).await?;
    database.close().await;
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", visited.display())); // it may have served another file
    }
    Ok(())
}

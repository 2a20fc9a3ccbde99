//! The example `orders_http` on every broker: one order and one event whatever happens to its process, and a shop that opens
//! while its broker is down.

mod shop;

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use pubsub::{ChannelPolicy, PubSub, Retention};
use pubsub_testkit::broker::{Broker, BrokerKind, BrokerOptions, find};
use serde_json::{Value, json};
use shop::Shop;
use tokio::time::{Instant, timeout};

/// How soon everything that is in the books is told once the broker is back.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for kind in BrokerKind::ALL {
        let here = Broker::is_installed(kind).is_ok() || find::is_required(kind);
        let once = move || run(sent_twelve_times(kind));
        let down = move || run(opens_without(kind));
        trials.push(Trial::test(format!("{kind}: sent twelve times while it is killed twice"), once));
        trials.push(Trial::test(format!("{kind}: the shop opens while the broker is down"), down));
        let end = trials.len();
        let ours = trials.drain(end - 2..).map(|trial| trial.with_ignored_flag(!here)).collect::<Vec<_>>();
        trials.extend(ours);
    }
    let mut arguments = Arguments::from_args();
    // Each has a broker of its own, which needs its share of the machine.
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(test: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    tokio::runtime::Runtime::new()?.block_on(test)
}

fn check(holds: bool, what: &str, seen: impl std::fmt::Debug) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("expected {what}: {seen:?}").into()) }
}

/// Somebody else who reads the channel, and declares it as the shop does.
async fn auditor(url: &str) -> Result<PubSub, Failed> {
    let day = Retention::default().age(Duration::from_secs(86_400));
    let policy = ChannelPolicy::new().totally_ordered().declared_only().retention(day);
    Ok(pubsub::builder(url).await?.policy("orders", policy)?.build())
}

async fn broker(kind: BrokerKind) -> Result<Broker, Failed> {
    let options = BrokerOptions::new().fsync_always();
    Ok(tokio::task::spawn_blocking(move || Broker::start(kind, &options)).await??)
}

/// What a customer sends: one order with one id, by REST and by tRPC in turn.
async fn send(shop: &Shop, attempt: u32) -> Result<Value, String> {
    let payload = json!({ "item": "lamp", "quantity": 2 });
    match attempt % 2 {
        0 => {
            let body = json!({ "name": "orders:place", "payload": payload, "clientEventId": "the-order" });
            Ok(shop.post("/api/events", &body, &[]).await?["result"].clone())
        }
        _ => {
            let key = [("idempotency-key", "the-order")];
            Ok(shop.post("/api/trpc/orders.place", &payload, &key).await?["result"]["data"].clone())
        }
    }
}

/// The same order with one id, until it was answered twelve times; the process dies right behind the request of two of them.
async fn sent_twelve_times(kind: BrokerKind) -> Result<(), Failed> {
    let broker = broker(kind).await?;
    let mut shop = Shop::open(&broker.url()).await?;
    let (mut answers, mut sent) = (Vec::new(), 0);
    let deadline = Instant::now() + Duration::from_secs(150);
    while answers.len() < 12 {
        check(Instant::now() < deadline, "twelve answers in time", &answers)?;
        sent += 1;
        if sent == 1 || sent == 4 {
            // Dead somewhere between the request and its answer: a bit later the second time.
            let lag = Duration::from_millis(if sent == 1 { 4 } else { 1 });
            let answered = timeout(lag, send(&shop, sent)).await;
            shop.kill_and_reopen().await?;
            answers.extend(answered.ok().and_then(Result::ok));
            continue;
        }
        match send(&shop, sent).await {
            Ok(answer) => answers.push(answer),
            // Whoever died had the right to do it, until its lease is over.
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    check(answers.iter().all(|answer| answer["number"] == 1), "one and the same answer", &answers)?;
    let books = shop.get("/orders").await?;
    check(books["orders"].as_array().is_some_and(|all| all.len() == 1), "one order in the books", &books)?;

    // What went out by the broker, told apart by id: at least once means that a copy may come twice.
    let bus = auditor(&broker.url()).await?;
    let mut events = bus.subscribe_channel("orders").group("auditor").await?;
    let mut told = BTreeMap::new();
    let wait = |told: &BTreeMap<String, Vec<String>>| if told.len() < 2 { TOLD_WITHIN } else { Duration::from_secs(2) };
    while let Ok(Some(event)) = timeout(wait(&told), events.next()).await {
        let event = event?;
        let message = event.message();
        told.entry(message.name().to_string()).or_insert_with(Vec::new).push(message.id().to_string());
        event.ack();
    }
    for ids in told.values_mut() {
        ids.sort();
        ids.dedup();
    }
    let names: Vec<_> = told.iter().map(|(name, ids)| (name.as_str(), ids.len())).collect();
    check(names == [("orders:place", 1), ("orders:placed", 1)], "one event of each kind", &told)?;
    bus.close(Duration::from_secs(10)).await?;
    shop.close().await
}

/// Orders are taken while the broker is down, readiness says why it is not ready, and all is told once it is back.
async fn opens_without(kind: BrokerKind) -> Result<(), Failed> {
    let mut broker = broker(kind).await?;
    broker.kill()?;
    let url = broker.url();
    let degraded = format!("{url}{}start=degraded", if url.contains('?') { '&' } else { '?' });
    let shop = Shop::open(&degraded).await?;
    for number in 1..=20 {
        let id = format!("order-{number}");
        let body =
            json!({ "name": "orders:place", "payload": { "item": "pen", "quantity": number }, "clientEventId": id });
        let answer = shop.post("/api/events", &body, &[]).await?;
        check(answer["result"]["number"] == number, "the order in the books", &answer)?;
    }
    let (status, parts) = shop.ready().await?;
    let reasons = |part: &str| parts["parts"][part]["reason"].as_str().unwrap_or_default().to_owned();
    check(status == 503 && !reasons("adapter").is_empty(), "a readiness that explains", &parts)?;
    check(reasons("handlers shop on orders").contains("subscription"), "that handlers wait", &parts)?;
    check(shop.get("/orders").await?["orders"].as_array().is_some_and(|all| all.len() == 20), "books", &parts)?;
    // Long enough for whoever tries again to have become slow about it.
    tokio::time::sleep(Duration::from_secs(10)).await;

    let broker = tokio::task::spawn_blocking(move || broker.restart().map(|()| broker)).await??;
    let back = Instant::now();
    let bus = auditor(&url).await?;
    let mut events = bus.subscribe_channel("orders").group("auditor").await?;
    let mut told = Vec::new();
    while told.len() < 20 {
        let left = TOLD_WITHIN.saturating_sub(back.elapsed());
        let Ok(Some(event)) = timeout(left, events.next()).await else {
            return Err(format!("{} of 20 events within {TOLD_WITHIN:?}", told.len()).into());
        };
        let event = event?;
        if event.message().name().as_str() == "orders:placed" {
            let payload: Value = serde_json::from_slice(event.message().payload().data().ok_or("no payload")?)?;
            told.push(payload["number"].as_i64());
        }
        event.ack();
    }
    check(told == (1..=20).map(Some).collect::<Vec<_>>(), "every order once, in order", &told)?;
    let ready = async {
        while shop.ready().await?.0 != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok::<_, String>(())
    };
    timeout(Duration::from_secs(30), ready).await.map_err(|_| "it does not become ready")??;
    bus.close(Duration::from_secs(10)).await?;
    shop.close().await?;
    drop(broker);
    Ok(())
}

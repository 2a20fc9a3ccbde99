//! The fault proxy, fault by fault. A client and a server talk through it over real sockets.

use std::io;
use std::time::{Duration, Instant};

use pubsub_testkit::proxy::{Direction, FaultProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// For what must happen.
const SOON: Duration = Duration::from_secs(10);
/// For what must not happen.
const SILENCE: Duration = Duration::from_millis(200);

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A client and a server that are connected through a proxy.
struct Pair {
    proxy: FaultProxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    async fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = FaultProxy::start(listener.local_addr()?).await?;
        let (client, server) = connect(&proxy, &listener).await?;
        Ok(Self { proxy, listener, client, server })
    }

    /// Both directions work.
    async fn exchange(&mut self) -> io::Result<()> {
        send(&mut self.client, &mut self.server).await?;
        send(&mut self.server, &mut self.client).await
    }
}

async fn connect(proxy: &FaultProxy, listener: &TcpListener) -> io::Result<(TcpStream, TcpStream)> {
    let client = TcpStream::connect(proxy.address()).await?;
    let (server, _) = timeout(SOON, listener.accept()).await??;
    Ok((client, server))
}

async fn send(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    from.write_all(b"ping").await?;
    let mut received = [0; 4];
    timeout(SOON, to.read_exact(&mut received)).await??;
    assert_eq!(&received, b"ping");
    Ok(())
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read(&mut [0; 1])).await.is_err()
}

async fn read_end(stream: &mut TcpStream) -> io::Result<io::Result<usize>> {
    Ok(timeout(SOON, stream.read(&mut [0; 1])).await?)
}

async fn assert_reset(stream: &mut TcpStream) -> io::Result<()> {
    let end = read_end(stream).await?;
    assert_eq!(end.map_err(|fault| fault.kind()), Err(io::ErrorKind::ConnectionReset));
    Ok(())
}

#[tokio::test]
async fn bytes_pass_and_are_counted() -> Outcome {
    let mut pair = Pair::new().await?;
    pair.exchange().await?;
    let counters = pair.proxy.counters();
    assert_eq!((counters.connections, counters.open), (1, 1));
    assert_eq!((counters.to_server, counters.to_client, counters.discarded), (4, 4, 0));

    // The end of one direction is passed on, and the other one still works.
    pair.client.shutdown().await?;
    assert_eq!(read_end(&mut pair.server).await??, 0);
    send(&mut pair.server, &mut pair.client).await?;
    pair.server.shutdown().await?;
    assert_eq!(read_end(&mut pair.client).await??, 0);
    let closed = async {
        while pair.proxy.counters().open > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, closed).await?;
    Ok(())
}

#[tokio::test]
async fn cut_resets_both_sides_and_new_connections_work() -> Outcome {
    let mut pair = Pair::new().await?;
    pair.exchange().await?;
    pair.proxy.cut().await?;
    assert_eq!(pair.proxy.counters().open, 0);
    assert_reset(&mut pair.client).await?;
    assert_reset(&mut pair.server).await?;
    (pair.client, pair.server) = connect(&pair.proxy, &pair.listener).await?;
    pair.exchange().await?;
    Ok(())
}

#[tokio::test]
async fn cut_reaches_stalled_and_blackholed_connections() -> Outcome {
    for fault in [FaultProxy::stall, FaultProxy::blackhole] {
        let mut pair = Pair::new().await?;
        fault(&pair.proxy);
        pair.proxy.cut().await?;
        assert_reset(&mut pair.client).await?;
        assert_reset(&mut pair.server).await?;
    }
    Ok(())
}

#[tokio::test]
async fn refuse_concerns_new_connections_only() -> Outcome {
    let mut pair = Pair::new().await?;
    pair.proxy.refuse().await?;
    let refused = TcpStream::connect(pair.proxy.address()).await;
    assert_eq!(refused.map(drop).map_err(|fault| fault.kind()), Err(io::ErrorKind::ConnectionRefused));
    pair.exchange().await?;
    pair.proxy.accept().await?;
    (pair.client, pair.server) = connect(&pair.proxy, &pair.listener).await?;
    pair.exchange().await?;
    Ok(())
}

#[tokio::test]
async fn heal_opens_the_port_again() -> Outcome {
    let mut pair = Pair::new().await?;
    pair.proxy.refuse().await?;
    pair.proxy.heal().await?;
    (pair.client, pair.server) = connect(&pair.proxy, &pair.listener).await?;
    pair.exchange().await?;
    Ok(())
}

#[tokio::test]
async fn stall_holds_back_and_loses_nothing() -> Outcome {
    const TOTAL: usize = 24 << 20;
    let Pair { proxy, listener: _listener, client, mut server } = Pair::new().await?;
    // Made beforehand: the silence below must not be that of a sender who is still counting.
    let numbers: Vec<u8> = (0..TOTAL).map(|number| (number % 251) as u8).collect();
    let expected = numbers.clone();
    proxy.stall();
    let (mut from_server, mut to_server) = client.into_split();
    let mut writer = tokio::spawn(async move { to_server.write_all(&numbers).await.map(|()| to_server) });
    assert!(is_silent(&mut server).await, "bytes passed a stalled proxy");
    assert!(!writer.is_finished(), "the sender felt no back-pressure");
    assert_eq!(proxy.counters().to_server, 0);

    proxy.heal().await?;
    let mut received = vec![0; TOTAL];
    timeout(SOON, server.read_exact(&mut received)).await??;
    assert!(received == expected, "bytes were lost or reordered");
    let _open = timeout(SOON, &mut writer).await???;
    server.write_all(b"answer").await?;
    timeout(SOON, from_server.read_exact(&mut [0; 6])).await??;
    Ok(())
}

#[tokio::test]
async fn blackhole_swallows_without_back_pressure() -> Outcome {
    const TOTAL: usize = 24 << 20;
    let mut pair = Pair::new().await?;
    pair.exchange().await?;
    pair.proxy.blackhole();
    timeout(SOON, pair.client.write_all(&vec![7; TOTAL])).await??;
    assert!(is_silent(&mut pair.server).await, "bytes came out of a black hole");
    let discarded = pair.proxy.counters().discarded;
    assert!(discarded > TOTAL as u64 / 2, "only {discarded} bytes were discarded");

    pair.proxy.heal().await?;
    assert_reset(&mut pair.server).await?;
    (pair.client, pair.server) = connect(&pair.proxy, &pair.listener).await?;
    pair.exchange().await?;
    Ok(())
}

#[tokio::test]
async fn blackhole_hides_the_end_of_a_peer() -> Outcome {
    let Pair { proxy, listener: _listener, client, mut server } = Pair::new().await?;
    proxy.blackhole();
    drop(client);
    assert!(is_silent(&mut server).await, "the end of the client came out of a black hole");
    proxy.heal().await?;
    assert_reset(&mut server).await?;
    Ok(())
}

#[tokio::test]
async fn blackhole_that_swallowed_nothing_heals_without_trace() -> Outcome {
    let mut pair = Pair::new().await?;
    pair.proxy.blackhole();
    tokio::task::yield_now().await;
    pair.proxy.heal().await?;
    pair.exchange().await?;
    Ok(())
}

#[tokio::test]
async fn half_close_ends_one_direction() -> Outcome {
    let mut pair = Pair::new().await?;
    pair.exchange().await?;
    pair.proxy.half_close(Direction::ToServer);
    assert_eq!(read_end(&mut pair.server).await??, 0);
    send(&mut pair.server, &mut pair.client).await?;

    let mut pair = Pair::new().await?;
    pair.exchange().await?;
    pair.proxy.half_close(Direction::ToClient);
    assert_eq!(read_end(&mut pair.client).await??, 0);
    send(&mut pair.client, &mut pair.server).await?;

    // What the sender still sends is discarded and does not break the connection.
    pair.server.write_all(&[1; 4096]).await?;
    send(&mut pair.client, &mut pair.server).await?;
    let discarded = async {
        while pair.proxy.counters().discarded < 4096 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, discarded).await?;

    // New connections are whole.
    (pair.client, pair.server) = connect(&pair.proxy, &pair.listener).await?;
    pair.exchange().await?;
    Ok(())
}

#[tokio::test]
async fn delay_holds_for_each_direction_until_healed() -> Outcome {
    const DELAY: Duration = Duration::from_millis(500);
    let mut pair = Pair::new().await?;
    pair.proxy.delay(DELAY);
    let begun = Instant::now();
    pair.exchange().await?;
    assert!(begun.elapsed() >= 2 * DELAY, "a round trip took {:?}", begun.elapsed());

    pair.proxy.heal().await?;
    let begun = Instant::now();
    pair.exchange().await?;
    assert!(begun.elapsed() < DELAY, "a round trip after healing took {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn without_a_server_connections_are_reset() -> Outcome {
    let proxy = FaultProxy::bind().await?;
    assert_reset(&mut TcpStream::connect(proxy.address()).await?).await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    proxy.set_upstream(listener.local_addr()?);
    let (mut client, mut server) = connect(&proxy, &listener).await?;
    send(&mut client, &mut server).await?;

    drop(listener);
    assert_reset(&mut TcpStream::connect(proxy.address()).await?).await?;
    Ok(())
}

#[tokio::test]
async fn close_ends_every_connection_and_frees_the_port() -> Outcome {
    let Pair { proxy, listener: _listener, mut client, mut server } = Pair::new().await?;
    let address = proxy.address();
    proxy.close().await;
    assert!(!matches!(read_end(&mut client).await?, Ok(1..)));
    assert!(!matches!(read_end(&mut server).await?, Ok(1..)));
    let refused = TcpStream::connect(address).await;
    assert_eq!(refused.map(drop).map_err(|fault| fault.kind()), Err(io::ErrorKind::ConnectionRefused));
    Ok(())
}

#[tokio::test]
async fn drop_ends_every_connection_and_frees_the_port() -> Outcome {
    let Pair { proxy, listener: _listener, mut client, mut server } = Pair::new().await?;
    let address = proxy.address();
    drop(proxy);
    assert!(!matches!(read_end(&mut client).await?, Ok(1..)));
    assert!(!matches!(read_end(&mut server).await?, Ok(1..)));
    let freed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, freed).await?;
    Ok(())
}

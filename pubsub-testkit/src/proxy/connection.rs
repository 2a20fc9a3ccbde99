use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Direction;
use super::counters::OpenConnection;
use super::faults::Faults;
use super::pump::{End, Pump};

/// Serves one client until both directions have ended, one of them broke, or the connection was cut.
pub(super) async fn serve(
    mut client: TcpStream,
    faults: watch::Receiver<Faults>,
    mut cut: watch::Receiver<()>,
    open: OpenConnection,
) {
    let seen = faults.borrow().clone();
    let Ok(mut server) = connect(&seen).await else {
        return reset(&client);
    };
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let pump = |direction| Pump::new(direction, &seen, faults.clone(), &open.0);
        let pumps = both(
            pump(Direction::ToServer).run(from_client, to_server),
            pump(Direction::ToClient).run(from_server, to_client),
        );
        tokio::select! {
            biased;
            _ = cut.changed() => End::Broken,
            end = pumps => end,
        }
    };
    if end == End::Broken {
        reset(&client);
        reset(&server);
    }
}

/// Not ended by a cut, so that both sides see one: the kernel completes the connection at once or not at all, for
/// servers in tests are on this machine.
async fn connect(faults: &Faults) -> io::Result<TcpStream> {
    const LIMIT: Duration = Duration::from_secs(2);
    let upstream = faults.upstream.ok_or(io::ErrorKind::NotConnected)?;
    let server = timeout(LIMIT, TcpStream::connect(upstream)).await??;
    server.set_nodelay(true)?;
    Ok(server)
}

/// Waits for both directions, or for the first that broke.
async fn both(one: impl Future<Output = End>, other: impl Future<Output = End>) -> End {
    tokio::pin!(one, other);
    tokio::select! {
        end = &mut one => if end == End::Finished { other.await } else { end },
        end = &mut other => if end == End::Finished { one.await } else { end },
    }
}

/// Makes the stream end with RST instead of FIN when it is dropped.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only on a socket that has ended already.
    stream.set_zero_linger().ok();
}

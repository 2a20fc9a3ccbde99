use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::connection::{self, reset};
use super::counters::{OpenConnection, Tally};
use super::faults::Faults;

const MOST_CONNECTIONS: usize = 1024;

type Done = oneshot::Sender<io::Result<()>>;

/// What the task is told to do; it answers when it is done.
pub(super) enum Order {
    Cut(Done),
    Refuse(Done),
    Accept(Done),
}

/// The proxy's one task. It owns the listener and all connections, so aborting it ends everything.
pub(super) struct Acceptor {
    address: SocketAddr,
    listener: Option<TcpListener>,
    orders: mpsc::Receiver<Order>,
    faults: watch::Receiver<Faults>,
    tally: Arc<Tally>,
    /// Tells the connections that are open at that moment to reset themselves.
    cut: watch::Sender<()>,
    connections: JoinSet<()>,
}

impl Acceptor {
    pub(super) fn new(
        address: SocketAddr,
        listener: TcpListener,
        orders: mpsc::Receiver<Order>,
        faults: watch::Receiver<Faults>,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            address,
            listener: Some(listener),
            orders,
            faults,
            tally,
            cut: watch::Sender::new(()),
            connections: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                Some(_) = self.connections.join_next() => {}
                client = next_client(self.listener.as_ref()) => self.serve(client),
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        let (done, outcome) = match order {
            Order::Cut(done) => {
                self.cut().await;
                (done, Ok(()))
            }
            Order::Refuse(done) => {
                self.listener = None;
                (done, Ok(()))
            }
            Order::Accept(done) => (done, self.listen().await),
        };
        // Whoever gave the order may have stopped waiting.
        done.send(outcome).ok();
    }

    async fn listen(&mut self) -> io::Result<()> {
        if self.listener.is_none() {
            self.listener = Some(TcpListener::bind(self.address).await?);
        }
        Ok(())
    }

    /// Connections that the kernel has accepted and we have not are open in the eyes of their clients: they go too.
    async fn cut(&mut self) {
        self.cut.send_replace(());
        if let Some(listener) = &self.listener {
            loop {
                tokio::select! {
                    biased;
                    client = next_client(Some(listener)) => reset(&client),
                    () = ready(()) => break,
                }
            }
        }
        while self.connections.join_next().await.is_some() {}
    }

    fn serve(&mut self, client: TcpStream) {
        if self.connections.len() >= MOST_CONNECTIONS || client.set_nodelay(true).is_err() {
            reset(&client);
            return;
        }
        let open = OpenConnection::new(&self.tally);
        self.connections.spawn(connection::serve(client, self.faults.clone(), self.cut.subscribe(), open));
    }
}

/// Waits for ever while the port is closed. A client that vanished before it was accepted is no reason to end.
async fn next_client(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

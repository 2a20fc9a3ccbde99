use std::env;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::launch::{Launch, Site, launcher};
use super::process::{ProcessGroup, wait_until};
use super::{BrokerError, BrokerKind, BrokerOptions, DetachedBroker, HandshakeError, Listener, ServerInfo};
use crate::ports::free_address;

/// How often a start is repeated when another process was quicker to take a port.
const STARTS: usize = 3;
const STOP_WITHIN: Duration = Duration::from_secs(20);
const SIGNAL_WITHIN: Duration = Duration::from_secs(10);

/// A broker that this process owns. Dropped, its processes are killed and its scratch folder is removed
/// (kept while panicking: it holds the log).
#[derive(Debug)]
pub struct Broker {
    kind: BrokerKind,
    launch: Box<dyn Launch>,
    options: BrokerOptions,
    site: Site,
    info: ServerInfo,
    processes: Option<ProcessGroup>,
}

impl Broker {
    /// Finds the broker's programs, starts them on free ports and waits until the server answers its handshake.
    ///
    /// # Errors
    /// [`BrokerError::Missing`] when the programs are not on this machine, the other kinds when the start failed.
    pub fn start(kind: BrokerKind, options: &BrokerOptions) -> Result<Self, BrokerError> {
        let launch = launcher(kind)?;
        let home = options.home.clone().unwrap_or_else(|| scratch_folder(kind));
        let mut broker = Self {
            kind,
            launch,
            options: options.clone(),
            site: Site { home, addresses: Vec::new() },
            info: ServerInfo { version: None, proof: String::new() },
            processes: None,
        };
        for _ in 1..STARTS {
            broker.choose_ports()?;
            match broker.run() {
                Err(fault) if fault.is_port_taken() && options.port.is_none() => {}
                outcome => return outcome.map(|()| broker),
            }
        }
        broker.choose_ports()?;
        broker.run().map(|()| broker)
    }

    /// Whether the programs of this broker are on the machine.
    ///
    /// # Errors
    /// [`BrokerError::Missing`] says what is not there and how to get it.
    pub fn is_installed(kind: BrokerKind) -> Result<(), BrokerError> {
        launcher(kind).map(drop)
    }

    /// Which broker it is.
    #[must_use]
    pub fn kind(&self) -> BrokerKind {
        self.kind
    }

    /// The URL that an adapter connects to.
    #[must_use]
    pub fn url(&self) -> String {
        let credentials = self.options.credentials.as_ref();
        let credentials = credentials.map(|(user, password)| format!("{user}:{password}@")).unwrap_or_default();
        let plain = || format!("{}://{credentials}{}", self.kind.scheme(), self.address());
        self.url_of(Listener::Tls).unwrap_or_else(plain)
    }

    /// The URL of one of the listeners of a [secured](BrokerOptions::secured) server, with the secrets that it wants.
    #[must_use]
    pub fn url_of(&self, listener: Listener) -> Option<String> {
        let security = self.options.security.as_ref()?;
        Some(self.kind.secured_url(listener, security, self.address_of(listener)?))
    }

    /// The address of one of the listeners of a secured server.
    #[must_use]
    pub fn address_of(&self, listener: Listener) -> Option<SocketAddr> {
        self.options.security.as_ref()?;
        self.site.addresses.get(self.launch.port_of(listener)?).copied()
    }

    /// The address that clients connect to. It stays the same over a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.site.client_address()
    }

    /// What the server said of itself when it was last started.
    #[must_use]
    pub fn info(&self) -> &ServerInfo {
        &self.info
    }

    /// Asks the server again whether it is ready, a secured one at a port of its own.
    ///
    /// # Errors
    /// As [`handshake`](super::handshake).
    pub fn probe(&self, within: Duration) -> Result<ServerInfo, HandshakeError> {
        self.launch.probe(&self.site, &self.options, within)
    }

    /// The file that holds all output of the processes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.site.log()
    }

    /// Whether the processes run. A paused broker runs.
    pub fn is_running(&mut self) -> bool {
        self.processes.as_mut().is_some_and(|group| matches!(group.ended(), Ok(None)))
    }

    /// Asks the server to end and waits for it. Nothing happens when it does not run.
    ///
    /// # Errors
    /// When it had to be killed because it did not end, or its port is still bound afterwards.
    pub fn stop(&mut self) -> Result<(), BrokerError> {
        let Some(mut group) = self.processes.take() else {
            return Ok(());
        };
        let by_itself = group.terminate(STOP_WITHIN).map_err(BrokerError::io(format!("stop {}", self.kind)))?;
        self.wait_until_gone()?;
        if by_itself { Ok(()) } else { Err(self.state("it did not end when asked, and was killed")) }
    }

    /// `kill -9` for the server and its companions. Nothing happens when it does not run.
    ///
    /// # Errors
    /// When its port is still bound afterwards.
    pub fn kill(&mut self) -> Result<(), BrokerError> {
        let Some(mut group) = self.processes.take() else {
            return Ok(());
        };
        group.kill();
        self.wait_until_gone()
    }

    /// Waits until the server has written down what it needs to find its queues and streams again when it is killed.
    /// RabbitMQ before 3.13.3 takes a moment for that; a test that kills one which is fresh waits here first.
    ///
    /// # Errors
    /// When it does not get there in time, or its folder cannot be read.
    pub fn settled(&self) -> Result<(), BrokerError> {
        let mut fault = None;
        let settled = wait_until(STOP_WITHIN, || match self.launch.is_settled(&self.site) {
            Ok(settled) => settled,
            Err(error) => {
                fault = Some(error);
                false
            }
        });
        settled.map_err(|late| fault.unwrap_or(late)).map_err(BrokerError::io(format!("wait for {}", self.kind)))
    }

    /// Stops all processes where they are (`SIGSTOP`): connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When the broker does not run.
    pub fn pause(&mut self) -> Result<(), BrokerError> {
        let kind = self.kind;
        self.group()?.pause(SIGNAL_WITHIN).map_err(BrokerError::io(format!("pause {kind}")))
    }

    /// Lets paused processes go on (`SIGCONT`).
    ///
    /// # Errors
    /// When the broker does not run.
    pub fn resume(&mut self) -> Result<(), BrokerError> {
        let kind = self.kind;
        self.group()?.signal(Signal::CONT).map_err(BrokerError::io(format!("resume {kind}")))
    }

    /// Starts it again with the same ports and the same data, after stopping it if it runs.
    ///
    /// # Errors
    /// As [`stop`](Self::stop) and [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), BrokerError> {
        self.stop()?;
        self.run()
    }

    /// Deletes all data of the stopped broker.
    ///
    /// # Errors
    /// When it runs, or the data cannot be deleted.
    pub fn wipe(&mut self) -> Result<(), BrokerError> {
        if self.is_running() {
            return Err(self.state("it runs; stop or kill it before it is wiped"));
        }
        let data = self.site.data();
        fs::remove_dir_all(&data).map_err(BrokerError::path("delete", data))
    }

    /// Runs the broker's own command-line tool and returns what it prints: `rabbitmqctl`, or for Kafka the class that
    /// comes first among the arguments.
    ///
    /// # Errors
    /// When the broker has no such tool, or it fails.
    pub fn tool(&self, arguments: &[&str]) -> Result<String, BrokerError> {
        let action = || format!("run the tool of {} with {}", self.kind, arguments.join(" "));
        let mut command = self.launch.tool(&self.site, arguments).ok_or_else(|| self.state("it has no tool"))?;
        let output = command.output().map_err(BrokerError::io(action()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let fault = format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr));
        Err(BrokerError::io(action())(std::io::Error::other(fault)))
    }

    /// Lets the broker outlive this process. Its folder is kept.
    ///
    /// # Errors
    /// When it does not run.
    pub fn detach(mut self) -> Result<DetachedBroker, BrokerError> {
        self.group()?;
        let (url, home) = (self.url(), self.site.home.clone());
        self.options.home = Some(home.clone());
        let (server, group) = self.processes.take().map(ProcessGroup::release).unwrap_or_default();
        Ok(DetachedBroker::new(self.kind, url, home, server, group))
    }

    fn choose_ports(&mut self) -> Result<(), BrokerError> {
        let free = BrokerError::io("find a free port");
        let mut addresses: Vec<_> =
            (0..self.launch.ports(&self.options)).map(|_| free_address()).collect::<Result<_, _>>().map_err(free)?;
        if let Some(port) = self.options.port {
            addresses[0].set_port(port);
        }
        self.site.addresses = addresses;
        Ok(())
    }

    fn run(&mut self) -> Result<(), BrokerError> {
        self.site.create()?;
        let logged = self.site.log_length();
        self.launch.prepare(&self.site, &self.options)?;
        let commands = self.launch.commands(&self.site, &self.options);
        let group =
            ProcessGroup::spawn(commands, &self.site.log()).map_err(BrokerError::io(format!("start {}", self.kind)))?;
        let mut info = self.wait_until_ready(group, logged)?;
        info.version = info.version.or_else(|| self.launch.version());
        self.info = info;
        Ok(())
    }

    /// Keeps the group only if it got ready; otherwise it ends here.
    fn wait_until_ready(&mut self, mut group: ProcessGroup, logged: usize) -> Result<ServerInfo, BrokerError> {
        const ONE_HANDSHAKE: Duration = Duration::from_secs(2);
        const BETWEEN: Duration = Duration::from_millis(20);
        let begun = Instant::now();
        loop {
            if let Some(status) = group.ended().map_err(BrokerError::io(format!("watch {}", self.kind)))? {
                return Err(BrokerError::Exited { kind: self.kind, status, log: self.site.log_since(logged) });
            }
            let last = match self.launch.probe(&self.site, &self.options, ONE_HANDSHAKE) {
                Ok(info) => {
                    self.processes = Some(group);
                    return Ok(info);
                }
                Err(fault) => fault,
            };
            let waited = begun.elapsed();
            if waited > self.options.ready_within {
                return Err(BrokerError::NotReady { kind: self.kind, waited, last, log: self.site.log_since(logged) });
            }
            thread::sleep(BETWEEN);
        }
    }

    /// A killed process may hold its port for a moment; only then is it really gone.
    fn wait_until_gone(&self) -> Result<(), BrokerError> {
        let free = || self.site.addresses.iter().all(|address| TcpListener::bind(address).is_ok());
        wait_until(SIGNAL_WITHIN, free).map_err(BrokerError::io(format!("free the ports of {}", self.kind)))
    }

    fn group(&mut self) -> Result<&ProcessGroup, BrokerError> {
        let ended = self.state("it does not run");
        if self.is_running() { self.processes.as_ref().ok_or(ended) } else { Err(ended) }
    }

    fn state(&self, message: &'static str) -> BrokerError {
        BrokerError::State { kind: self.kind, message }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.processes = None;
        if self.options.home.is_none() && !thread::panicking() {
            remove(&self.site.home);
        }
    }
}

/// A process that was just killed may still be writing when its folder is removed.
fn remove(folder: &Path) {
    wait_until(Duration::from_secs(2), || fs::remove_dir_all(folder).is_ok() || !folder.exists()).ok();
}

fn scratch_folder(kind: BrokerKind) -> PathBuf {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("pubsub-{kind}-{}-{number}", process::id()))
}

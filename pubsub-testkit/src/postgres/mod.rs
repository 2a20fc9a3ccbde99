//! A PostgreSQL server for tests: a child process with a data folder of its own, on a free loopback port. Everything
//! here blocks; nothing needs an async runtime.
//!
//! ```no_run
//! use pubsub_testkit::postgres::{Postgres, PostgresOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Postgres::start(&PostgresOptions::new())?;
//! println!("{}", server.url("postgres"));
//! # Ok(())
//! # }
//! ```

mod error;
mod handshake;
mod programs;

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use error::PostgresError;

use crate::broker::process::ProcessGroup;
use crate::ports::free_address;
use programs::Programs;

const STARTS: usize = 3;
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// The environment variable that names a running server, as `postgres://user@host:port`.
pub const URL_VARIABLE: &str = "PUBSUB_TEST_POSTGRES_URL";

/// The server named by the environment, for tests that only need one that runs.
#[must_use]
pub fn url_from_environment() -> Option<String> {
    env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty())
}

/// Whether `PUBSUB_TEST_REQUIRE` makes the absence of PostgreSQL a failure: it is `all`, or a list with `postgres`.
#[must_use]
pub fn is_required() -> bool {
    let required = env::var("PUBSUB_TEST_REQUIRE").unwrap_or_default();
    required.split(',').map(str::trim).any(|name| name == "all" || name == "postgres")
}

/// How to start the server.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    durable: bool,
    extra: Vec<String>,
}

impl PostgresOptions {
    /// A server that survives the death of any process, not that of the machine: tests need no more, and it is quicker.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every commit reaches the disk: for measurements.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// More settings, as `name=value`.
    #[must_use]
    pub fn extra<S: Into<String>>(mut self, settings: impl IntoIterator<Item = S>) -> Self {
        self.extra.extend(settings.into_iter().map(Into::into));
        self
    }
}

/// A server that this process owns. Dropped, it is killed and its folder is removed (kept while panicking: it holds the
/// log).
#[derive(Debug)]
pub struct Postgres {
    programs: Programs,
    options: PostgresOptions,
    home: PathBuf,
    address: SocketAddr,
    processes: Option<ProcessGroup>,
}

impl Postgres {
    /// Finds the programs, makes a cluster, starts it and waits until it takes sessions. Everybody may log in as
    /// `postgres`, without a password. As root, the programs run as the user `postgres`: they refuse to run as root.
    ///
    /// # Errors
    /// [`PostgresError::Missing`] when the programs are not on this machine, the other kinds when the start failed.
    pub fn start(options: &PostgresOptions) -> Result<Self, PostgresError> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let programs = Programs::find()?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let home = env::temp_dir().join(format!("pubsub-postgres-{}-{number}", process::id()));
        fs::create_dir_all(&home).map_err(PostgresError::io("create its folder"))?;
        programs.own(&home)?;
        let address = free_address().map_err(PostgresError::io("find a free port"))?;
        let mut server = Self { programs, options: options.clone(), home, address, processes: None };
        server.programs.make_cluster(&server.home)?;
        for attempt in 1..=STARTS {
            match server.run() {
                Err(fault) if fault.is_port_taken() && attempt < STARTS => {
                    server.address = free_address().map_err(PostgresError::io("find a free port"))?;
                }
                outcome => return outcome.map(|()| server),
            }
        }
        Err(PostgresError::io("find a free port")(std::io::ErrorKind::AddrInUse.into()))
    }

    /// Whether the programs are on the machine.
    ///
    /// # Errors
    /// [`PostgresError::Missing`] says what is not there and how to get it.
    pub fn is_installed() -> Result<(), PostgresError> {
        Programs::find().map(drop)
    }

    /// The URL of one of its databases. There is one called `postgres` from the start.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address)
    }

    /// The address that clients connect to. It stays the same over a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `kill -9`. Nothing happens when it does not run.
    pub fn kill(&mut self) {
        if let Some(mut group) = self.processes.take() {
            group.kill();
        }
    }

    /// Starts it again with the same port and the same data, after stopping it if it runs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), PostgresError> {
        if let Some(mut group) = self.processes.take() {
            group.terminate(STOP_WITHIN).map_err(PostgresError::io("stop it"))?;
        }
        self.run()
    }

    fn run(&mut self) -> Result<(), PostgresError> {
        let log = self.home.join("server.log");
        let logged = fs::metadata(&log).map_or(0, |log| log.len());
        let command = self.programs.server(&self.home, self.address, &self.settings());
        let mut group = ProcessGroup::spawn(vec![command], &log).map_err(PostgresError::io("start it"))?;
        let said = || {
            let text = fs::read(&log).unwrap_or_default();
            let new = text.get(usize::try_from(logged).unwrap_or(usize::MAX)..).unwrap_or_default();
            String::from_utf8_lossy(new).into_owned()
        };
        let begun = Instant::now();
        loop {
            if let Some(status) = group.ended().map_err(PostgresError::io("watch it"))? {
                return Err(PostgresError::Exited { status, log: said() });
            }
            match handshake::takes_sessions(self.address, Duration::from_secs(2)) {
                Ok(()) => break,
                Err(last) if begun.elapsed() > READY_WITHIN => {
                    return Err(PostgresError::NotReady { last, log: said() });
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
        self.processes = Some(group);
        Ok(())
    }

    fn settings(&self) -> Vec<String> {
        let mut settings = vec!["max_connections=200".to_owned()];
        if !self.options.durable {
            settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
        }
        settings.extend(self.options.extra.iter().cloned());
        settings
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
        if !thread::panicking() {
            // Its children end when they notice that it is gone, and may write until then.
            let deadline = Instant::now() + Duration::from_secs(2);
            while fs::remove_dir_all(&self.home).is_err() && self.home.exists() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

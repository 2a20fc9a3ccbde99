//! A server's process, seen from outside.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use tokio::net::TcpListener;

use super::{Side, serve};

/// Ticks of the processor's clock per second, as Linux tells them to programs.
const TICKS: f64 = 100.0;

/// A server in a process of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Process {
    /// Starts this very program as a server.
    ///
    /// # Errors
    /// What the system says, or that it did not say where it listens.
    pub fn start(side: Side) -> Result<Self, String> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["sse-of", side.name()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).map_err(|error| error.to_string())?;
        if address.is_empty() {
            return Err("the server did not start".to_owned());
        }
        Ok(Self { child, address: address.trim().to_owned() })
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// Its memory, in KiB.
    pub fn memory(&self) -> f64 {
        let status = self.read("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// What it has had of the processor, in seconds.
    pub fn cpu(&self) -> f64 {
        let stat = self.read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        [11, 12].into_iter().map(|at| fields[at].parse::<f64>().unwrap()).sum::<f64>() / TICKS
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The work of that process: says where it listens, and serves until the other side lets go of it.
pub fn serve(name: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        {
            use std::io::Write;
            let mut out = io::stdout();
            writeln!(out, "{}", listener.local_addr().unwrap()).unwrap();
            out.flush().unwrap();
        }
        std::thread::spawn(|| {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            std::process::exit(0);
        });
        match name {
            "limit" => serve::limit(listener).await,
            _ => serve::ours(listener, "memory:").await,
        }
    });
}

/// How many files this process may have open, after asking for as many as may be.
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised stays as it is, and is told.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

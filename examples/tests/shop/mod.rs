//! The example's program as a process of its own, which can be killed and opened again over the same books.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use libtest_mimic::Failed;
use serde_json::Value;

/// How long it may take to answer, or to end.
const SOON: Duration = Duration::from_secs(20);

/// The program with every adapter, built once.
static PROGRAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let mut cargo = Command::new(env!("CARGO"));
    // Set for this test, and to whoever compiles for it a reason to compile everything anew.
    cargo.env_remove("CARGO_MANIFEST_DIR");
    // Of the whole workspace, as the tests are: so both share what they depend on.
    cargo.args(["build", "--quiet", "--workspace", "--all-features", "--example", "orders_http"]);
    let built = cargo.arg("--message-format=json").stderr(Stdio::inherit()).output().map_err(|e| e.to_string())?;
    if !built.status.success() {
        return Err("the example does not build".to_owned());
    }
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    });
    executables.next_back().ok_or_else(|| "cargo names no executable".to_owned())
});

pub(crate) struct Shop {
    process: Child,
    broker: String,
    folder: PathBuf,
    url: String,
    client: reqwest::Client,
}

impl Shop {
    /// Opens one over the broker at this URL, with books of its own.
    pub(crate) async fn open(broker: &str) -> Result<Self, Failed> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pubsub-orders-http-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)?;
        let (process, url) = start(broker.to_owned(), folder.clone()).await?;
        let client = reqwest::Client::builder().timeout(SOON).build()?;
        Ok(Self { process, broker: broker.to_owned(), folder, url, client })
    }

    pub(crate) async fn kill_and_reopen(&mut self) -> Result<(), Failed> {
        self.process.kill()?;
        self.process.wait()?;
        (self.process, self.url) = start(self.broker.clone(), self.folder.clone()).await?;
        Ok(())
    }

    /// Posts JSON as `ada`; the error tells what was answered instead of 200.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: &Value,
        headers: &[(&'static str, &str)],
    ) -> Result<Value, String> {
        let mut request = self.client.post(format!("{}{path}", self.url)).bearer_auth("ada-token").json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    }

    /// Reads JSON as `ada`.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, String> {
        answer(self.client.get(format!("{}{path}", self.url)).bearer_auth("ada-token")).await
    }

    /// The status and the parts of readiness.
    pub(crate) async fn ready(&self) -> Result<(u16, Value), String> {
        let asked = self.client.get(format!("{}/api/readyz", self.url)).send().await.map_err(|e| e.to_string())?;
        let status = asked.status().as_u16();
        Ok((status, asked.json().await.map_err(|e| e.to_string())?))
    }

    /// Tells it to end, as its operator would; it has to do so by itself.
    pub(crate) async fn close(mut self) -> Result<(), Failed> {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status()?;
        if !told.success() {
            return Err("the program had ended before".into());
        }
        let deadline = std::time::Instant::now() + SOON;
        while std::time::Instant::now() < deadline {
            match self.process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("the program ended with {status}").into()),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        Err(format!("the program does not end within {SOON:?}").into())
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("{status}: {text}"));
    }
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

/// Starts the program, and waits until it says where it is.
async fn start(broker: String, folder: PathBuf) -> Result<(Child, String), Failed> {
    let started = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(PROGRAM.as_ref()?);
        command.arg("--serve").env("PUBSUB_URL", broker).env("ORDERS_DB", folder.join("orders.db"));
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|e| e.to_string())?;
        }
        match line.trim_end().strip_prefix("listening on ") {
            Some(url) => Ok((process, url.to_owned())),
            None => {
                let _ = process.kill();
                let _ = process.wait();
                Err(format!("the program said {line:?}"))
            }
        }
    });
    Ok(started.await??)
}

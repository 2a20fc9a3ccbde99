//! The foreign clients as processes.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use pubsub_testkit::broker::{BrokerError, BrokerKind, find};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A virtual machine for Java has to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between the headers of a line for Kafka's console tools, in them, and before the body.
const BETWEEN: &str = "|";
const WITHIN: &str = "=";
const BEFORE_BODY: &str = "~";

/// A message as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Text {
    pub(crate) fn new(body: String) -> Self {
        Self { headers: Vec::new(), body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The folder of nats-py and pika.
fn python_clients() -> Option<PathBuf> {
    find::tools_folder().map(|folder| folder.join("python-clients"))
}

fn kafka_jars() -> Option<PathBuf> {
    let unpacked = env::var_os("KAFKA_HOME").map(|home| Path::new(&home).join("libs"));
    find::tools_folder().map(|folder| folder.join("kafka")).into_iter().chain(unpacked).find(|folder| folder.is_dir())
}

/// Whether the client of this broker is on the machine.
///
/// # Errors
/// `Missing` says what is not there.
pub(crate) fn find(kind: BrokerKind) -> Result<(), BrokerError> {
    let (found, looked_for) = match kind {
        BrokerKind::Redis => (runs("redis-cli", &["--version"]), "redis-cli"),
        BrokerKind::Kafka => (runs("java", &["-version"]) && kafka_jars().is_some(), "java and Kafka's console tools"),
        BrokerKind::Nats | BrokerKind::RabbitMq => (
            python_clients().is_some_and(|folder| folder.is_dir()),
            "nats-py and pika, which `cargo xtask test` fetches",
        ),
    };
    if found { Ok(()) } else { Err(BrokerError::Missing { kind, looked_for: looked_for.to_owned() }) }
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    std::process::Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A foreign client at the place of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    kind: BrokerKind,
    url: String,
    /// Stream, subject, topic, or exchange and routing key.
    place: Vec<String>,
}

impl Foreign {
    pub(crate) fn new(kind: BrokerKind, url: &str, prefix: &str, channel: &str) -> Self {
        let place = match kind {
            BrokerKind::Redis => vec![format!("pubsub:{{{prefix}/{channel}}}")],
            BrokerKind::Nats => vec![format!("{prefix}.d.-.{channel}")],
            BrokerKind::Kafka => vec![format!("_p{}.{prefix}.{channel}", prefix.len())],
            BrokerKind::RabbitMq => vec![format!("{prefix}/events"), format!("-.{channel}")],
        };
        Self { kind, url: url.to_owned(), place }
    }

    /// Publishes a message.
    pub(crate) async fn put(&self, text: &Text) -> Fallible<()> {
        let (mut command, input) = match self.kind {
            BrokerKind::Redis => {
                let mut command = self.redis();
                command.arg("XADD").args(&self.place).arg("*");
                // A document of its own is the only field, under whatever name.
                if text.headers.is_empty() {
                    command.args(["json", &text.body]);
                } else {
                    command.args(text.headers.iter().flat_map(|(name, value)| [name, value]));
                    command.args(["data", &text.body]);
                }
                (command, String::new())
            }
            BrokerKind::Kafka => {
                let mut command = self.kafka("ConsoleProducer");
                let mut line = text.body.clone();
                if !text.headers.is_empty() {
                    for (name, value) in [("separator", BETWEEN), ("key.separator", WITHIN), ("delimiter", BEFORE_BODY)]
                    {
                        command.arg("--property").arg(format!("headers.{name}={value}"));
                    }
                    command.args(["--property", "parse.headers=true"]);
                    let headers: Vec<_> =
                        text.headers.iter().map(|(name, value)| format!("{name}{WITHIN}{value}")).collect();
                    line = format!("{}{BEFORE_BODY}{line}", headers.join(BETWEEN));
                }
                (command, line + "\n")
            }
            BrokerKind::Nats | BrokerKind::RabbitMq => {
                let headers: serde_json::Map<_, _> =
                    text.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
                (self.python("put"), json!({ "headers": headers, "body": text.body }).to_string())
            }
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().ok_or("no pipe")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = timeout(PATIENCE, child.wait_with_output()).await??;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        Err(format!("{:?} failed: {said}", command.as_std().get_program()).into())
    }

    /// Begins to listen. The client is in place when this returns, or reads from the start later.
    pub(crate) async fn listen(&self) -> Fallible<Listening> {
        let mut command = match self.kind {
            // These read what lies there.
            BrokerKind::Redis | BrokerKind::Kafka => return Ok(Listening { foreign: self.clone(), child: None }),
            BrokerKind::Nats | BrokerKind::RabbitMq => self.python("take"),
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        let line = timeout(PATIENCE, lines.next_line()).await??;
        if line.as_deref() != Some("ready") {
            return Err(format!("the client is not ready: {line:?} {}", complaint(&mut child).await).into());
        }
        Ok(Listening { foreign: self.clone(), child: Some((child, lines)) })
    }

    fn redis(&self) -> Command {
        let mut command = process("redis-cli");
        command.args(["-u", &self.url]);
        command
    }

    fn kafka(&self, tool: &str) -> Command {
        let mut command = process("java");
        let jars = kafka_jars().unwrap_or_default().join("*");
        command.args(["-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"]).arg(jars);
        let servers = self.url.trim_start_matches("kafka://").split('/').next().unwrap_or_default();
        command
            .arg(format!("org.apache.kafka.tools.{}{tool}", if tool == "ConsoleConsumer" { "consumer." } else { "" }));
        command.args(["--bootstrap-server", servers, "--topic"]).args(&self.place);
        command
    }

    fn python(&self, verb: &str) -> Command {
        let mut command = process("python3");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/client.py");
        command.env("PYTHONPATH", python_clients().unwrap_or_default()).arg(script);
        command.args([verb, self.kind.name(), &self.url]).args(&self.place);
        command
    }
}

/// A child that ends with us.
fn process(program: &str) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true);
    command
}

async fn complaint(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        timeout(Duration::from_secs(2), stderr.read_to_string(&mut text)).await.ok();
    }
    text
}

/// A foreign client that reads.
pub(crate) struct Listening {
    foreign: Foreign,
    child: Option<(Child, Lines<BufReader<ChildStdout>>)>,
}

impl Listening {
    /// The first message.
    pub(crate) async fn text(self) -> Fallible<Text> {
        if let Some((mut child, mut lines)) = self.child {
            let Some(line) = timeout(PATIENCE, lines.next_line()).await?? else {
                return Err(format!("no message: {}", complaint(&mut child).await).into());
            };
            let message: Value = serde_json::from_str(&line)?;
            let headers = message["headers"].as_object().into_iter().flatten();
            let headers = headers.map(|(name, value)| (name.clone(), text_of(value)));
            return Ok(Text { headers: headers.collect(), body: text_of(&message["body"]) });
        }
        if self.foreign.kind == BrokerKind::Redis { self.entry().await } else { self.line().await }
    }

    /// The first entry of a stream: `[[id, [field, value, …]], …]`.
    async fn entry(&self) -> Fallible<Text> {
        let mut command = self.foreign.redis();
        command.args(["--json", "XRANGE"]).args(&self.foreign.place).args(["-", "+", "COUNT", "1"]);
        let entries: Value = serde_json::from_slice(&output(command).await?)?;
        let fields = entries[0][1].as_array().ok_or_else(|| format!("no entry: {entries}"))?;
        let mut text = Text::default();
        for pair in fields.chunks(2) {
            match (text_of(&pair[0]), text_of(pair.last().unwrap_or(&Value::Null))) {
                (name, body) if name == "data" || name == "json" => text.body = body,
                pair => text.headers.push(pair),
            }
        }
        Ok(text)
    }

    /// The first record of a topic: `name=value|…~body`.
    async fn line(&self) -> Fallible<Text> {
        let mut command = self.foreign.kafka("ConsoleConsumer");
        command.args(["--from-beginning", "--max-messages", "1", "--timeout-ms", "20000"]);
        for property in ["print.headers=true", "print.value=true"] {
            command.args(["--property", property]);
        }
        command.arg("--property").arg(format!("headers.separator={BETWEEN}"));
        // Between headers and value it writes what it writes between key and value.
        command.arg("--property").arg(format!("key.separator={BEFORE_BODY}"));
        let line = String::from_utf8(output(command).await?)?;
        let (headers, body) = line.trim_end().split_once(BEFORE_BODY).ok_or_else(|| format!("another line: {line}"))?;
        let headers = headers.split(BETWEEN).filter_map(|header| header.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Text { headers, body: body.to_owned() })
    }
}

async fn output(mut command: Command) -> Fallible<Vec<u8>> {
    let output = timeout(PATIENCE, command.stdin(Stdio::null()).output()).await??;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("the client failed: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

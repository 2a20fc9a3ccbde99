//! Kafka as one process that is broker and controller (KRaft), started by `java` on a folder of jars.

use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::handshake::{Endpoint, handshake_at};
use super::launch::{Launch, Site};
use super::{BrokerError, BrokerKind, BrokerOptions, HandshakeError, Listener, Security, ServerInfo, find};

/// Any valid id does: nothing but this one node is ever in the cluster.
const CLUSTER_ID: &str = "pubsubtestkitcluster0w";

const CONTROLLER: usize = 1;
/// The ports of a secured server beside that with TLS and SASL: for this module alone, for SASL without TLS, for TLS
/// without SASL.
const INTERNAL: usize = 2;
const SASL: usize = 3;
const TLS_ALONE: usize = 4;

#[derive(Debug)]
struct Kafka {
    java: PathBuf,
    jars: PathBuf,
    version: String,
}

pub(super) fn find() -> Result<Box<dyn Launch>, BrokerError> {
    Ok(Box::new(found()?))
}

/// A command that runs one of the programs in Kafka's jars, such as `org.apache.kafka.tools.ConsoleProducer`.
///
/// # Errors
/// [`BrokerError::Missing`] when Java or the jars are not on this machine.
pub fn kafka_program(class: &str) -> Result<Command, BrokerError> {
    let mut command = found()?.java(&["-Xshare:auto", "-XX:TieredStopAtLevel=1"]);
    command.arg(class);
    Ok(command)
}

fn found() -> Result<Kafka, BrokerError> {
    let missing = |looked_for: &str| BrokerError::Missing { kind: BrokerKind::Kafka, looked_for: looked_for.into() };
    let in_java_home = env::var("JAVA_HOME").map(|home| format!("{home}/bin")).unwrap_or_default();
    let java = find::program("java", &[&in_java_home]).ok_or_else(|| missing("java"))?;
    let fetched = find::tools_folder().map(|folder| folder.join("kafka"));
    let unpacked = env::var_os("KAFKA_HOME").map(|home| Path::new(&home).join("libs"));
    let (jars, version) = [fetched, unpacked]
        .into_iter()
        .flatten()
        .find_map(|folder| version(&folder).map(|version| (folder, version)))
        .ok_or_else(|| missing("the jars of Kafka (kafka_2.13-*.jar)"))?;
    Ok(Kafka { java, jars, version })
}

/// The version in the name of the broker's jar: `kafka_2.13-4.1.1.jar`.
fn version(folder: &Path) -> Option<String> {
    fs::read_dir(folder).ok()?.flatten().find_map(|file| {
        let name = file.file_name().into_string().ok()?;
        Some(name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?.to_owned())
    })
}

impl Launch for Kafka {
    fn ports(&self, options: &BrokerOptions) -> usize {
        if options.security.is_some() { TLS_ALONE + 1 } else { CONTROLLER + 1 }
    }

    fn port_of(&self, listener: Listener) -> Option<usize> {
        Some(match listener {
            Listener::Tls => 0,
            Listener::Plain => SASL,
            Listener::TlsAlone => TLS_ALONE,
        })
    }

    fn probe(&self, site: &Site, options: &BrokerOptions, within: Duration) -> Result<ServerInfo, HandshakeError> {
        let address = site.addresses.get(INTERNAL).copied().unwrap_or(site.client_address());
        handshake_at(BrokerKind::Kafka, &Endpoint::of(address, options), within)
    }

    fn prepare(&self, site: &Site, options: &BrokerOptions) -> Result<(), BrokerError> {
        let settings = site.write("server.properties", &settings(site, options))?;
        if site.data().join("meta.properties").exists() {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(site.log())
            .map_err(BrokerError::path("open", site.log()))?;
        let errors = log.try_clone().map_err(BrokerError::path("open", site.log()))?;
        let status = self
            .java(&["-Xshare:auto", "-XX:TieredStopAtLevel=1"])
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(settings)
            .args(options.security.iter().flat_map(scram_user))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .status()
            .map_err(BrokerError::path("run", &self.java))?;
        if status.success() {
            Ok(())
        } else {
            Err(BrokerError::Exited { kind: BrokerKind::Kafka, status, log: site.log_since(0) })
        }
    }

    fn commands(&self, site: &Site, _: &BrokerOptions) -> Vec<Command> {
        let mut command = self.java(&["-Xms256m", "-Xmx1g"]);
        command.arg("kafka.Kafka").arg(site.home.join("server.properties"));
        vec![command]
    }

    fn tool(&self, site: &Site, arguments: &[&str]) -> Option<Command> {
        let mut command = self.java(&["-Xshare:auto", "-XX:TieredStopAtLevel=1"]);
        command.args(arguments).args(["--bootstrap-server", &site.client_address().to_string()]);
        Some(command)
    }

    fn version(&self) -> Option<String> {
        Some(self.version.clone())
    }
}

impl Kafka {
    fn java(&self, options: &[&str]) -> Command {
        let mut command = Command::new(&self.java);
        command.args(options).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn").arg("-cp").arg(self.jars.join("*"));
        command
    }
}

fn settings(site: &Site, options: &BrokerOptions) -> String {
    let (client, controller) = (site.client_address(), site.addresses[CONTROLLER]);
    let advertised = options.advertised.unwrap_or(client);
    let listeners = match &options.security {
        None => format!(
            "\
listeners=PLAINTEXT://{client},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{advertised}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
"
        ),
        Some(security) => secured(site, security, advertised),
    };
    let mut settings = format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
{listeners}controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
log.retention.check.interval.ms=1000
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
",
        data = site.data().display()
    );
    for line in &options.extra {
        settings += line;
        settings.push('\n');
    }
    settings
}

/// The user is part of the cluster's metadata, which begins with the formatted storage.
fn scram_user(security: &Security) -> [String; 2] {
    let Security { user, password, .. } = security;
    ["--add-scram".to_owned(), format!("SCRAM-SHA-512=[name={user},password={password}]")]
}

fn secured(site: &Site, security: &Security, advertised: SocketAddr) -> String {
    const JAAS: &str = "org.apache.kafka.common.security";
    let Security { certificates, user, password } = security;
    let [client, controller, internal, sasl, tls] =
        [0, CONTROLLER, INTERNAL, SASL, TLS_ALONE].map(|at| site.addresses[at]);
    let mut settings = format!(
        "\
listeners=SASL_SSL://{client},CONTROLLER://{controller},INTERNAL://{internal},SASL_PLAINTEXT://{sasl},SSL://{tls}
advertised.listeners=SASL_SSL://{advertised},INTERNAL://{internal},SASL_PLAINTEXT://{sasl},SSL://{tls}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL
inter.broker.listener.name=INTERNAL
ssl.keystore.type=PEM
ssl.keystore.location={keys}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
",
        keys = certificates.server_with_key().display()
    );
    for listener in ["sasl_ssl", "sasl_plaintext"] {
        settings += &format!(
            "listener.name.{listener}.scram-sha-512.sasl.jaas.config={JAAS}.scram.ScramLoginModule required;\n\
             listener.name.{listener}.plain.sasl.jaas.config={JAAS}.plain.PlainLoginModule required user_{user}=\"{password}\";\n"
        );
    }
    settings
}

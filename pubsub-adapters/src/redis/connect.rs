//! Making connections of each kind.

use std::time::Duration;

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection, PubSub},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use futures_util::future::join_all;
use pubsub_core::{Error, ErrorKind, Result};
use tokio::{sync::Mutex, time::timeout};

use super::{
    error::from_redis,
    options::{Deployment, RedisOptions},
    scripts,
};
use crate::common::tls::Certificates;

/// How long making one connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// A connection that takes commands.
#[derive(Clone)]
pub(super) enum Conn {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Conn {
    /// One command; what the server refuses is an error.
    pub(super) async fn command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Self::One(connection) => connection.req_packed_command(cmd).await,
            Self::Cluster(connection) => connection.req_packed_command(cmd).await,
        };
        checked(answer?)
    }

    /// Many commands, in order; each has its own answer. Fails as a whole where the connection does.
    pub(super) async fn commands(&mut self, cmds: Vec<Cmd>) -> RedisResult<Vec<RedisResult<Value>>> {
        match self {
            Self::One(connection) => {
                let mut pipeline = Pipeline::with_capacity(cmds.len());
                let count = cmds.len();
                for cmd in cmds {
                    pipeline.add_command(cmd);
                }
                let answers = connection.req_packed_commands(&pipeline, 0, count).await?;
                Ok(answers.into_iter().map(checked).collect())
            }
            // Commands for different nodes have no pipeline in common.
            Self::Cluster(connection) => {
                let sends = cmds.into_iter().map(|cmd| {
                    let mut connection = connection.clone();
                    async move { checked(connection.req_packed_command(&cmd).await?) }
                });
                Ok(join_all(sends).await)
            }
        }
    }

    /// Makes the scripts known to the server.
    pub(super) async fn load_scripts(&mut self) -> RedisResult<()> {
        for script in scripts::ALL {
            self.command(&script.load()).await?;
        }
        Ok(())
    }
}

fn checked(value: Value) -> RedisResult<Value> {
    match value {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

/// Knows the way to the server.
pub(super) enum Connector {
    One(Client),
    Sentinel(Mutex<SentinelClient>),
    Cluster(ClusterClient, Vec<Client>),
}

impl Connector {
    /// Reads certificates, and connects to nothing yet.
    ///
    /// # Errors
    /// `Unsupported` for encryption without its feature, `Invalid` for certificates that cannot be read.
    pub(super) fn new(options: &RedisOptions) -> Result<Self> {
        if options.tls && !cfg!(feature = "tls") {
            let text = "encryption is not built in: turn on the feature `tls` of pubsub-kit";
            return Err(Error::new(ErrorKind::Unsupported, "connect", text));
        }
        let remedy = match options.deployment {
            Deployment::Single => "write `rediss://`",
            _ => "write `tls=true`",
        };
        let files = &Certificates::read(&options.broker, options.tls, remedy)?;
        let failed = |error| from_redis("connect", error);
        let hosts = || options.hosts.iter().map(|(host, port)| address(options, host, *port));
        match &options.deployment {
            Deployment::Single => {
                let address = hosts().next().ok_or_else(|| Error::new(ErrorKind::Invalid, "connect", "no host"))?;
                Ok(Self::One(client(options, files, info(options, address).map_err(failed)?)?))
            }
            Deployment::Sentinel(master) => Ok(Self::Sentinel(Mutex::new(sentinel(options, files, master)?))),
            Deployment::Cluster => {
                let infos = hosts().map(|address| info(options, address)).collect::<RedisResult<Vec<_>>>();
                let infos = infos.map_err(failed)?;
                let clients = infos.iter().map(|info| client(options, files, info.clone())).collect::<Result<_>>()?;
                Ok(Self::Cluster(cluster(options, files, infos)?, clients))
            }
        }
    }

    /// A connection for commands, whose answers have no deadline of the client's: those who wait have one.
    pub(super) async fn commands(&self) -> RedisResult<Conn> {
        self.commands_within(CONNECT).await
    }

    /// As [`Connector::commands`], in less time.
    pub(super) async fn commands_within(&self, time: Duration) -> RedisResult<Conn> {
        let time = time.min(CONNECT);
        within(time, async {
            let config = AsyncConnectionConfig::new().set_connection_timeout(Some(time)).set_response_timeout(None);
            Ok(match self {
                Self::One(client) => Conn::One(client.get_multiplexed_async_connection_with_config(&config).await?),
                Self::Sentinel(client) => {
                    let client = client.lock().await.async_get_client().await?;
                    Conn::One(client.get_multiplexed_async_connection_with_config(&config).await?)
                }
                Self::Cluster(client, _) => Conn::Cluster(client.get_async_connection().await?),
            })
        })
        .await
    }

    /// A connection for messages of pub/sub.
    pub(super) async fn live(&self) -> RedisResult<PubSub> {
        within(CONNECT, async {
            match self {
                Self::One(client) => client.get_async_pubsub().await,
                Self::Sentinel(client) => client.lock().await.async_get_client().await?.get_async_pubsub().await,
                // Every node passes on what is published at any other.
                Self::Cluster(_, clients) => {
                    let mut last = RedisError::from((::redis::ErrorKind::InvalidClientConfig, "no node"));
                    for client in clients {
                        match client.get_async_pubsub().await {
                            Ok(connection) => return Ok(connection),
                            Err(error) => last = error,
                        }
                    }
                    Err(last)
                }
            }
        })
        .await
    }

    /// Whether blocking reads may be ended by the client's number.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(..))
    }
}

/// An answer that comes in time.
pub(super) async fn within<T>(time: Duration, future: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    timeout(time, future).await.unwrap_or_else(|_| Err(late()))
}

fn address(options: &RedisOptions, host: &str, port: u16) -> ConnectionAddr {
    let host = host.to_owned();
    if options.tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn info(options: &RedisOptions, address: ConnectionAddr) -> RedisResult<ConnectionInfo> {
    let mut settings = RedisConnectionInfo::default().set_db(i64::from(options.db));
    if let Some(user) = &options.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = options.password() {
        settings = settings.set_password(password);
    }
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(address.into_connection_info()?.set_redis_settings(settings).set_tcp_settings(tcp))
}

fn sentinel(options: &RedisOptions, files: &Certificates, master: &str) -> Result<SentinelClient> {
    let failed = |error| from_redis("connect", error);
    let addresses: Vec<_> = options.hosts.iter().map(|(host, port)| address(options, host, *port)).collect();
    let builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master).map_err(failed)?;
    let tcp = || TcpSettings::default().set_nodelay(true);
    let mut builder = builder
        .set_client_to_redis_db(i64::from(options.db))
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if let Some(user) = &options.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = options.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    #[cfg(feature = "tls")]
    if options.tls {
        builder = builder.set_client_to_redis_tls_mode(::redis::TlsMode::Secure);
        let certificates = certificates(files);
        builder = builder.set_client_to_redis_certificates(certificates.clone());
        builder = builder.set_client_to_sentinel_certificates(certificates);
    }
    #[cfg(not(feature = "tls"))]
    let _ = files;
    builder.build().map_err(failed)
}

fn cluster(options: &RedisOptions, files: &Certificates, infos: Vec<ConnectionInfo>) -> Result<ClusterClient> {
    let builder = ClusterClient::builder(infos)
        .connection_timeout(CONNECT)
        .response_timeout(Duration::from_secs(10))
        .retries(2)
        .tcp_settings(TcpSettings::default().set_nodelay(true));
    #[cfg(feature = "tls")]
    let builder = if options.tls { builder.certs(certificates(files)) } else { builder };
    #[cfg(not(feature = "tls"))]
    let _ = (options, files);
    builder.build().map_err(|error| from_redis("connect", error))
}

fn client(options: &RedisOptions, files: &Certificates, info: ConnectionInfo) -> Result<Client> {
    let failed = |error| from_redis("connect", error);
    #[cfg(feature = "tls")]
    if options.tls {
        return Client::build_with_tls(info, certificates(files)).map_err(failed);
    }
    #[cfg(not(feature = "tls"))]
    let _ = (options, files);
    Client::open(info).map_err(failed)
}

#[cfg(feature = "tls")]
fn certificates(files: &Certificates) -> ::redis::TlsCertificates {
    // Only the first provider of a process counts; ring is the one that this library brings.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let identity = files.identity.clone();
    let client_tls = identity.map(|(client_cert, client_key)| ::redis::ClientTlsConfig { client_cert, client_key });
    ::redis::TlsCertificates { client_tls, root_cert: files.ca.clone() }
}

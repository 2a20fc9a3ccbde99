//! TLS: the authority that is named is trusted and no other; what is wrong is refused at once, in words that lead to the
//! cause, and shows no secret.

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use futures_util::StreamExt;
use pubsub::{ErrorKind, rpc::CallError};
use pubsub_client::http::{HttpClient, HttpClientBuilder, SseItem};
use pubsub_testkit::broker::Certificates;
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{
    order,
    script::{LIMIT, Server, Then, events, json as answer},
};

const SECRET: &str = "s3cret-t0ken";
/// Far less than a call is repeated for.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A server, and what ends TLS before it.
struct Secured {
    server: Server,
    port: u16,
    folder: PathBuf,
    certificates: Certificates,
    task: JoinHandle<()>,
}

impl Secured {
    async fn start(name: &str) -> Self {
        let server = Server::start(|_, seen| match seen.path.as_str() {
            "/api/ticks" => events("id: 1\ndata: a\n\n", Then::Comments),
            _ => answer(
                200,
                &json!({ "eventId": seen.body["id"], "channel": "orders", "timestamp": "2026-01-31T12:00:00.000Z",
                         "cursor": null, "duplicate": false }),
            ),
        })
        .await;
        let folder = folder(name);
        let certificates = Certificates::create(&folder).unwrap();
        let chain = CertificateDer::pem_file_iter(certificates.server()).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(certificates.server_key()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behind = server.url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    // Whoever does not trust it hangs up.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut behind = TcpStream::connect(behind).await.unwrap();
                    copy_bidirectional(&mut stream, &mut behind).await.ok();
                });
            }
        });
        Self { server, port, folder, certificates, task }
    }

    fn builder(&self, host: &str) -> HttpClientBuilder {
        HttpClient::builder(&format!("https://{host}:{}/api", self.port)).token(SECRET).header("x-key", SECRET)
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.task.abort();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pubsub-client-tls-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The error with all its causes; it shows no secret.
fn shown(error: &CallError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    let all = format!("{text} {error:?}");
    assert!(!all.contains(SECRET), "{all}");
    text
}

#[tokio::test]
async fn the_authority_that_is_named_is_trusted() {
    let secured = Secured::start("right").await;
    let client = secured.builder("127.0.0.1").ca(secured.certificates.authority()).build().unwrap();
    timeout(LIMIT, client.publish(&order(1))).await.unwrap().unwrap();
    let mut stream = client.sse("/ticks", None).unwrap();
    let mut next = async || timeout(LIMIT, stream.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(next().await, SseItem::Open));
    assert!(matches!(next().await, SseItem::Message(message) if message.data == "a"));
    assert_eq!(secured.server.seen()[0].token.as_deref(), Some(format!("Bearer {SECRET}").as_str()));
    assert!(!format!("{client:?}").contains(SECRET));
}

#[tokio::test]
async fn no_other_is_trusted_and_no_other_name() {
    let secured = Secured::start("wrong").await;
    let strangers = folder("strangers");
    let unknown = Certificates::create(&strangers).unwrap();
    // The certificate is for the number, and for no name.
    for (what, builder) in [
        ("of strangers", secured.builder("127.0.0.1").ca(unknown.authority())),
        ("of the machine", secured.builder("127.0.0.1")),
        ("another name", secured.builder("localhost").ca(secured.certificates.authority())),
    ] {
        let client = match builder.build() {
            Ok(client) => client,
            // A machine may trust nobody, and that is told when the client is built.
            Err(error) if what == "of the machine" => {
                assert!(error.kind() == ErrorKind::Invalid && error.message().contains("`ca`"), "{error}");
                continue;
            }
            Err(error) => panic!("{what}: {error}"),
        };
        let started = Instant::now();
        let error = timeout(LIMIT, client.publish(&order(1))).await.unwrap().unwrap_err();
        assert_eq!((error.bus_kind(), error.maybe_applied()), (Some(ErrorKind::Auth), false), "{what}: {error:?}");
        assert!(shown(&error).contains("`ca`"), "{what}: {}", shown(&error));
        // A stream gives up as well.
        let mut stream = client.sse("/ticks", None).unwrap();
        let error = timeout(LIMIT, stream.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.bus_kind(), Some(ErrorKind::Auth), "{what}: {}", shown(&error));
        assert!(timeout(LIMIT, stream.next()).await.unwrap().is_none());
        assert!(started.elapsed() < AT_ONCE, "{what}: {:?}", started.elapsed());
    }
    assert!(secured.server.seen().is_empty(), "nothing was told to a server that is not trusted");
    std::fs::remove_dir_all(strangers).unwrap();
}

#[tokio::test]
async fn a_port_without_tls_and_one_with_it_are_told_apart() {
    let secured = Secured::start("plain").await;
    let plain = secured.server.url.replace("http://", "https://");
    let builder = HttpClient::builder(&plain).token(SECRET).ca(secured.certificates.authority()).attempts(1);
    let error = timeout(LIMIT, builder.build().unwrap().publish(&order(1))).await.unwrap().unwrap_err();
    assert_eq!(error.bus_kind(), Some(ErrorKind::Unavailable));
    assert!(shown(&error).contains("does not answer in TLS"), "{}", shown(&error));
    assert!(secured.server.seen().is_empty());

    // A peer that says nothing is not waited for longer than for any other connection.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let builder = HttpClient::builder(&url).ca(secured.certificates.authority()).attempts(1);
    let client = builder.connect_timeout(Duration::from_millis(200)).build().unwrap();
    let error = timeout(LIMIT, client.publish(&order(1))).await.unwrap().unwrap_err();
    assert_eq!((error.bus_kind(), error.maybe_applied()), (Some(ErrorKind::Timeout), false), "{}", shown(&error));
}

#[test]
fn a_file_that_names_no_authority_is_named_when_the_client_is_built() {
    let folder = folder("files");
    let garbage = folder.join("garbage.pem");
    std::fs::write(&garbage, "no certificate").unwrap();
    let broken = folder.join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n").unwrap();
    for file in [folder.join("absent.pem"), garbage, broken] {
        let error = HttpClient::builder("https://localhost").ca(&file).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("`ca`") && error.message().contains(file.to_str().unwrap()), "{error}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

//! TLS and passwords: what is right works, what is wrong is refused at once with a kind and words that lead to the
//! cause, and no secret is ever shown.

mod support;

use std::{
    fs,
    path::PathBuf,
    process::{self, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use pubsub_adapters::url::BrokerUrl;
use pubsub_core::{ChannelName, ErrorKind, PubSub, driver::Adapter};
use pubsub_testkit::{
    broker::{Broker, BrokerError, BrokerKind, BrokerOptions, Certificates, Listener, Security},
    conformance::{Numbered, numbered},
};
use serde_json::{Value, json};
use support::{Attempt, Case, NothingToAsk, Outcome, chain, check, open, with};
use tokio::time::timeout;

const USER: &str = "alice";
const PASSWORD: &str = "S3cret/p@ss:one";
const WRONG: &str = "Wr0ng/p@ss:two";
/// The passwords as they stand in a URL.
const PASSWORD_IN_URL: &str = "S3cret%2Fp%40ss%3Aone";
const WRONG_IN_URL: &str = "Wr0ng%2Fp%40ss%3Atwo";

/// A refusal by the server is no outage, and is not waited for; these are a third of the time to connect.
const AT_ONCE: Duration = Duration::from_secs(8);
const PATIENCE: &str = "connect_timeout=25s";
/// For what cannot be told from an outage.
const BRIEF: &str = "connect_timeout=3s";
const BRIEFLY: Duration = Duration::from_secs(7);

fn main() -> ExitCode {
    support::run(Site::start, CASES)
}

const CASES: &[Case<Site>] = &[
    ("the_right_secrets_work", |site| Box::pin(right(site))),
    ("an_unknown_authority_is_refused", |site| Box::pin(unknown_authority(site))),
    ("a_certificate_for_another_name_is_refused", |site| Box::pin(another_name(site))),
    ("a_wrong_password_is_refused", |site| Box::pin(wrong_password(site))),
    ("a_missing_password_is_refused", |site| Box::pin(missing_password(site))),
    ("a_wrong_password_is_told_when_it_becomes_known", |site| Box::pin(wrong_password_degraded(site))),
    ("an_unknown_authority_is_told_when_it_becomes_known", |site| Box::pin(unknown_authority_degraded(site))),
    ("tls_to_a_plain_port_is_an_error", |site| Box::pin(tls_to_plain(site))),
    ("plain_to_a_tls_port_is_an_error", |site| Box::pin(plain_to_tls(site))),
    ("an_unreadable_authority_is_named", |site| Box::pin(unreadable_authority(site))),
    ("an_authority_without_tls_is_not_ignored", |site| Box::pin(authority_without_tls(site))),
    ("the_password_works_without_tls", |site| Box::pin(password_without_tls(site))),
    ("the_right_key_works_and_no_other", |site| Box::pin(keys(site))),
    ("the_right_credentials_work_and_no_others", |site| Box::pin(credentials(site))),
    ("a_client_certificate_is_shown_where_the_server_wants_one", |site| Box::pin(client_certificate(site))),
    ("tls_works_without_a_password", |site| Box::pin(tls_alone(site))),
];

/// A server with TLS and a password, one without both, and an authority that it does not know.
struct Site {
    kind: BrokerKind,
    secured: Broker,
    folder: PathBuf,
    strangers: Certificates,
}

impl Site {
    fn start(kind: BrokerKind) -> Result<Self, BrokerError> {
        let folder = std::env::temp_dir().join(format!("pubsub-security-{kind}-{}", process::id()));
        let certificates = |name: &str| {
            let folder = folder.join(name);
            fs::create_dir_all(&folder)
                .map_err(|source| BrokerError::Io { action: "create a folder".into(), source })?;
            Certificates::create(folder)
        };
        let security = Security::new(certificates("ours")?, USER, PASSWORD);
        let secured = Broker::start(kind, &BrokerOptions::new().secured(security))?;
        let strangers = certificates("strangers")?;
        Ok(Self { kind, secured, folder, strangers })
    }

    fn url(&self) -> String {
        self.secured.url()
    }

    /// The same with an authority that signed somebody else's certificate.
    fn url_of_strangers(&self) -> String {
        self.url().replace("ours%2F", "strangers%2F")
    }

    fn url_with_wrong_password(&self) -> String {
        self.url().replace(PASSWORD_IN_URL, WRONG_IN_URL)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// An attempt that must fail, and whose error shows no secret.
async fn refused(url: &str) -> Result<Attempt, Box<dyn std::error::Error + Send + Sync>> {
    let attempt = Attempt::to_open(url).await?;
    let error = &attempt.error;
    for text in [chain(error), format!("{error:?}"), format!("{error:#?}")] {
        hides_secrets(&text)?;
    }
    Ok(attempt)
}

fn hides_secrets(text: &str) -> Outcome {
    let shown = [PASSWORD, WRONG, PASSWORD_IN_URL, WRONG_IN_URL].into_iter().find(|secret| text.contains(secret));
    check(shown.is_none(), format_args!("a password is shown in {text}"))
}

/// Sends one event around.
async fn round_trip(adapter: Arc<dyn Adapter>) -> Outcome {
    static RUN: AtomicUsize = AtomicUsize::new(0);
    let bus = PubSub::new(adapter);
    let channel = ChannelName::parse(&format!("secured-{}", RUN.fetch_add(1, Ordering::Relaxed)))?;
    let mut events = bus.subscribe_channel(channel.as_str()).group("readers").await?;
    bus.publish_envelope(numbered(&channel, 7)?).await?;
    let event = events.next_timeout(Duration::from_secs(20)).await?.ok_or("no event came")?;
    check(event.serial()? == 7, "another event came")?;
    event.ack_confirmed().await?;
    hides_secrets(&format!("{:?} {:?}", bus.adapter(), bus.health().await))?;
    Ok(bus.close(Duration::from_secs(10)).await?)
}

async fn right(site: Arc<Site>) -> Outcome {
    let url: BrokerUrl = site.url().parse()?;
    hides_secrets(&format!("{url} {url:?} {url:#?}"))?;
    round_trip(open(&with(&site.url(), PATIENCE)).await?).await
}

async fn unknown_authority(site: Arc<Site>) -> Outcome {
    let attempt = refused(&with(&site.url_of_strangers(), PATIENCE)).await?;
    attempt.is(&[ErrorKind::Auth])?;
    attempt.within(AT_ONCE)?;
    attempt.says(&["certificate"])?;
    attempt.says(&["`ca`", "`ca=", "?ca=", "&ca="])
}

/// The certificate names the address alone.
async fn another_name(site: Arc<Site>) -> Outcome {
    let attempt = refused(&with(&site.url().replace("127.0.0.1", "localhost"), PATIENCE)).await?;
    attempt.is(&[ErrorKind::Auth])?;
    attempt.within(AT_ONCE)?;
    attempt.says(&["name", "certificate", "verif"])
}

async fn wrong_password(site: Arc<Site>) -> Outcome {
    let attempt = refused(&with(&site.url_with_wrong_password(), PATIENCE)).await?;
    attempt.is(&[ErrorKind::Auth])?;
    attempt.within(AT_ONCE)?;
    attempt.says(&["password", "credential", "authenticat", "authoriz"])
}

async fn missing_password(site: Arc<Site>) -> Outcome {
    let url = site.url().replace(&format!("{USER}:{PASSWORD_IN_URL}@"), "");
    let attempt = refused(&with(&url, PATIENCE)).await?;
    attempt.is(&[ErrorKind::Auth, ErrorKind::Invalid])?;
    attempt.within(AT_ONCE)
}

/// Publishes until an error of the kind comes; what comes before may only be that there is no connection yet.
async fn becomes_known(url: &str, words: &[&str]) -> Outcome {
    let begun = Instant::now();
    let adapter = open(&with(url, "start=degraded&connect_timeout=2s")).await?;
    check(begun.elapsed() < Duration::from_secs(2), "opening waited for the broker")?;
    let bus = PubSub::new(adapter);
    let channel = ChannelName::parse("secured-degraded")?;
    let outcome = loop {
        let publishing = bus.publish_envelope(numbered(&channel, 1)?).timeout(Duration::from_secs(5));
        let error = match timeout(Duration::from_secs(10), publishing).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) => break Err("an event was published".into()),
            Err(_) => break Err("a publish does not end".into()),
        };
        let attempt = Attempt { error, took: begun.elapsed() };
        hides_secrets(&format!("{} {:?}", chain(&attempt.error), attempt.error))?;
        if attempt.error.kind() == ErrorKind::Auth {
            break attempt.says(words);
        }
        if begun.elapsed() > Duration::from_secs(15) {
            break attempt.is(&[ErrorKind::Auth]);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    bus.close(Duration::from_secs(5)).await.ok();
    outcome
}

async fn wrong_password_degraded(site: Arc<Site>) -> Outcome {
    becomes_known(&site.url_with_wrong_password(), &["password", "credential", "authenticat", "authoriz"]).await
}

async fn unknown_authority_degraded(site: Arc<Site>) -> Outcome {
    becomes_known(&site.url_of_strangers(), &["certificate"]).await
}

/// What a mistake of ports ends with: neither side says more than that it does not understand.
const MISUNDERSTOOD: &[ErrorKind] = &[ErrorKind::Auth, ErrorKind::Unavailable, ErrorKind::Timeout];

async fn tls_to_plain(site: Arc<Site>) -> Outcome {
    let secured = site.secured.address().to_string();
    // NATS has one port alone, so another server lends its own.
    let lent = match site.secured.url_of(Listener::Plain) {
        Some(_) => None,
        None => Some(Broker::start(site.kind, &BrokerOptions::new())?),
    };
    let plain = match &lent {
        Some(broker) => broker.address(),
        None => site.secured.address_of(Listener::Plain).ok_or("no plain port")?,
    };
    let attempt = refused(&with(&site.url().replace(&secured, &plain.to_string()), BRIEF)).await?;
    attempt.is(MISUNDERSTOOD)?;
    attempt.within(BRIEFLY)?;
    attempt.says(&["tls", "ssl"])
}

async fn plain_to_tls(site: Arc<Site>) -> Outcome {
    let address = site.secured.address();
    let secrets = format!("{USER}:{PASSWORD_IN_URL}@{address}");
    let url = match site.kind {
        BrokerKind::Redis => format!("redis://{secrets}"),
        BrokerKind::Nats => format!("nats://{secrets}"),
        BrokerKind::RabbitMq => format!("amqp://{secrets}"),
        BrokerKind::Kafka => format!("kafka://{secrets}?security=sasl_plaintext&mechanism=PLAIN"),
    };
    let attempt = refused(&with(&url, BRIEF)).await?;
    attempt.is(MISUNDERSTOOD)?;
    attempt.within(BRIEFLY)?;
    attempt.says(&["tls", "ssl", &address.to_string()])
}

async fn unreadable_authority(site: Arc<Site>) -> Outcome {
    let garbage = site.folder.join("garbage.pem");
    fs::write(&garbage, "this is no certificate\n")?;
    let right = site.url();
    let (before, _) = right.split_once("ca=").ok_or("no authority in the URL")?;
    for file in [site.folder.join("absent.pem"), site.folder.clone(), garbage] {
        let name = file.display().to_string();
        let attempt =
            refused(&format!("{before}ca={name}&{PATIENCE}")).await.map_err(|fault| format!("{name}: {fault}"))?;
        attempt.is(&[ErrorKind::Invalid])?;
        attempt.within(AT_ONCE)?;
        attempt.says(&["`ca`"])?;
    }
    Ok(())
}

/// Somebody who names an authority wants TLS, and must not get a plain connection.
async fn authority_without_tls(site: Arc<Site>) -> Outcome {
    // It is refused before anything is connected to, so a port with TLS will do where there is no other.
    let without = || format!("nats://{USER}:{PASSWORD_IN_URL}@{}", site.secured.address());
    let plain = site.secured.url_of(Listener::Plain).unwrap_or_else(without);
    let ca = site.strangers.authority().display().to_string();
    let attempt = refused(&with(&plain, &format!("ca={ca}&{BRIEF}"))).await?;
    attempt.is(&[ErrorKind::Invalid])?;
    attempt.says(&["`ca`"])
}

async fn password_without_tls(site: Arc<Site>) -> Outcome {
    let plain = site.secured.url_of(Listener::Plain).ok_or(NothingToAsk("the server has no port without TLS"))?;
    let mut right = vec![plain.clone()];
    if site.kind == BrokerKind::Kafka {
        right.push(plain.replace("mechanism=PLAIN", "mechanism=SCRAM-SHA-512"));
    }
    for url in right {
        round_trip(open(&with(&url, PATIENCE)).await?).await?;
        let attempt = refused(&with(&url.replace(PASSWORD_IN_URL, WRONG_IN_URL), PATIENCE)).await?;
        attempt.is(&[ErrorKind::Auth])?;
        attempt.within(AT_ONCE)?;
    }
    Ok(())
}

async fn tls_alone(site: Arc<Site>) -> Outcome {
    let url =
        site.secured.url_of(Listener::TlsAlone).ok_or(NothingToAsk("the server has no port without a password"))?;
    round_trip(open(&with(&url, PATIENCE)).await?).await
}

async fn client_certificate(site: Arc<Site>) -> Outcome {
    let folder = site.folder.join("mutual");
    fs::create_dir_all(&folder)?;
    let ours = Certificates::create(folder)?;
    let security = Security::new(ours.clone(), USER, PASSWORD);
    let authority = ours.authority().display().to_string();
    let wants: Vec<String> = match site.kind {
        BrokerKind::Redis => vec!["--tls-auth-clients".into(), "yes".into()],
        BrokerKind::Nats => {
            let file = |path: PathBuf| path.display().to_string();
            let own =
                ["--tls".into(), "--tlscert".into(), file(ours.server()), "--tlskey".into(), file(ours.server_key())];
            own.into_iter().chain(["--tlsverify".into(), "--tlscacert".into(), authority]).collect()
        }
        BrokerKind::RabbitMq => {
            vec!["ssl_options.verify = verify_peer".into(), "ssl_options.fail_if_no_peer_cert = true".into()]
        }
        _ => vec![
            "listener.name.sasl_ssl.ssl.client.auth=required".into(),
            "listener.name.sasl_ssl.ssl.truststore.type=PEM".into(),
            format!("listener.name.sasl_ssl.ssl.truststore.location={authority}"),
        ],
    };
    let broker = Broker::start(site.kind, &BrokerOptions::new().secured(security).extra(wants))?;
    let shows = |of: &Certificates| {
        let (cert, key) = (of.client(), of.client_key());
        with(&broker.url(), &format!("cert={}&key={}&{PATIENCE}", cert.display(), key.display()))
    };
    round_trip(open(&shows(&ours)).await?).await?;
    for url in [with(&broker.url(), PATIENCE), shows(&site.strangers)] {
        let attempt = refused(&url).await.map_err(|fault| format!("{url}: {fault}"))?;
        attempt.is(&[ErrorKind::Auth])?;
        attempt.within(AT_ONCE)?;
        attempt.says(&["certificate"])?;
    }
    Ok(())
}

/// NATS lets in users by a key pair; the server knows the public half.
async fn keys(site: Arc<Site>) -> Outcome {
    if site.kind != BrokerKind::Nats {
        return Err(NothingToAsk("the server knows no users by their keys").into());
    }
    let (ours, foreign) = (KeyPair::new_user(), KeyPair::new_user());
    let file = |name: &str, text: String| {
        let path = site.folder.join(name);
        fs::write(&path, text).map(|()| path.display().to_string())
    };
    // Who comes without a key may only ask whether the server is ready.
    let settings = format!(
        r#"authorization {{ users = [
            {{ nkey: {} }}
            {{ user: nobody, password: nothing, permissions: {{ publish: ["$JS.API.INFO"] }} }}
        ] }}
        no_auth_user: nobody"#,
        ours.public_key()
    );
    let settings = file("keys.conf", settings)?;
    let broker = Broker::start(site.kind, &BrokerOptions::new().extra(["-c".to_owned(), settings]))?;
    let url = |name: &str| format!("nats://{}?nkey={name}", broker.address());
    round_trip(open(&with(&url(&file("ours.nk", ours.seed()?)?), PATIENCE)).await?).await?;

    let attempt = refused(&with(&url(&file("foreign.nk", foreign.seed()?)?), PATIENCE)).await?;
    attempt.is(&[ErrorKind::Auth])?;
    attempt.within(AT_ONCE)?;
    let attempt = refused(&with(&url(&file("garbage.nk", "no seed".to_owned())?), PATIENCE)).await?;
    attempt.is(&[ErrorKind::Auth, ErrorKind::Invalid])?;
    attempt.within(AT_ONCE)
}

/// What `issuer` says of `subject`, signed, in the form that the server reads.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, says: &Value) -> Result<String, nkeys::error::Error> {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name,
        "sub": subject.public_key(), "nats": says,
    });
    let text = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes())?);
    Ok(format!("{text}.{signature}"))
}

/// An operator, an account and a user, as `nsc` makes them; the file has the user's word and key.
async fn credentials(site: Arc<Site>) -> Outcome {
    if site.kind != BrokerKind::Nats {
        return Err(NothingToAsk("the server knows no credentials files").into());
    }
    let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let account_with = |storage: i64| {
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": storage, "disk_storage": storage, "streams": storage, "consumer": storage,
        });
        json!({ "type": "account", "version": 2, "limits": limits })
    };
    let settings = format!(
        "operator: {}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{ {system}: {}, {account}: {} }}\n",
        token(&operator, &operator, "O", &json!({ "type": "operator", "version": 2 }))?,
        token(&operator, &system, "SYS", &account_with(0))?,
        token(&operator, &account, "A", &account_with(-1))?,
        system = system.public_key(),
        account = account.public_key(),
    );
    let file = |name: &str, text: String| {
        let path = site.folder.join(name);
        fs::write(&path, text).map(|()| path.display().to_string())
    };
    let user = |name: &str, issuer: &KeyPair| -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let user = KeyPair::new_user();
        let says = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let (word, seed) = (token(issuer, &user, name, &says)?, user.seed()?);
        let (line, end) = ("-----", "------");
        let text = format!(
            "{line}BEGIN NATS USER JWT{line}\n{word}\n{end}END NATS USER JWT{end}\n\n\
             {line}BEGIN USER NKEY SEED{line}\n{seed}\n{end}END USER NKEY SEED{end}\n"
        );
        Ok(file(name, text)?)
    };
    let settings = file("operator.conf", settings)?;
    let options = BrokerOptions::new().monitored().extra(["-c".to_owned(), settings]);
    let broker = Broker::start(site.kind, &options)?;
    let url = |path: &str| with(&format!("nats://{}?creds={path}", broker.address()), PATIENCE);
    round_trip(open(&url(&user("ours.creds", &account)?)).await?).await?;

    // Of an account that the operator does not know, and none at all.
    for path in [user("foreign.creds", &KeyPair::new_account())?, file("garbage.creds", "no credentials".to_owned())?] {
        let attempt = refused(&url(&path)).await?;
        attempt.is(&[ErrorKind::Auth, ErrorKind::Invalid])?;
        attempt.within(AT_ONCE)?;
    }
    let attempt = refused(&with(&format!("nats://{}", broker.address()), PATIENCE)).await?;
    attempt.is(&[ErrorKind::Auth])?;
    attempt.within(AT_ONCE)
}

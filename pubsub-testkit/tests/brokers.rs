//! The four brokers, started, killed, paused and wiped for real. A broker that is not on this machine shows its cases
//! as ignored; with `PUBSUB_TEST_REQUIRE=all` its absence is a failure.

#![allow(clippy::print_stdout, reason = "a broker's holder tells its address on its standard output")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use pubsub_testkit::broker::{
    self, Broker, BrokerError, BrokerKind, BrokerOptions, Certificates, DetachedBroker, Listener, Security, find,
};
use pubsub_testkit::proxy::FaultProxy;

/// For an answer that must come.
const SOON: Duration = Duration::from_secs(15);
/// For an answer that must not come.
const SILENCE: Duration = Duration::from_millis(700);
const MARK: &str = "mark";

type Outcome = Result<(), Box<dyn Error>>;
type Case = (&'static str, fn(BrokerKind) -> Outcome);

const CASES: [Case; 11] = [
    ("starts_and_answers", starts_and_answers),
    ("two_run_side_by_side", two_run_side_by_side),
    ("says_that_its_port_is_taken", says_that_its_port_is_taken),
    ("survives_kill_9", survives_kill_9),
    ("pauses_and_resumes", pauses_and_resumes),
    ("is_wiped", is_wiped),
    ("leaves_nothing_behind", leaves_nothing_behind),
    ("ends_with_a_killed_owner", ends_with_a_killed_owner),
    ("outlives_its_starter", outlives_its_starter),
    ("answers_behind_the_proxy", answers_behind_the_proxy),
    ("is_secured", is_secured),
];

/// Makes this program start a broker, print its address and wait to be killed.
const HOLD: &str = "PUBSUB_TESTKIT_HOLD";

fn main() -> ExitCode {
    if let Some(kind) = std::env::var(HOLD).ok().and_then(|name| BrokerKind::from_name(&name)) {
        return hold(kind);
    }
    let arguments = Arguments::from_args();
    let trials = BrokerKind::ALL
        .into_iter()
        .flat_map(|kind| CASES.map(|(name, case)| trial(kind, name, case)).into_iter().chain([shared(kind)]))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(kind: BrokerKind, name: &str, case: fn(BrokerKind) -> Outcome) -> Trial {
    Trial::ignorable_test(format!("{kind}::{name}"), move || match Broker::is_installed(kind) {
        Err(missing @ BrokerError::Missing { .. }) if is_excused(kind) => Ok(Completion::ignored_with(missing)),
        _ => case(kind).map(|()| Completion::Completed).map_err(|fault| Failed::from(chain(&*fault))),
    })
}

/// A server that is only named by its URL is not ours to kill.
fn is_excused(kind: BrokerKind) -> bool {
    !find::is_required(kind) || find::url_from_environment(kind).is_some()
}

/// The server that `PUBSUB_TEST_*_URL` names, if it does.
fn shared(kind: BrokerKind) -> Trial {
    Trial::ignorable_test(format!("{kind}::shared_server_answers"), move || {
        let Some(url) = find::url_from_environment(kind) else {
            return Ok(Completion::ignored_with(format!("{} is not set", kind.url_variable())));
        };
        broker::handshake(kind, &url, SOON).map_err(|fault| Failed::from(chain(&fault)))?;
        Ok(Completion::Completed)
    })
}

fn chain(fault: &dyn Error) -> String {
    let mut text = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

fn start(kind: BrokerKind) -> Result<Broker, BrokerError> {
    Broker::start(kind, &BrokerOptions::new().fsync_always())
}

fn answers(broker: &Broker) -> Result<(), broker::HandshakeError> {
    broker::handshake(broker.kind(), &broker.url(), SOON).map(drop)
}

fn check(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.into()) }
}

fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

fn starts_and_answers(kind: BrokerKind) -> Outcome {
    let mut broker = start(kind)?;
    answers(&broker)?;
    let version = broker.info().version.clone().ok_or("it told no version")?;
    check(version.split('.').count() == 3, &format!("{version} is no version"))?;
    check(broker.is_running(), "it answers but does not count as running")?;
    check(broker.log().is_file(), "it has no log")?;
    broker.stop()?;
    check(!broker.is_running() && is_refused(broker.address()), "it runs after it was stopped")?;
    broker.stop()?;
    Ok(())
}

fn two_run_side_by_side(kind: BrokerKind) -> Outcome {
    let (one, other) = (start(kind)?, start(kind)?);
    broker::leave_mark(kind, &one.url(), MARK, SOON)?;
    check(broker::has_mark(kind, &one.url(), MARK, SOON)?, "the mark is lost")?;
    check(!broker::has_mark(kind, &other.url(), MARK, SOON)?, "the two share their data")
}

/// A start on ports of the broker's own choice is repeated when it fails like this.
fn says_that_its_port_is_taken(kind: BrokerKind) -> Outcome {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let options = BrokerOptions::new().port(taken.local_addr()?.port());
    match Broker::start(kind, &options) {
        Err(fault) if fault.is_port_taken() => Ok(()),
        Err(fault) => Err(fault.into()),
        Ok(_) => Err("it shares a port with us".into()),
    }
}

fn survives_kill_9(kind: BrokerKind) -> Outcome {
    let mut broker = start(kind)?;
    let address = broker.address();
    broker::leave_mark(kind, &broker.url(), MARK, SOON)?;
    broker.kill()?;
    check(!broker.is_running() && is_refused(address), "it runs after it was killed")?;
    check(broker.pause().is_err(), "a dead broker was paused")?;
    broker.restart()?;
    check(broker.address() == address, "its address changed")?;
    answers(&broker)?;
    check(broker::has_mark(kind, &broker.url(), MARK, SOON)?, "the mark is lost")
}

fn pauses_and_resumes(kind: BrokerKind) -> Outcome {
    let mut broker = start(kind)?;
    broker.pause()?;
    match broker::handshake(kind, &broker.url(), SILENCE) {
        Err(fault) if fault.is_timeout() => {}
        outcome => return Err(format!("a paused broker gave {outcome:?}").into()),
    }
    check(broker.is_running(), "a paused broker counts as ended")?;
    broker.resume()?;
    answers(&broker)?;
    broker.pause()?;
    broker.stop()?;
    Ok(())
}

fn is_wiped(kind: BrokerKind) -> Outcome {
    let mut broker = start(kind)?;
    broker::leave_mark(kind, &broker.url(), MARK, SOON)?;
    check(matches!(broker.wipe(), Err(BrokerError::State { .. })), "a running broker was wiped")?;
    broker.restart()?;
    check(broker::has_mark(kind, &broker.url(), MARK, SOON)?, "the mark is lost before the wipe")?;
    broker.stop()?;
    broker.wipe()?;
    broker.restart()?;
    check(!broker::has_mark(kind, &broker.url(), MARK, SOON)?, "the mark outlived the wipe")
}

fn leaves_nothing_behind(kind: BrokerKind) -> Outcome {
    let broker = start(kind)?;
    let (address, log) = (broker.address(), broker.log());
    let home = log.parent().ok_or("the log lies nowhere")?.to_owned();
    check(!processes_of(&home)?.is_empty(), "the process is not found by its folder")?;
    drop(broker);
    check(is_refused(address), "it answers after it was dropped")?;
    check(!home.exists(), "its folder was left")?;
    // Helpers of the server end when they notice that it is gone.
    let deadline = Instant::now() + SOON;
    while !processes_of(&home)?.is_empty() {
        check(Instant::now() < deadline, "a process was left")?;
        std::thread::yield_now();
    }
    Ok(())
}

/// The processes whose working folder, command line or environment names this folder.
fn processes_of(home: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let wanted = home.to_str().ok_or("a folder that is not UTF-8")?.as_bytes();
    let mentions =
        |file: &Path| std::fs::read(file).is_ok_and(|text| text.windows(wanted.len()).any(|part| part == wanted));
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc")?.flatten() {
        let (id, folder) = (process.file_name().to_string_lossy().into_owned(), process.path());
        let inside = std::fs::read_link(folder.join("cwd")).is_ok_and(|cwd| cwd.starts_with(home));
        if id.parse::<u32>().is_ok()
            && (inside || mentions(&folder.join("cmdline")) || mentions(&folder.join("environ")))
        {
            found.push(id);
        }
    }
    Ok(found)
}

fn home_of_held(kind: BrokerKind, owner: u32) -> PathBuf {
    std::env::temp_dir().join(format!("pubsub-held-{kind}-{owner}"))
}

fn hold(kind: BrokerKind) -> ExitCode {
    let Ok(broker) = Broker::start(kind, &BrokerOptions::new().home(home_of_held(kind, process::id()))) else {
        return ExitCode::FAILURE;
    };
    println!("{}", broker.address());
    // Ends when the pipe does, or when we are killed.
    std::io::stdin().read_line(&mut String::new()).ok();
    ExitCode::SUCCESS
}

/// `Drop` does not run in a process that is killed; its broker ends all the same.
fn ends_with_a_killed_owner(kind: BrokerKind) -> Outcome {
    let mut owner = Command::new(std::env::current_exe()?)
        .env(HOLD, kind.name())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(owner.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
    let address: SocketAddr = line.trim().parse()?;
    let answer = broker::handshake(kind, &format!("any://{address}"), SOON);
    owner.kill()?;
    owner.wait()?;
    answer?;
    let deadline = Instant::now() + SOON;
    while !is_refused(address) {
        check(Instant::now() < deadline, "the broker outlives its killed owner")?;
        std::thread::yield_now();
    }
    std::fs::remove_dir_all(home_of_held(kind, owner.id()))?;
    Ok(())
}

fn outlives_its_starter(kind: BrokerKind) -> Outcome {
    let home = std::env::temp_dir().join(format!("pubsub-detached-{kind}-{}", process::id()));
    let detached = Broker::start(kind, &BrokerOptions::new().home(&home))?.detach()?;
    let found = DetachedBroker::from_line(&detached.to_line()).ok_or("its line cannot be read")?;
    let outcome = broker::handshake(kind, &found.url, SOON);
    check(found.is_running(), "it does not run")?;
    found.stop(SOON)?;
    check(!found.is_running(), "it runs after it was stopped")?;
    outcome?;
    std::fs::remove_dir_all(home)?;
    Ok(())
}

fn answers_behind_the_proxy(kind: BrokerKind) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    let proxy = runtime.block_on(FaultProxy::bind())?;
    let broker = Broker::start(kind, &BrokerOptions::new().advertised(proxy.address()))?;
    proxy.set_upstream(broker.address());
    let url = broker.url().replace(&broker.address().to_string(), &proxy.address().to_string());

    broker::handshake(kind, &url, SOON)?;
    check(proxy.counters().to_client > 0, "the answer did not come through the proxy")?;
    for fault in [FaultProxy::stall, FaultProxy::blackhole] {
        fault(&proxy);
        match broker::handshake(kind, &url, SILENCE) {
            Err(silent) if silent.is_timeout() => {}
            outcome => return Err(format!("through a silent proxy came {outcome:?}").into()),
        }
        runtime.block_on(proxy.heal())?;
        broker::handshake(kind, &url, SOON)?;
    }
    runtime.block_on(proxy.refuse())?;
    check(broker::handshake(kind, &url, SOON).is_err(), "a closed port answered")?;
    answers(&broker)?;
    Ok(())
}

/// Whether the server shows a certificate that this authority signed for this address.
fn is_vouched_for(server: SocketAddr, authority: &Path) -> Result<bool, Box<dyn Error>> {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-verify_return_error", "-verify_ip", "127.0.0.1", "-connect", &server.to_string()]);
    client.arg("-CAfile").arg(authority).stdin(Stdio::null());
    Ok(client.output()?.status.success())
}

fn is_secured(kind: BrokerKind) -> Outcome {
    let folder = std::env::temp_dir().join(format!("pubsub-secured-{kind}-{}", process::id()));
    let (ours, others) = (folder.join("ours"), folder.join("others"));
    std::fs::create_dir_all(&ours)?;
    std::fs::create_dir_all(&others)?;
    let (certificates, strangers) = (Certificates::create(ours)?, Certificates::create(others)?);
    let security = Security::new(certificates.clone(), "alice", "p/a@s:s");
    let mut broker = Broker::start(kind, &BrokerOptions::new().secured(security))?;
    check(broker.url().contains("alice:p%2Fa%40s%3As@127.0.0.1:"), "its URL lacks the password")?;
    check(broker.url().contains("ca="), "its URL lacks the authority")?;
    broker.restart()?;
    check(broker.info().version.is_some(), "it told no version")?;

    // NATS greets in plain text before it encrypts, which openssl does not know.
    if kind != BrokerKind::Nats {
        check(is_vouched_for(broker.address(), &certificates.authority())?, "its certificate is refused")?;
        check(!is_vouched_for(broker.address(), &strangers.authority())?, "any certificate will do")?;
    }
    check(
        broker::handshake(kind, &format!("any://{}", broker.address()), SILENCE).is_err(),
        "its port takes plain text",
    )?;
    // Kafka's SASL is not part of our handshake.
    if let (Some(url), true) = (broker.url_of(Listener::Plain), kind != BrokerKind::Kafka) {
        broker::handshake(kind, &url, SOON)?;
        for wrong in [url.replace("alice:p", "alice:q"), url.replace("alice:p%2Fa%40s%3As@", "")] {
            check(broker::handshake(kind, &wrong, SOON).is_err(), "a wrong password will do")?;
        }
    }
    drop(broker);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

//! Webhooks: verified by the reference library, delivered at least once, and never to an address that is not public.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use tollgate::alert::{Alert, AlertKind, AlertSink, Delivery, SqlAlertStore, Webhook};
use tollgate::clock::Timestamp;
use tollgate::sql::Database;
use tollgate::{ConfigError, ManualClock, MemoryLedger, MemoryStore, StoreError};

use crate::database::{Place, both};
use crate::services::skipped;
use crate::services::webhook_receiver::WebhookReceiver;
use crate::stage::Node;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD8V5F6vDZ0qE=";
const REVOKED: &str = "[[alerts]]\nwhen = { revoked = true }\n";

both!(
    receiver_that_was_down_gets_every_alert,
    killed_process_loses_no_alert_before_sending,
    killed_process_repeats_an_unanswered_alert,
);

fn webhook(port: u16) -> Webhook {
    let url = format!("http://127.0.0.1:{port}/alerts?from=gate");
    Webhook::new(&url, SECRET.parse().unwrap()).allowing_private_addresses()
}

/// Returns a node whose clock shows the real time and this difference.
fn node(database: &Database, port: u16, clock: Timestamp) -> Node {
    let clock = ManualClock::starting_at(clock);
    let (store, ledger) = (MemoryStore::new(), MemoryLedger::new());
    store.put_account(tollgate::Account::new("ada", "pro"));
    Node::over(REVOKED, &clock, store.into(), ledger.into(), |builder| {
        builder.alert_store(SqlAlertStore::new(database)).alert_sink(webhook(port))
    })
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

async fn revoke(node: &Node) {
    let key = node.key("ada").await;
    node.keys().revoke(key.id).await.unwrap();
}

/// The receiver checks the time of the attempt, so the clock shows the real time at the end.
async fn receiver_that_was_down_gets_every_alert(place: Place) {
    let Some(mut receiver) = WebhookReceiver::new(SECRET) else { return };
    let database = place.open().await;
    let node = node(&database, receiver.port, now().saturating_sub(Duration::from_hours(2)));
    let mut ids = HashSet::new();
    for minute in 0..60 {
        if minute % 3 == 0 {
            revoke(&node).await;
        }
        ids.extend(node.told().await.iter().map(|alert| alert.id.to_string()));
        node.clock.advance(Duration::from_mins(1));
    }
    assert_eq!((ids.len(), receiver.received().len()), (20, 0));
    receiver.start("answer");
    node.clock.advance(Duration::from_hours(1));
    node.flush().await;
    let delivered = receiver.verified_ids();
    assert_eq!(delivered.iter().cloned().collect::<HashSet<_>>(), ids);
    assert_eq!(delivered.len(), 20, "each is delivered once");
    let first = &receiver.received()[0];
    assert_eq!(first["path"], "/alerts?from=gate");
    assert_eq!(first["headers"]["content-type"], "application/json");
    assert_eq!(first["body"]["type"], "key.revoked");
    assert_eq!(first["body"]["data"]["account"], "ada");
    node.clock.advance(Duration::from_hours(1));
    node.flush().await;
    assert_eq!(receiver.received().len(), 20);
    assert_eq!(place.say("SELECT count(*) FROM tollgate_alerts").await, "0");
}

/// The variables that name the database and the port for a process that is to be killed.
const DATABASE: &str = "TOLLGATE_TEST_ALERT_DATABASE";
const PORT: &str = "TOLLGATE_TEST_ALERT_PORT";

/// A process that revokes keys until it is killed, and prints those whose call returned.
#[tokio::test]
#[ignore = "a process of its own, which another test starts and kills"]
async fn process() {
    let (Ok(url), Ok(port)) = (std::env::var(DATABASE), std::env::var(PORT)) else { return };
    let node = node(&Database::connect(&url).await.unwrap(), port.parse().unwrap(), now());
    for _ in 0..50 {
        let key = node.key("ada").await;
        node.keys().revoke(key.id).await.unwrap();
        writeln!(std::io::stdout(), "revoked {}", key.id).unwrap();
    }
    std::future::pending::<()>().await;
}

/// Runs the process until it has revoked this number of keys and `is_done` holds, and kills it. Returns the keys.
async fn run_and_kill(place: &Place, port: u16, most: usize, is_done: impl Fn() -> bool) -> HashSet<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "webhooks::process", "--ignored", "--nocapture"])
        .env(DATABASE, &place.url)
        .env(PORT, port.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut revoked = HashSet::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    for line in lines.by_ref() {
        revoked.extend(line.split_once("revoked ").map(|(_, key)| key.to_owned()));
        if revoked.len() >= most {
            break;
        }
    }
    let begun = std::time::Instant::now();
    while !is_done() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the process does not do what it is started for");
        tokio::task::yield_now().await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(lines);
    revoked
}

/// Nobody listens: the process writes its alerts, and is killed before it can send one.
async fn killed_process_loses_no_alert_before_sending(place: Place) {
    let Some(mut receiver) = WebhookReceiver::new(SECRET) else { return };
    let database = place.open().await;
    let revoked = run_and_kill(&place, receiver.port, 30, || true).await;
    let select = "SELECT id FROM tollgate_alerts WHERE sink LIKE 'webhook %'";
    let written: HashSet<String> = place.say(select).await.lines().map(str::to_owned).collect();
    assert!(written.len() >= 30);
    receiver.start("answer");
    let node = node(&database, receiver.port, now().saturating_add(Duration::from_mins(2)));
    node.flush().await;
    let delivered: HashSet<String> = receiver.verified_ids().into_iter().collect();
    assert_eq!(delivered, written, "the same ids");
    let key = |request: serde_json::Value| request["body"]["data"]["key"].as_str().unwrap().to_owned();
    let keys: HashSet<String> = receiver.received().into_iter().map(key).collect();
    assert!(revoked.is_subset(&keys), "each change that returned is told");
}

/// The receiver gets an alert and does not answer: the process is killed, and another one sends the alert again.
async fn killed_process_repeats_an_unanswered_alert(place: Place) {
    let Some(mut receiver) = WebhookReceiver::new(SECRET) else { return };
    let database = place.open().await;
    receiver.start("hang");
    run_and_kill(&place, receiver.port, 1, || !receiver.received().is_empty()).await;
    let before: HashSet<String> = receiver.verified_ids().into_iter().collect();
    receiver.start("answer");
    let first = receiver.received().len();
    let node = node(&database, receiver.port, now().saturating_add(Duration::from_mins(2)));
    node.flush().await;
    let again: HashSet<String> = receiver.verified_ids().into_iter().skip(first).collect();
    assert!(!before.is_empty() && before.is_subset(&again), "{before:?} {again:?}");
}

fn delivery() -> Delivery {
    Delivery::new(Alert::new(AlertKind::Revoked, now()), "a sink", 1, now())
}

#[tokio::test]
async fn message_is_signed_with_both_secrets() {
    let old = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for known in [SECRET, old] {
        let Some(mut receiver) = WebhookReceiver::new(known) else { return };
        receiver.start("answer");
        let webhook = webhook(receiver.port).with_old_secret(old.parse().unwrap());
        webhook.deliver(&delivery()).await.unwrap();
        assert_eq!(receiver.verified_ids().len(), 1);
        let signatures = receiver.received()[0]["headers"]["webhook-signature"].clone();
        assert_eq!(signatures.as_str().unwrap().split(' ').count(), 2);
    }
}

/// The reference library refuses what was not signed with its secret: the receiver can fail.
#[tokio::test]
async fn receiver_refuses_another_secret() {
    let Some(mut receiver) = WebhookReceiver::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") else { return };
    receiver.start("answer");
    assert!(webhook(receiver.port).deliver(&delivery()).await.is_err());
    assert!(receiver.received()[0]["problem"].as_str().unwrap().contains("No matching signature"));
}

/// Answers one request with this head.
async fn answer(head: &'static str) -> Result<(), StoreError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 8_192];
        let _ = stream.read(&mut request).unwrap();
        let _ = stream.write_all(head.as_bytes());
    });
    let delivered = webhook(port).deliver(&delivery()).await;
    server.join().unwrap();
    delivered
}

#[tokio::test]
async fn only_2xx_is_a_success() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 202 Accepted\r\ncontent-length: 3\r\n\r\nyes",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        answer(head).await.unwrap();
    }
    for (head, is_final) in [
        ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n", false),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", false),
        ("HTTP/1.1 410 Gone\r\n\r\n", true),
        ("HTTP/1.1 500 Internal Server Error\r\n\r\n", false),
        ("", false),
        ("not HTTP\r\n\r\n", false),
    ] {
        let error = answer(head).await.unwrap_err();
        assert_eq!(error.is_rejected(), is_final, "{head}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn silent_receiver_is_given_up_after_20_seconds() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let begun = tokio::time::Instant::now();
    let error = webhook(listener.local_addr().unwrap().port()).deliver(&delivery()).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
}

#[test]
fn unsafe_urls_are_refused() {
    let secret = || SECRET.parse().unwrap();
    for (url, private, value) in [
        ("https://acme.example/alerts?token=s3cret", false, None),
        ("https://8.8.8.8/alerts", false, None),
        ("http://10.0.0.7:8080/alerts", true, None),
        ("https://[::1]/alerts", true, None),
        ("http://acme.example/s3cret", false, Some("http")),
        ("https://127.0.0.1/s3cret", false, Some("127.0.0.1")),
        ("https://LOCALHOST/s3cret", false, Some("LOCALHOST")),
        ("https://[::ffff:10.0.0.7]/s3cret", false, Some("::ffff:10.0.0.7")),
        ("https://169.254.169.254/s3cret", false, Some("169.254.169.254")),
        ("https://me:s3cret@acme.example/", true, Some("")),
        ("ftp://acme.example/s3cret", true, Some("ftp")),
        ("https://acme.example:8443/s3cret", false, None),
        ("https://acme.example:99999/s3cret", false, Some("99999")),
        ("https://acme.example:0/s3cret", false, Some("0")),
        ("/s3cret", true, Some("")),
        ("acme.example", true, Some("")),
        ("https://acme example/s3cret", true, Some("")),
        ("", true, Some("")),
    ] {
        let mut webhook = Webhook::new(url, secret());
        if private {
            webhook = webhook.allowing_private_addresses();
        }
        let error = webhook.check().err();
        assert_eq!(error.as_ref().map(ConfigError::value), value, "{url}: {error:?}");
        assert!(
            error.iter().all(|error| error.member() == "url" && !error.to_string().contains("s3cret")),
            "{error:?}"
        );
        assert!(!webhook.name().contains("s3cret") && !format!("{webhook:?}").contains("s3cret"));
    }
}

/// These names pass the check of the URL, and the look-up returns a loopback address.
#[tokio::test]
async fn private_address_is_refused_after_the_look_up() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.1", "2130706433", "0x7f000001", "0177.0.0.1"] {
        let webhook = Webhook::new(&format!("https://{host}:{port}/"), SECRET.parse().unwrap());
        webhook.check().unwrap();
        let error = webhook.deliver(&delivery()).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "the host has no public address", "{host}");
        assert!(listener.accept().is_err(), "{host}: a connection was made");
    }
}

/// The variable that names the port for a process with certificates of its own.
const TLS_PORT: &str = "TOLLGATE_TEST_ALERT_TLS_PORT";

#[tokio::test]
#[ignore = "a process of its own, which another test starts"]
async fn tls_process() {
    let Ok(port) = std::env::var(TLS_PORT) else { return };
    let webhook = Webhook::new(&format!("https://localhost:{port}/"), SECRET.parse().unwrap());
    let delivered = webhook.allowing_private_addresses().deliver(&delivery()).await;
    writeln!(std::io::stdout(), "delivered {delivered:?}").unwrap();
}

#[test]
fn certificates_are_verified() {
    let Some(mut receiver) = WebhookReceiver::new(SECRET) else { return };
    let certificate = |name: &str| {
        let (key, file) = (receiver.folder.join("key.pem"), receiver.folder.join(format!("{name}.pem")));
        let (key, file) = (key.to_str().unwrap().to_owned(), file.to_str().unwrap().to_owned());
        let subject = format!("/CN={name}");
        let mut arguments =
            vec!["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject];
        let alternative = format!("subjectAltName=DNS:{name}");
        arguments.extend([
            "-addext",
            &alternative,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &file,
        ]);
        let output = Command::new("openssl").args(arguments).output().ok()?;
        assert!(output.status.success(), "{output:?}");
        let both = std::fs::read_to_string(&file).unwrap() + &std::fs::read_to_string(&key).unwrap();
        std::fs::write(&file, both).unwrap();
        Some(file)
    };
    let (Some(right), Some(other)) = (certificate("localhost"), certificate("acme.example")) else {
        return skipped("openssl");
    };
    let deliver = |known: &str, port: u16| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "webhooks::tls_process", "--ignored", "--nocapture"])
            .env(TLS_PORT, port.to_string())
            .env("SSL_CERT_FILE", known)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    receiver.start_with("answer", &[("CERTIFICATE", &right)]);
    let delivered = deliver(&right, receiver.port);
    assert!(delivered.contains("delivered Ok(())"), "{delivered}");
    assert_eq!(receiver.verified_ids().len(), 1);
    let unknown = deliver(&other, receiver.port);
    assert!(unknown.contains("delivered Err") && unknown.contains("InvalidCertificate"), "{unknown}");
    receiver.start_with("answer", &[("CERTIFICATE", &other)]);
    let wrong = deliver(&other, receiver.port);
    assert!(wrong.contains("delivered Err") && wrong.contains("NotValidForName"), "{wrong}");
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn configured_webhook_is_checked_and_signs() {
    let folder = crate::services::scratch("webhook-config");
    let file = folder.join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let text = |url: &str, more: &str| {
        format!(
            "sources = [{{ header = 'X-API-Key' }}]\nformats = [{{ prefix = 'acme_', body = 32 }}]\n{REVOKED}\
             [[webhooks]]\nurl = '{url}'\nsecret = 'file:{}'\n{more}",
            file.display()
        )
    };
    let read = |url: &str, more: &str| tollgate::Config::from_toml(&text(url, more), "gate.toml").err();
    assert_eq!(read("https://acme.example/alerts", ""), None);
    assert_eq!(read("http://127.0.0.1:8080/alerts", "allow_private = true"), None);
    let error = read("http://127.0.0.1:8080/alerts", "").unwrap();
    assert_eq!((error.line(), error.member(), error.value()), (Some(6), "webhooks[0].url", "http"));
    let error = read("https://127.0.0.1:8080/alerts", "").unwrap();
    assert_eq!((error.line(), error.value()), (Some(6), "127.0.0.1"));
    assert!(error.expected().contains("`allow_private`"), "{error}");
    let twice = "[[webhooks]]\nurl = 'https://acme.example/'\nsecret = 'file:";
    let error = read("https://acme.example/", &format!("{twice}{}'", file.display())).unwrap();
    assert_eq!((error.member(), error.problem()), ("webhooks[1].url", "another webhook has the same URL"));
    std::fs::remove_dir_all(folder).unwrap();
}

//! The `providers` example with its keys and credits in a database: they survive a restart.

#![allow(clippy::expect_used, reason = "a test ends where it fails")]

use crate::services;

use serde_json::{Value, json};
use services::providers::{Running, example, start};
use services::scratch;

const KEYS: &str = "/api/v1/account/api-keys";
const ENTRIES: &str = "/api/v1/entries?limit=1";

fn serve(words: &[&str]) -> Running {
    start(&[&["--only", "quantconomy", "--listen", "127.0.0.1:0"], words].concat())
}

fn ask(server: &Running, method: &str, path: &str, key: &str, body: &str) -> (u16, Value) {
    let bearer = format!("Bearer {key}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let answer = server.send(method, path, &headers, body);
    (answer.status, answer.json())
}

/// The line of the guide about the key of this name, without its name.
fn shown(server: &Running, name: &str) -> String {
    let lines = server.guide.iter().filter_map(|line| line.trim().strip_prefix(&format!("key {name} ")));
    lines.map(|line| line.trim().to_owned()).next().expect("the key is shown")
}

/// Spends a credit, and says how many are left.
fn spend(server: &Running, key: &str) -> u64 {
    let (status, body) = ask(server, "GET", ENTRIES, key, "");
    assert_eq!(status, 200, "{body}");
    body["meta"]["creditsLeft"].as_u64().expect("a number")
}

fn names_and_uses(server: &Running, key: &str) -> Vec<(Value, bool)> {
    let (status, body) = ask(server, "GET", KEYS, key, "");
    assert_eq!(status, 200, "{body}");
    let list = body["data"].as_array().unwrap_or_else(|| panic!("{body}"));
    list.iter().map(|key| (key["name"].clone(), !key["lastUsedAt"].is_null())).collect()
}

/// Starts, makes a key and spends, ends, and starts again: twice, since the second start finds what the first did not.
fn keys_and_balances_survive(words: &[&str]) {
    let first = serve(words);
    let sample = shown(&first, "professional");
    assert_eq!(spend(&first, &sample), 99_999);
    let (status, made) = ask(&first, "POST", KEYS, &sample, r#"{"name": "bot"}"#);
    assert_eq!(status, 201, "{made}");
    let bot = made["data"]["apiKey"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    assert_eq!(spend(&first, &bot), 99_998);
    first.interrupt();

    for left in [99_997, 99_995] {
        let again = serve(words);
        let start = sample.get(..12).expect("it is longer");
        assert_eq!(
            shown(&again, "professional"),
            format!("{start}…, kept: its secret was shown when it was created")
        );
        let guide = again.guide.join("\n");
        assert!(guide.contains("Bearer mtk_demo'") && !guide.contains(&sample), "{guide}");
        let listed = names_and_uses(&again, &bot);
        assert!(listed.len() == 3 && listed.contains(&(json!("bot"), true)), "{listed:?}");
        // The sample was used before the restart alone; the expired one never.
        assert_eq!(listed.iter().filter(|(_, used)| *used).count(), 2, "{listed:?}");
        assert_eq!(spend(&again, &bot), left);
        assert_eq!(spend(&again, &sample), left - 1);
        again.interrupt();
    }
}

#[test]
fn data_in_a_file_survives_a_restart() {
    let folder = scratch("providers");
    keys_and_balances_survive(&["--store", &format!("sqlite:{}", folder.join("keys.db").display())]);
    drop(std::fs::remove_dir_all(folder));
}

#[cfg(all(feature = "postgres", feature = "redis"))]
#[test]
fn data_in_postgres_survives_a_restart() {
    use services::{postgres::Postgres, redis::Redis};
    let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start()) else { return };
    keys_and_balances_survive(&["--store", &postgres.database(), "--redis", &redis.url()]);
    let limits = redis.say(&["KEYS", "providers:quantconomy:*"]);
    assert!(limits.contains("providers:quantconomy:"), "nothing is counted or kept in Redis: {limits}");
}

#[test]
fn unopenable_store_is_reported() {
    let refused: [(&[&str], &str); 4] = [
        (&["--store", "sqlite:keys.db"], "--store requires --only"),
        (&["--only", "kwery", "--store", "sqlite:/nowhere/at/all.db"], "/nowhere/at/all.db"),
        (&["--only", "kwery", "--store", "mysql://host/name"], "write `sqlite:PATH`"),
        (&["--redis", if cfg!(feature = "redis") { "redis://127.0.0.1:1" } else { "" }], "--redis: "),
    ];
    for (words, message) in refused {
        let output = example().args(words).output().expect("the example runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {told}");
        assert!(output.stdout.is_empty() && told.contains(message), "{words:?}: {told}");
    }
}

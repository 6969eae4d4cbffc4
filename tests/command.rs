//! The operator's command line, as its user meets it: a process that is started anew for every command.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![cfg(feature = "cli")]

#[path = "command/accounts.rs"]
mod accounts;
#[path = "command/audit.rs"]
mod audit;
#[path = "command/database.rs"]
mod database;
#[path = "command/import.rs"]
mod import;
#[path = "command/output.rs"]
mod output;
#[path = "command/redis.rs"]
mod redis;
mod services;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

type Fault = Box<dyn std::error::Error>;

const CONFIG: &str = r#"
    sources = [{ header = "X-API-Key" }]
    formats = [{ prefix = "acme_", body = 32 }]
    [[rules]]
    route = "GET /quotes"
    scope = "quotes:read"
    [plans.free]
    max_keys = 1
    [plans.pro]
"#;

/// A folder of its own, with a configuration and, later, a store.
struct Desk(PathBuf, &'static str);

impl Desk {
    fn new(name: &str) -> Result<Self, Fault> {
        Self::with_store(name, "memory:keys.json")
    }

    fn with_store(name: &str, store: &'static str) -> Result<Self, Fault> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _gone = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("gate.toml"), CONFIG)?;
        Ok(Self(folder, store))
    }

    fn keys(&self, arguments: &[&str]) -> Result<Output, Fault> {
        Ok(self.command(arguments).output()?)
    }

    /// A command to be run where its caller wants its input from, or its output.
    fn command(&self, arguments: &[&str]) -> Command {
        let general = ["--config", "gate.toml", "--store", self.1];
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.current_dir(&self.0).args(general).args(arguments);
        command
    }

    /// What a command that must succeed says on standard output and standard error.
    fn done(&self, arguments: &[&str]) -> Result<(String, String), Fault> {
        let output = self.keys(arguments)?;
        let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        Ok((out, err))
    }

    fn json(&self, arguments: &[&str]) -> Result<Value, Fault> {
        let (out, err) = self.done(&[arguments, &["--json"]].concat())?;
        assert_eq!(err, "");
        Ok(serde_json::from_str(&out)?)
    }

    /// A new key of an account: its id and its secret.
    fn issue(&self, account: &str) -> Result<(String, String), Fault> {
        let issued = self.json(&["keys", "issue", "--account", account, "--name", "bot"])?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        text(&issued["key"]["id"]).zip(text(&issued["apiKey"])).ok_or_else(|| "no key".into())
    }

    fn stored(&self) -> Result<String, Fault> {
        Ok(std::fs::read_to_string(self.0.join("keys.json"))?)
    }
}

#[test]
fn a_key_is_issued_listed_rotated_and_revoked_and_its_secret_shown_once() -> Result<(), Fault> {
    let desk = Desk::new("command_life")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let issue = ["keys", "issue", "--account", "ada", "--name", "My Bot", "--scopes", "quotes:read"];
    let (secret, told) = desk.done(&issue)?;
    assert!(secret.starts_with("acme_") && secret.trim_end().len() == 37 && secret.lines().count() == 1);
    let secret = secret.trim_end();
    assert!(told.contains("My Bot") && !told.contains(secret) && !desk.stored()?.contains(secret));

    let listed = desk.json(&["keys", "list", "--account", "ada"])?;
    assert_eq!(listed["keys"][0]["scopes"][0], "quotes:read");
    let id = listed["keys"][0]["id"].as_str().ok_or("no id")?;
    assert!(!listed.to_string().contains(secret) && !listed.to_string().contains("hash"));

    let rotated = desk.json(&["keys", "rotate", id, "--overlap", "24h"])?;
    let new = rotated["apiKey"].as_str().ok_or("no secret")?;
    assert!(new.starts_with("acme_") && new != secret && rotated["key"]["id"] == id);
    assert!(rotated["key"]["oldSecretUntil"].is_string() && !desk.stored()?.contains(new));

    let renamed = desk.json(&["keys", "update", id, "--name", "Renamed", "--scopes", "all"])?;
    assert_eq!((&renamed["name"], &renamed["scopes"]), (&Value::from("Renamed"), &Value::Null));
    assert_eq!(desk.json(&["keys", "pause", id])?["status"], "paused");
    assert_eq!(desk.json(&["keys", "resume", id])?["status"], "active");
    assert_eq!(desk.json(&["keys", "revoke", id])?["status"], "revoked");
    let (out, err) = desk.done(&["keys", "show", id])?;
    assert!(out.is_empty() && err.contains("revoked") && !err.contains(new));
    assert_eq!(desk.json(&["keys", "erase", id])?["erased"], id);
    assert_eq!(desk.json(&["keys", "list"])?["keys"], Value::Array(Vec::new()));
    Ok(())
}

#[test]
fn help_is_no_fault() -> Result<(), Fault> {
    let output = Desk::new("command_help")?.keys(&["--help"])?;
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout)?;
    assert!(help.starts_with("usage: tollgate"));
    // Whatever is accepted is told of.
    for option in
        ["--paths", "--allow", "--file", "--start", "--redis", "--redis-prefix", "--as", "--audit", "--json"]
    {
        assert!(help.contains(option), "{option}");
    }
    Ok(())
}

#[test]
fn what_is_refused_says_why_and_changes_nothing() -> Result<(), Fault> {
    let desk = Desk::new("command_refusals")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let hash = "ab".repeat(32);
    desk.done(&["keys", "import", "--account", "ada", "--name", "old", "--sha256", &hash])?;
    let before = desk.stored()?;
    let missing = "00000000-0000-4000-8000-000000000001";
    let table: [(&[&str], i32, &str); 19] = [
        (&["keys"], 2, "what to do is missing"),
        (&["keys", "mint"], 2, "the key's id is missing"),
        (&["keys", "issue", "--account", "ada"], 2, "`--name` is missing"),
        (&["keys", "show", "17"], 2, "failed to read a key id"),
        (&["keys", "list", "--limt", "3"], 2, "`--limt` does not belong"),
        (&["keys", "list", "--account"], 2, "`--account` has no value"),
        (&["keys", "issue", "--account", "ada", "--name", "x", "--allow", "10.0.0.5/8"], 2, "host bits"),
        (&["keys", "issue", "--account", "ada", "--name", "x"], 1, "the plan allows 1 active keys"),
        (&["keys", "issue", "--account", "eve", "--name", "x"], 1, "no such account"),
        (&["keys", "rotate", missing], 1, "no such key"),
        (&["accounts", "create", "ada", "--plan", "free"], 1, "such an account already"),
        (&["accounts", "create", "bob", "--plan", "gold"], 1, "not configured"),
        (&["accounts", "show", "ada", "--plan", "free"], 2, "`--plan` does not belong"),
        (&["accounts", "sign", "ada"], 2, "`--agreement` is missing"),
        (&["accounts", "erase", "eve"], 1, "no such account"),
        (&["keys", "list", "--as", ""], 2, "`--as` names nobody"),
        (&["keys", "list", "--redis-prefix", "x"], 2, "`--redis-prefix` does not belong"),
        (&["keys", "list", "--redis", "redis://localhost"], 2, "--redis-prefix"),
        (&["keys", "list", "--redis", "redis://localhost", "--redis-prefix", "x"], 2, "a database"),
    ];
    for (arguments, code, problem) in table {
        let output = desk.keys(arguments)?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}: {said}");
        assert!(said.contains(problem), "{arguments:?}: {said}");
    }
    assert_eq!(desk.stored()?, before);
    Ok(())
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owners_eyes_alone() -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt;

    let desk = Desk::new("command_mode")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    assert_eq!(std::fs::metadata(desk.0.join("keys.json"))?.permissions().mode() & 0o777, 0o600);
    Ok(())
}

#[test]
fn commands_at_the_same_time_lose_nothing() -> Result<(), Fault> {
    let desk = Desk::new("command_parallel")?;
    let create = |n: usize| desk.done(&["accounts", "create", &n.to_string(), "--plan", "free"]).unwrap();
    std::thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || create(n));
        }
    });
    for n in 0..8 {
        desk.done(&["accounts", "show", &n.to_string()])?;
    }
    Ok(())
}

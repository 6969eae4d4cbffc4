//! The operator's command line, as its user meets it: a process that is started anew for every command.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![cfg(feature = "cli")]

mod accounts;
mod audit;
mod audit_list;
mod database;
mod import;
mod output;
mod redis;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

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
struct Desk(PathBuf, String);

impl Desk {
    fn new(name: &str) -> Result<Self, Fault> {
        Self::with_store(name, "memory:keys.json")
    }

    fn with_store(name: &str, store: &str) -> Result<Self, Fault> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _gone = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("gate.toml"), CONFIG)?;
        Ok(Self(folder, store.to_owned()))
    }

    fn keys(&self, arguments: &[&str]) -> Result<Output, Fault> {
        Ok(self.command(arguments).output()?)
    }

    /// A command to be run where its caller wants its input from, or its output.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_without_create(&[&["--create"], arguments].concat())
    }

    /// Returns the same command, which needs an existing store.
    fn command_without_create(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let general = ["--config", "gate.toml", "--store", &self.1];
        command.current_dir(&self.0).args(general).args(arguments);
        command
    }

    /// Returns the standard output and standard error of a command that must succeed.
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
fn key_lifecycle_shows_the_secret_once() -> Result<(), Fault> {
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
fn revocation_is_taken_back() -> Result<(), Fault> {
    let desk = Desk::new("command_undo")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let (id, _) = desk.issue("ada")?;
    desk.done(&["keys", "revoke", &id])?;
    let refused = desk.keys(&["keys", "unrevoke", &id])?;
    let said = String::from_utf8(refused.stderr)?;
    assert!(!refused.status.success() && said.contains("management.undo_revocation"), "{said}");
    let config = format!("{CONFIG}\n[management]\nundo_revocation = '7days'\n");
    std::fs::write(desk.0.join("gate.toml"), config)?;
    assert_eq!(desk.json(&["keys", "unrevoke", &id])?["status"], "active");
    let twice = desk.keys(&["keys", "unrevoke", &id])?;
    assert!(String::from_utf8(twice.stderr)?.contains("is not revoked"));
    Ok(())
}

#[test]
fn help_exits_with_success() -> Result<(), Fault> {
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
    for option in ["--with-issued", "--issued-by", "--quotas", "--caps", "--create"] {
        assert!(help.contains(option), "{option}");
    }
    Ok(())
}

#[test]
fn refused_command_changes_nothing() -> Result<(), Fault> {
    let desk = Desk::new("command_refusals")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let hash = "ab".repeat(32);
    desk.done(&["keys", "import", "--account", "ada", "--name", "old", "--sha256", &hash])?;
    let before = desk.stored()?;
    let missing = "00000000-0000-4000-8000-000000000001";
    let secret = "acme_0123456789abcdefghijABCDEFGHIJ01";
    let table: [(&[&str], i32, &str); 49] = [
        (&["keys"], 2, "what to do is missing"),
        (&["keys"], 2, "write one of: `issue`, `list`, "),
        (&["keys", "mint"], 2, "unknown command `keys mint`; write one of: `issue`, `list`, "),
        (&["keys", "lst"], 2, "unknown command `keys lst`; did you mean `list`?"),
        (&["key", "list"], 2, "unknown command `key`; did you mean `keys`?"),
        (&["keys", "\u{1b}"], 2, "unknown command"),
        (&["keys", secret], 2, "unknown command `keys …`"),
        (&["accounts", "show", secret], 1, "error: the account does not exist; create it"),
        (&["keys", "issue", "--acount", "ada"], 2, "unknown option `--acount`; did you mean `--account`?"),
        (&["keys", "revoke", missing, "--with-isued"], 2, "did you mean `--with-issued`?"),
        (&["keys", "issue", "--account", "ada"], 2, "`--name` is missing"),
        (&["keys", "show", "17"], 2, "failed to read a key id"),
        (&["keys", "show", secret], 2, "`id`: failed to read a key id"),
        (&["keys", "show", "\u{1b}"], 2, "`id`: failed to read a key id"),
        (&["keys", "show", missing, secret], 2, "an additional argument is not accepted"),
        (&["keys", "rotate", missing, "--overlap", secret], 2, "`overlap`: failed to read a time"),
        (&["keys", "list", "--cursor", secret], 2, "`cursor`: failed to read a key id"),
        (&["keys", "issue", "--account", "ada", "--name", secret], 1, "`name` must not contain a key"),
        (&["keys", "update", missing, "--name", secret], 1, "`name` must not contain a key"),
        (
            &["keys", "import", "--account", "ada", "--name", secret, "--sha256", &hash],
            1,
            "`name` must not contain a key",
        ),
        (&["keys", "list", "--limt", "3"], 2, "unknown option `--limt`; did you mean `--limit`?"),
        (&["keys", "list", "--account"], 2, "`--account` has no value"),
        (&["keys", "issue", "--account", "ada", "--name", "x", "--allow", "10.0.0.5/8"], 2, "host bits"),
        (
            &["keys", "issue", "--account", "ada", "--name", "x"],
            1,
            "the limit of the plan, 1 active keys, is reached",
        ),
        (
            &["keys", "issue", "--account", "eve", "--name", "x"],
            1,
            "`eve`: the account does not exist; create it",
        ),
        (&["keys", "rotate", missing], 1, "`00000000-0000-4000-8000-000000000001`: the key does not exist"),
        (&["accounts", "create", "ada", "--plan", "free"], 1, "an account with this id already exists"),
        (&["accounts", "create", "bob", "--plan", "gold"], 1, "not configured; write one of: `free`, `pro`"),
        (&["accounts", "create", "bob", "--plan", "por"], 1, "did you mean `pro`?"),
        (&["accounts", "show", "ada", "--plan", "free"], 2, "`--plan` is not accepted"),
        (&["accounts", "sign", "ada"], 2, "`--agreement` is missing"),
        (&["accounts", "erase", "eve"], 1, "`eve`: the account does not exist"),
        (&["keys", "list", "--as", ""], 2, "`--as` is empty; write the name of the operator"),
        (&["keys", "list", "--issued-by", "17"], 2, "failed to read a key id"),
        (&["keys", "update", missing], 2, "requires an option with a change"),
        (&["keys", "update", missing, "--nmae", "x"], 2, "unknown option `--nmae`; did you mean `--name`?"),
        (&["keys", "update", missing, "--scopes", ""], 2, "`--scopes` is empty"),
        (&["keys", "issue", "--account", "ada", "--name", "x", "--allow", ","], 2, "`--allow` is empty"),
        (&["keys", "list", "--limit", "many"], 2, "`limit`: write a whole number"),
        (&["keys", "update", missing, "--quotas", ""], 2, "`--quotas` is empty"),
        (&["keys", "update", missing, "--quotas", "60 per fortnight"], 2, "unknown unit of time"),
        (&["keys", "update", missing, "--caps", "limit"], 2, "invalid cap `limit`"),
        (&["keys", "revoke", missing, "--with-issued=yes"], 2, "`--with-issued` takes no value"),
        (&["keys", "pause", missing, "--with-issued"], 2, "`--with-issued` is not accepted"),
        (&["accounts", "quotas", "ada"], 2, "`--quotas` is missing"),
        (&["accounts", "quotas", "ada", "--quotas", "burst"], 1, "`burst`, which is not configured"),
        (&["keys", "list", "--redis-prefix", "x"], 2, "`--redis-prefix` is not accepted"),
        (&["keys", "list", "--redis", "redis://localhost"], 2, "--redis-prefix"),
        (&["keys", "list", "--redis", "redis://localhost", "--redis-prefix", "x"], 2, "a database"),
    ];
    for (arguments, code, problem) in table {
        let output = desk.keys(arguments)?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}: {said}");
        assert!(said.contains(problem), "{arguments:?}: {said}");
        assert!(!said.contains(secret) && !said.contains('\u{1b}'), "{arguments:?}: {said}");
        assert!(said.lines().count() <= 2, "{arguments:?}: {said}");
        assert_eq!(said.contains("`tollgate --help` lists"), code == 2, "{arguments:?}: {said}");
    }
    assert_eq!(desk.stored()?, before);
    Ok(())
}

/// A misspelt path would otherwise be an empty store.
#[test]
fn missing_store_is_created_on_request_only() -> Result<(), Fault> {
    for (name, store) in [("command_missing", "memory:keyss.json"), ("command_no_file", "sqlite:keyss.db")] {
        let desk = Desk::with_store(name, store)?;
        for arguments in [&["keys", "list"][..], &["accounts", "create", "ada", "--plan", "free"]] {
            let output = desk.command_without_create(arguments).output()?;
            let said = String::from_utf8(output.stderr)?;
            assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{store}: {said}");
            assert!(said.contains("keyss.") && said.contains("the file does not exist"), "{said}");
            assert!(said.contains("`--create`"), "{said}");
        }
        let files: Vec<_> = std::fs::read_dir(&desk.0)?.collect();
        assert_eq!(files.len(), 1, "{files:?}");
        desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
        assert!(desk.command_without_create(&["accounts", "show", "ada"]).status()?.success());
    }
    Ok(())
}

#[test]
fn file_keeps_every_field() -> Result<(), Fault> {
    let desk = Desk::new("command_kept")?;
    desk.done(&["accounts", "create", "ada", "--plan", "pro"])?;
    let caps = ["--caps", "limit=5,cursor=forbidden"];
    desk.done(&["accounts", "quotas", "ada", "--quotas", "60 in any minute, 500 per day"])?;
    let account = desk.json(&[&["accounts", "caps", "ada"][..], &caps].concat())?;
    assert_eq!(account["quotas"].as_array().map(Vec::len), Some(2));
    assert_eq!(account["caps"], json!({ "limit": 5, "cursor": "forbidden" }));
    let (parent, _) = desk.issue("ada")?;
    let (id, _) = desk.issue("ada")?;
    desk.done(&[&["keys", "update", &id, "--quotas", "5 per 10s"][..], &caps].concat())?;
    // No command issues in the name of a key, and none makes a quota that counts an account.
    let mut file: Value = serde_json::from_str(&desk.stored()?)?;
    let keys = file["keys"].as_array_mut().ok_or("no keys")?;
    let key = keys.iter_mut().find(|key| key["id"] == *id).ok_or("no key")?;
    key["issued_by"] = parent.as_str().into();
    key["quotas"][0]["policy"]["counts"] = json!({ "pool": "shared" });
    std::fs::write(desk.0.join("keys.json"), file.to_string())?;

    let key = desk.json(&["keys", "show", &id])?;
    assert_eq!(key["issuedBy"], *parent);
    let quota = json!({
        "name": "10s", "quota": 5, "windowSeconds": 10.0, "counts": "pool:shared", "strict": false, "burst": null,
        "unit": null,
    });
    assert_eq!((&key["quotas"], &key["caps"]), (&json!([quota]), &account["caps"]));
    for _ in 0..2 {
        assert_eq!(desk.json(&["keys", "show", &id])?, key);
        assert_eq!(desk.json(&["accounts", "show", "ada"])?, account);
        assert_eq!(serde_json::from_str::<Value>(&desk.stored()?)?, file);
    }
    let (_, line) = desk.done(&["keys", "show", &id])?;
    let own = "  quotas 5 per 10s (pool:shared)  caps limit=5, cursor=forbidden";
    assert!(line.contains(&format!("  issued by {parent}{own}  bot")), "{line}");
    let (_, line) = desk.done(&["accounts", "show", "ada"])?;
    assert!(
        line.contains("  quotas 60 in any minute, 500 per day  caps limit=5, cursor=forbidden"),
        "{line}"
    );
    let free = ["--quotas", "none", "--caps", "plan"];
    let free = desk.json(&[&["keys", "update", &id][..], &free].concat())?;
    assert_eq!((&free["quotas"], &free["caps"]), (&json!([]), &Value::Null));
    assert_eq!(desk.json(&["accounts", "quotas", "ada", "--quotas", "plan"])?["quotas"], Value::Null);
    let issue = [
        "keys",
        "issue",
        "--account",
        "ada",
        "--name",
        "own",
        "--quotas",
        "7 per minute",
        "--caps",
        "page=1",
    ];
    let issued = desk.json(&issue)?;
    assert_eq!(
        (&issued["key"]["quotas"][0]["quota"], &issued["key"]["caps"]["page"]),
        (&json!(7), &json!(1))
    );
    Ok(())
}

#[test]
fn issued_keys_are_listed_and_revoked() -> Result<(), Fault> {
    let desk = Desk::new("command_issued")?;
    desk.done(&["accounts", "create", "ada", "--plan", "pro"])?;
    let ids: Vec<String> =
        (0..4).map(|_| desk.issue("ada").map(|issued| issued.0)).collect::<Result<_, _>>()?;
    let mut file: Value = serde_json::from_str(&desk.stored()?)?;
    for key in file["keys"].as_array_mut().ok_or("no keys")? {
        // The second is the first's, and the third the second's.
        let place = ids.iter().position(|id| key["id"] == **id).ok_or("no such key")?;
        key["issued_by"] =
            if place == 1 || place == 2 { ids[place - 1].as_str().into() } else { Value::Null };
    }
    // A file that was written before accounts had quotas is read as well.
    file["accounts"][0]
        .as_object_mut()
        .ok_or("no account")?
        .retain(|name, _| name != "quotas" && name != "caps");
    std::fs::write(desk.0.join("keys.json"), file.to_string())?;

    let listed = desk.json(&["keys", "list", "--issued-by", &ids[0]])?;
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!((&listed["keys"][0]["id"], &listed["keys"][0]["issuedBy"]), (&json!(ids[1]), &json!(ids[0])));
    let revoked = desk.json(&["keys", "revoke", &ids[0], "--with-issued"])?;
    let revoked = revoked["revoked"].as_array().ok_or("no list")?;
    let revoked: Vec<_> = revoked.iter().map(|key| (&key["id"], &key["status"])).collect();
    let dead = json!("revoked");
    assert_eq!(revoked, [(&json!(ids[0]), &dead), (&json!(ids[1]), &dead), (&json!(ids[2]), &dead)]);
    assert_eq!(desk.json(&["keys", "show", &ids[2]])?["status"], "revoked");
    assert_eq!(desk.json(&["keys", "show", &ids[3]])?["status"], "active");
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

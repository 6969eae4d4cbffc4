//! The audit file of the command.

use serde_json::Value;

use crate::command::{Desk, Fault};

fn events(desk: &Desk) -> Result<Vec<Value>, Fault> {
    let text = std::fs::read_to_string(desk.0.join("audit.jsonl"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn audited(desk: &Desk, by: &str, arguments: &[&str]) -> Result<Value, Fault> {
    desk.json(&[arguments, &["--audit", "audit.jsonl", "--as", by]].concat())
}

/// The action, account, actor and detail of each event, apart by `|`.
fn told(events: &[Value]) -> Vec<String> {
    let text = |event: &Value, member: &str| event[member].as_str().unwrap_or_default().to_owned();
    let line =
        |event: &Value| ["action", "account", "actor", "detail"].map(|member| text(event, member)).join("|");
    events.iter().map(line).collect()
}

#[test]
fn audit_has_every_change_and_no_secret() -> Result<(), Fault> {
    let desk = Desk::new("command_audit")?;
    audited(&desk, "alice", &["accounts", "create", "ada", "--plan", "pro"])?;
    let issued = audited(&desk, "alice", &["keys", "issue", "--account", "ada", "--name", "bot"])?;
    let id = issued["key"]["id"].as_str().ok_or("no id")?;
    let rotated = audited(&desk, "bob", &["keys", "rotate", id, "--overlap", "1h"])?;
    audited(&desk, "bob", &["keys", "list"])?;
    let hash = "ab".repeat(32);
    audited(&desk, "eve", &["keys", "import", "--account", "ada", "--name", "old", "--sha256", &hash])?;
    desk.done(&["keys", "revoke", id, "--audit", "audit.jsonl"])?;
    audited(&desk, "alice", &["accounts", "delete", "ada"])?;

    let events = events(&desk)?;
    let expected = [
        "account created|ada|alice|plan pro",
        "issued|ada|alice|",
        "rotated|ada|bob|",
        "imported|ada|eve|",
        "revoked|ada|operator|",
        "account changed|ada|alice|deleted",
        "revoked|ada|alice|",
    ];
    assert_eq!(told(&events), expected);
    assert_eq!((&events[1]["key"], &events[0]["key"]), (&Value::from(id), &Value::Null));
    for event in &events {
        let members: Vec<_> = event.as_object().ok_or("no object")?.keys().map(String::as_str).collect();
        assert_eq!(members, ["at", "action", "key", "account", "actor", "detail"]);
        assert!(event["at"].as_str().is_some_and(|at| at.starts_with("20") && at.ends_with('Z')), "{event}");
    }
    let text = std::fs::read_to_string(desk.0.join("audit.jsonl"))?;
    let secrets = [&issued["apiKey"], &rotated["apiKey"]].map(|secret| secret.as_str().unwrap_or_default());
    for secret in secrets {
        assert!(secret.len() == 37 && !text.contains(secret.get(5..13).ok_or("too short")?), "{text}");
    }
    assert!(!text.contains(&hash));
    Ok(())
}

#[test]
fn refused_change_is_not_audited() -> Result<(), Fault> {
    let desk = Desk::new("command_audit_refused")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    for arguments in
        [&["accounts", "create", "ada", "--plan", "free"][..], &["accounts", "plan", "ada", "--plan", "x"]]
    {
        let refused = desk.keys(&[arguments, &["--audit", "audit.jsonl"]].concat())?;
        assert_eq!(refused.status.code(), Some(1));
    }
    assert!(events(&desk)?.is_empty());
    let stored = desk.stored()?;
    let nowhere = desk.keys(&["accounts", "suspend", "ada", "--audit", "no/such/folder/audit.jsonl"])?;
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8(nowhere.stderr)?.contains("--audit: no/such/folder"));
    assert_eq!(desk.stored()?, stored, "what cannot be audited is not done");
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn unwritable_audit_is_reported() -> Result<(), Fault> {
    let desk = Desk::new("command_audit_full")?;
    let output = desk.keys(&["accounts", "create", "ada", "--plan", "free", "--audit", "/dev/full"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)?
            .contains("the change was made, but the audit log could not be written")
    );
    desk.done(&["accounts", "show", "ada"])?;
    Ok(())
}

#[cfg(unix)]
#[test]
fn the_audit_is_for_its_owners_eyes_alone() -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt;

    let desk = Desk::new("command_audit_mode")?;
    audited(&desk, "alice", &["accounts", "create", "ada", "--plan", "free"])?;
    assert_eq!(std::fs::metadata(desk.0.join("audit.jsonl"))?.permissions().mode() & 0o777, 0o600);
    Ok(())
}

#[test]
fn credit_changes_are_audited_with_actor() -> Result<(), Fault> {
    let desk = Desk::with_store("keys-audit-credits", "sqlite:keys.db")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    for _ in 0..2 {
        audited(&desk, "carol", &["credits", "top-up", "ada", "50", "--id", "invoice-1"])?;
    }
    audited(&desk, "carol", &["credits", "balance", "ada"])?;
    let expected = ["credits adjusted|ada|carol|top up 50: from 0 to 50, by `invoice-1`"];
    assert_eq!(told(&events(&desk)?), expected, "it is made once");
    Ok(())
}

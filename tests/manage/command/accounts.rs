//! Accounts by hand.

use serde_json::{Value, json};

use crate::command::{Desk, Fault};

#[test]
fn account_shows_its_changes() -> Result<(), Fault> {
    let desk = Desk::new("command_accounts")?;
    let account =
        |plan: &str, status: &str, subscription: Option<&str>, agreements: &[&str], version: u64| {
            json!({
                "id": "ada", "plan": plan, "status": status, "subscription": subscription,
                "agreements": agreements, "quotas": null, "caps": null, "version": version,
            })
        };
    let table: [(&[&str], Value); 10] = [
        (&["create", "ada", "--plan", "free"], account("free", "active", None, &[], 0)),
        (&["show", "ada"], account("free", "active", None, &[], 0)),
        (&["plan", "ada", "--plan", "pro"], account("pro", "active", None, &[], 1)),
        (&["suspend", "ada"], account("pro", "suspended", None, &[], 2)),
        (&["resume", "ada"], account("pro", "active", None, &[], 3)),
        (&["sign", "ada", "--agreement", "opra"], account("pro", "active", None, &["opra"], 4)),
        (&["sign", "ada", "--agreement", "utp"], account("pro", "active", None, &["opra", "utp"], 5)),
        (&["subscribe", "ada"], account("pro", "active", Some("active"), &["opra", "utp"], 6)),
        (&["unsubscribe", "ada"], account("pro", "active", Some("lapsed"), &["opra", "utp"], 7)),
        (&["show", "ada"], account("pro", "active", Some("lapsed"), &["opra", "utp"], 7)),
    ];
    for (arguments, expected) in table {
        assert_eq!(desk.json(&[&["accounts"], arguments].concat())?, expected, "{arguments:?}");
    }
    let (out, err) = desk.done(&["accounts", "show", "ada"])?;
    let line = "ada  plan pro  active  subscription lapsed  signed opra, utp  version 7";
    assert_eq!((out.as_str(), err.trim_end()), ("", line));
    desk.done(&["accounts", "create", "bob", "--plan", "free"])?;
    let (_, err) = desk.done(&["accounts", "show", "bob"])?;
    assert_eq!(err.trim_end(), "bob  plan free  active  subscription none  signed nothing  version 0");
    Ok(())
}

#[test]
fn deleted_account_has_no_active_key() -> Result<(), Fault> {
    let desk = Desk::new("command_delete")?;
    desk.done(&["accounts", "create", "ada", "--plan", "pro"])?;
    let (first, second) = (desk.issue("ada")?.0, desk.issue("ada")?.0);
    desk.done(&["keys", "pause", &second])?;
    assert_eq!(desk.json(&["accounts", "delete", "ada"])?["status"], "deleted");
    for id in [&first, &second] {
        assert_eq!(desk.json(&["keys", "show", id])?["status"], "revoked");
        let rotated = desk.keys(&["keys", "rotate", id])?;
        assert_eq!(rotated.status.code(), Some(1));
    }
    let issued = desk.keys(&["keys", "issue", "--account", "ada", "--name", "more"])?;
    assert_eq!(issued.status.code(), Some(1));
    let (hash, resumed) = ("ab".repeat(32), desk.keys(&["accounts", "resume", "ada"])?);
    assert_eq!(resumed.status.code(), Some(1));
    let imported = desk.keys(&["keys", "import", "--account", "ada", "--name", "old", "--sha256", &hash])?;
    assert!(String::from_utf8(imported.stderr)?.contains("the account is deleted"));
    assert_eq!(desk.json(&["accounts", "delete", "ada"])?["version"], 1, "that changes nothing");
    assert_eq!(desk.json(&["accounts", "erase", "ada"])?, json!({ "erased": "ada" }));
    assert_eq!(desk.json(&["keys", "list"])?["keys"], json!([]));
    Ok(())
}

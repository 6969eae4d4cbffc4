//! The audit events that a database keeps.

use serde_json::Value;

use crate::command::{Desk, Fault};
use crate::services::postgres::Postgres;

fn listed(desk: &Desk, arguments: &[&str]) -> Result<Vec<Value>, Fault> {
    let page = desk.json(&[&["audit", "list"], arguments].concat())?;
    Ok(page["entries"].as_array().ok_or("no entries")?.clone())
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry["action"].as_str()).collect()
}

#[test]
fn audit_of_a_database_can_be_asked() -> Result<(), Fault> {
    let server = Postgres::shared();
    let database = server.as_ref().map(|server| ("audit-postgres", server.database()));
    for (name, store) in [("audit-sqlite", "sqlite:keys.db".to_owned())].into_iter().chain(database) {
        let desk = Desk::with_store(name, &store)?;
        desk.done(&["accounts", "create", "ada", "--plan", "pro", "--as", "alice"])?;
        let (id, secret) = desk.issue("ada")?;
        desk.done(&["keys", "pause", &id, "--as", "bob"])?;
        desk.done(&["credits", "top-up", "ada", "50", "--id", "invoice-1", "--as", "bob"])?;
        desk.done(&["accounts", "create", "eve", "--plan", "pro", "--as", "alice"])?;

        let all = listed(&desk, &[])?;
        let newest_first = ["account created", "credits adjusted", "paused", "issued", "account created"];
        assert_eq!(actions(&all), newest_first);
        assert_eq!(all[0]["actor"]["operator"], "alice");
        assert_eq!(actions(&listed(&desk, &["--account", "ada"])?), newest_first[1..]);
        assert_eq!(actions(&listed(&desk, &["--key", &id])?), ["paused", "issued"]);
        assert_eq!(actions(&listed(&desk, &["--actor", "operator:bob"])?), ["credits adjusted", "paused"]);
        assert_eq!(listed(&desk, &["--actor", "user:bob"])?.len(), 0);
        assert_eq!(actions(&listed(&desk, &["--action", "paused", "--account", "ada"])?), ["paused"]);
        let paused_at = all[2]["at"].as_str().ok_or("no time")?;
        assert_eq!(actions(&listed(&desk, &["--from", paused_at])?), newest_first[..3]);
        assert_eq!(actions(&listed(&desk, &["--to", paused_at])?), newest_first[3..]);

        let page = desk.json(&["audit", "list", "--limit", "2"])?;
        let next = page["next"].as_str().ok_or("no cursor")?;
        assert_eq!(actions(&listed(&desk, &["--cursor", next])?), newest_first[2..]);
        let (_, text) = desk.done(&["audit", "list", "--limit", "2"])?;
        assert!(text.contains("  credits adjusted  account ada  by operator:bob  top up 50"), "{text}");
        assert!(text.contains("more: --cursor "), "{text}");
        assert!(!serde_json::to_string(&all)?.contains(secret.trim().get(5..13).ok_or("too short")?));
    }
    Ok(())
}

#[test]
fn audit_forget_removes_what_is_older() -> Result<(), Fault> {
    let server = Postgres::shared();
    let database = server.as_ref().map(|server| ("forget-postgres", server.database()));
    for (name, store) in [("forget-sqlite", "sqlite:keys.db".to_owned())].into_iter().chain(database) {
        let desk = Desk::with_store(name, &store)?;
        for account in ["ada", "bob", "eve"] {
            desk.done(&["accounts", "create", account, "--plan", "pro"])?;
        }
        let newest = listed(&desk, &["--account", "eve"])?;
        let before = newest[0]["at"].as_str().ok_or("no time")?;
        let removed = desk.json(&["audit", "forget", "--before", before, "--as", "alice"])?;
        assert_eq!(removed, serde_json::json!({ "removed": 2 }));
        let left = listed(&desk, &[])?;
        assert_eq!(actions(&left), ["audit forgotten", "account created"]);
        assert_eq!((&left[0]["actor"]["operator"], &left[1]["account"]), (&"alice".into(), &"eve".into()));
        assert_eq!(left[0]["detail"], format!("2 before {before}"));
        let (_, text) = desk.done(&["audit", "forget", "--before", before])?;
        assert_eq!(text.trim(), "0 entries are removed");

        for (arguments, expected) in [
            (&["audit", "forget"][..], "`--before` is missing"),
            (&["audit", "forget", "--before", "2999-01-01T00:00:00Z"], "`--before` is in the future"),
            (&["audit", "forget", "--before", "yesterday"], "`before`: invalid timestamp"),
        ] {
            let refused = desk.keys(arguments)?;
            let said = String::from_utf8(refused.stderr)?;
            assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
            assert!(said.contains(expected), "{arguments:?}: {said}");
        }
        assert_eq!(listed(&desk, &["--account", "eve"])?.len(), 1);
    }
    Ok(())
}

#[test]
fn audit_file_and_store_have_the_same_events() -> Result<(), Fault> {
    let desk = Desk::with_store("audit-both", "sqlite:keys.db")?;
    desk.done(&["accounts", "create", "ada", "--plan", "pro", "--audit", "audit.jsonl"])?;
    let line: Value = serde_json::from_str(&std::fs::read_to_string(desk.0.join("audit.jsonl"))?)?;
    let stored = listed(&desk, &[])?;
    assert_eq!((&stored[0]["action"], &stored[0]["account"]), (&line["action"], &line["account"]));
    Ok(())
}

#[test]
fn invalid_audit_queries_are_refused() -> Result<(), Fault> {
    let desk = Desk::with_store("audit-invalid", "sqlite:keys.db")?;
    let table: [(&[&str], &str); 6] = [
        (
            &["--from", "2026-05-01T00:00:00Z", "--to", "2026-04-30T00:00:00Z"],
            "`to`: the range ends before it begins",
        ),
        (&["--from", "2026-05-01T00:00:00"], "`from`: invalid timestamp"),
        (&["--action", "pausd"], "did you mean `paused`?"),
        (&["--actor", "alice"], "`actor`: invalid actor; write `operator:NAME`"),
        (&["--limit", "0"], "`limit`: invalid number of entries"),
        (&["--cursor", "x"], "`cursor`: failed to read the id"),
    ];
    for (arguments, expected) in table {
        let refused = desk.keys(&[&["audit", "list"], arguments].concat())?;
        let said = String::from_utf8(refused.stderr)?;
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let file = Desk::new("audit-without-store")?;
    let refused = file.keys(&["audit", "list"])?;
    assert!(String::from_utf8(refused.stderr)?.contains("does not keep audit events"));
    Ok(())
}

/// A change whose event cannot be stored is made, and the operator is told.
#[test]
fn unstored_audit_event_is_reported() -> Result<(), Fault> {
    let Some(server) = Postgres::shared() else { return Ok(()) };
    let desk = Desk::with_store("audit-unstored", &server.database())?;
    desk.done(&["accounts", "create", "ada", "--plan", "pro"])?;
    let name = desk.1.rsplit('/').next().ok_or("no name")?;
    server.say(name, "ALTER TABLE tollgate_audit ADD CONSTRAINT closed CHECK (action <> 'account changed')");
    let output = desk.keys(&["accounts", "suspend", "ada"])?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the change was made, but its audit event could not be written to the store"),
        "{said}"
    );
    assert_eq!(desk.json(&["accounts", "show", "ada"])?["status"], "suspended");
    Ok(())
}

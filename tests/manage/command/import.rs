//! Keys that were made elsewhere, from a file.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::command::{Desk, Fault};

fn digits(byte: u8, bytes: usize) -> String {
    format!("{byte:02x}").repeat(bytes)
}

fn line(byte: u8, more: &Value) -> Value {
    let mut line = json!({ "hash": digits(byte, 32), "account": "ada", "name": format!("key {byte}") });
    if let (Some(line), Some(more)) = (line.as_object_mut(), more.as_object()) {
        line.extend(more.clone());
    }
    line
}

const ID: &str = "10487f8f-8751-4f4f-8a6a-fe7e2dcb940c";

fn all_members() -> Value {
    json!({
        "id": ID, "start": "acme_1234", "environment": "live", "createdAt": "2019-01-01T00:00:00Z",
        "expiresAt": "2020-01-01T00:00:00Z", "scopes": ["quotes:read"], "paths": ["/quotes", "/v1/*"],
        "allowIps": ["192.0.2.0/24", "2001:db8::/32"], "metadata": { "origin": "elsewhere" },
    })
}

#[test]
fn import_reports_refused_lines() -> Result<(), Fault> {
    let desk = Desk::new("command_import")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let secret = "acme_0123456789abcdefghijABCDEFGHIJ01";
    let table = [
        (line(1, &all_members()).to_string(), None),
        (line(2, &json!({})).to_string(), None),
        (line(2, &json!({})).to_string(), Some("`hash` already exists")),
        ("  \r".to_owned(), None),
        ("no json".to_owned(), Some("expected ident")),
        (line(3, &json!({ "hash": secret })).to_string(), Some("`hash`: write 64 hexadecimal digits")),
        (line(3, &json!({ "hash": digits(3, 64) })).to_string(), Some("does not look up SHA-512")),
        (line(3, &json!({ "id": "17" })).to_string(), Some("`id`: ")),
        (line(3, &json!({ "id": secret })).to_string(), Some("`id`: ")),
        (line(3, &json!({ "createdAt": secret })).to_string(), Some("`createdAt`: ")),
        (line(3, &json!({ "paths": [secret] })).to_string(), Some("`paths`: ")),
        (line(3, &json!({ "name": secret })).to_string(), Some("`name` must not contain a key")),
        (
            line(3, &json!({ "metadata": { "a": secret } })).to_string(),
            Some("`metadata` must not contain a key"),
        ),
        (line(3, &json!({ "apiKey": secret })).to_string(), Some("unknown field `apiKey`")),
        (line(3, &json!({ "scopes": secret })).to_string(), Some("expected a sequence")),
        (json!(secret).to_string(), Some("expected an object")),
        (line(3, &json!({ "account": "eve" })).to_string(), Some("the account does not exist")),
        (line(3, &json!({ "name": "" })).to_string(), Some("`name`")),
        (line(3, &json!({ "start": &secret[..20] })).to_string(), Some("`start`")),
        (line(3, &json!({ "environment": "test" })).to_string(), Some("`environment`")),
        (line(3, &json!({ "createdAt": "yesterday" })).to_string(), Some("`createdAt`: ")),
        (line(3, &json!({ "expiresAt": 17 })).to_string(), Some("expected a string")),
        (line(3, &json!({ "scopes": ["quotes:wirte"] })).to_string(), Some("`scopes`")),
        (line(3, &json!({ "paths": ["quotes"] })).to_string(), Some("`paths`: ")),
        (line(3, &json!({ "allowIps": ["10.0.0.5/8"] })).to_string(), Some("`allowIps`: ")),
        (r#"{"hash": "ab", "hash": "cd"}"#.to_owned(), Some("duplicate field `hash`")),
        (r#"{"hash": "ab"}"#.to_owned(), Some("missing field `account`")),
        // The last line has no end.
        (line(4, &json!({})).to_string(), None),
    ];
    let lines: Vec<_> = table.iter().map(|(line, _)| line.as_str()).collect();
    std::fs::write(desk.0.join("keys.jsonl"), lines.join("\n"))?;
    let output = desk.keys(&["keys", "import", "--file", "keys.jsonl", "--json"])?;
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((&report["imported"], &report["stopped"]), (&json!(3), &Value::Null));
    let expected: Vec<_> =
        (1..).zip(&table).filter_map(|(number, (_, problem))| Some((number, (*problem)?))).collect();
    let refused = report["refused"].as_array().ok_or("no list")?;
    assert_eq!(refused.len(), expected.len(), "{report:#}");
    for (found, (number, problem)) in refused.iter().zip(expected) {
        let reason = found["reason"].as_str().ok_or("no reason")?;
        assert_eq!(found["line"], number, "{found}");
        assert!(reason.contains(problem) && !reason.contains(" at line "), "{found}: {problem}");
        assert!(!reason.contains(&secret[..20]), "{found}");
    }

    let key = desk.json(&["keys", "show", ID])?;
    for (member, value) in all_members().as_object().ok_or("no object")? {
        let shown = match member.as_str() {
            "start" => "keyPrefix",
            member => member,
        };
        assert_eq!(key[shown], *value, "{member}");
    }
    assert_eq!(
        (&key["isActive"], &key["status"]),
        (&json!(false), &json!("active")),
        "it has expired elsewhere"
    );
    Ok(())
}

#[test]
fn a_file_may_come_from_standard_input() -> Result<(), Fault> {
    let desk = Desk::new("command_import_stdin")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let import = |text: &str| -> Result<_, Fault> {
        let mut command = desk.command(&["keys", "import", "--file", "-"]);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = pipes.spawn()?;
        running.stdin.take().ok_or("no input")?.write_all(text.as_bytes())?;
        let output = running.wait_with_output()?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    let lines: Vec<_> = (0..100).map(|byte| line(byte, &json!({})).to_string()).collect();
    assert_eq!(import(&lines.join("\n"))?, (Some(0), "imported 100; rejected 0\n".to_owned()));
    assert_eq!(desk.json(&["keys", "list"])?["keys"].as_array().map(Vec::len), Some(100));
    assert_eq!(import("")?, (Some(0), "imported 0; rejected 0\n".to_owned()));
    let (code, said) = import("{}\n")?;
    assert_eq!(code, Some(1));
    assert_eq!(said, "line 1: missing field `hash`\nimported 0; rejected 1\n");
    Ok(())
}

#[test]
fn hash_of_an_older_scheme_is_imported() -> Result<(), Fault> {
    let desk = Desk::new("command_import_sha512")?;
    let config = format!("{}\n[hash]\nolder = [{{ scheme = \"sha512\" }}]\n", crate::command::CONFIG);
    std::fs::write(desk.0.join("gate.toml"), config)?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    std::fs::write(desk.0.join("keys.jsonl"), line(3, &json!({ "hash": digits(3, 64) })).to_string())?;
    let report = desk.json(&["keys", "import", "--file", "keys.jsonl"])?;
    assert_eq!(report, json!({ "imported": 1, "refused": [], "stopped": null }));
    Ok(())
}

#[test]
fn unreadable_import_file_is_reported() -> Result<(), Fault> {
    let desk = Desk::new("command_import_none")?;
    let missing = desk.keys(&["keys", "import", "--file", "none.jsonl"])?;
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr)?.contains("--file: none.jsonl: "));
    let folder = desk.keys(&["keys", "import", "--file", "."])?;
    assert_eq!(folder.status.code(), Some(1));
    assert!(String::from_utf8(folder.stderr)?.contains("stopped at line 1: "));
    let both = desk.keys(&["keys", "import", "--file", "none.jsonl", "--account", "ada"])?;
    assert_eq!(both.status.code(), Some(2));
    Ok(())
}

//! Standard output and standard error of the command, also when they are closed.

use serde_json::Value;

use crate::command::{Desk, Fault};

#[test]
fn json_fault_is_an_object_on_stderr() -> Result<(), Fault> {
    let desk = Desk::new("command_json")?;
    let table: [(&[&str], i32, &str, Option<&str>); 6] = [
        (&["keys"], 2, "what to do is missing", None),
        (&["keys", "show", "17"], 2, "failed to read a key id", None),
        (&["keys", "list", "--as", " "], 2, "`--as` is empty; write the name of the operator", None),
        (&["accounts", "show", "ada"], 1, "the account does not exist", None),
        (&["accounts", "create", "ada", "--plan", "gold"], 1, "not configured", Some("plan")),
        (&["keys", "import", "--file", "none"], 1, "--file: none: ", None),
    ];
    for (arguments, code, problem, member) in table {
        let output = desk.keys(&[arguments, &["--json"]].concat())?;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}");
        let fault: Value = serde_json::from_slice(&output.stderr)?;
        assert!(fault["error"].as_str().is_some_and(|said| said.contains(problem)), "{arguments:?}: {fault}");
        assert_eq!(fault["member"].as_str(), member, "{arguments:?}");
    }
    Ok(())
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_no_text_is_refused() -> Result<(), Fault> {
    use std::os::unix::ffi::OsStrExt;

    let desk = Desk::new("command_no_text")?;
    let output = desk.command(&["keys", "list"]).arg(std::ffi::OsStr::from_bytes(b"\xff")).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`\u{fffd}` is not UTF-8") && !said.contains("panicked"), "{said}");
    Ok(())
}

#[cfg(target_os = "linux")]
fn full() -> Result<std::fs::File, Fault> {
    Ok(std::fs::OpenOptions::new().write(true).open("/dev/full")?)
}

/// A secret is shown once: where that fails, somebody must know which key to revoke.
#[cfg(target_os = "linux")]
#[test]
fn unshown_secret_is_reported_with_its_key() -> Result<(), Fault> {
    let desk = Desk::new("command_full")?;
    desk.done(&["accounts", "create", "ada", "--plan", "pro"])?;
    for json in [false, true] {
        let arguments = ["keys", "issue", "--account", "ada", "--name", "lost", "--json"];
        let output = desk.command(&arguments[..if json { 7 } else { 6 }]).stdout(full()?).output()?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{said}");
        let keys = desk.json(&["keys", "list", "--status", "active"])?;
        let id = keys["keys"][0]["id"].as_str().ok_or("no key")?;
        assert!(said.contains(&format!("the secret of the key {id} is lost: revoke")), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        if json {
            assert_eq!(serde_json::from_str::<Value>(&said)?["key"], id);
        }
        desk.done(&["keys", "revoke", id])?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn closed_output_does_not_panic() -> Result<(), Fault> {
    let desk = Desk::new("command_full_all")?;
    let create = |account: &str| desk.command(&["accounts", "create", account, "--plan", "pro"]);
    let output = create("ada").stderr(full()?).output()?;
    assert_eq!(output.status.code(), Some(0), "what is said to people may go unheard");
    desk.done(&["accounts", "show", "ada"])?;
    let issue = ["keys", "issue", "--account", "ada", "--name", "bot"];
    let output = desk.command(&issue).stderr(full()?).output()?;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 38), "the secret is shown");
    for arguments in [&["--help"][..], &["keys", "list", "--json"]] {
        let output = desk.command(arguments).stdout(full()?).stderr(full()?).output()?;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
    Ok(())
}

//! Writing to standard output and standard error. Either may fail, and a failure must not end a command half-way.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::json;
use tollgate::KeyId;
use tollgate::manage::ManageError;

use crate::Fault;

/// Writes requested output to standard output.
pub(crate) fn out(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes a message to standard error. A failed write is ignored.
pub(crate) fn err(text: impl Display) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Writes a note on a change that was made.
pub(crate) fn note(text: &str, json: bool) {
    if json { err(json!({ "note": text })) } else { err(text) }
}

/// Writes the error of a rejected command.
pub(crate) fn refused(fault: &Fault, json: bool) {
    if json {
        let member = match fault.downcast_ref::<ManageError>() {
            Some(ManageError::Invalid { member, .. }) => Some(member.as_str()),
            _ => None,
        };
        err(json!({ "error": fault.to_string(), "member": member }));
    } else {
        err(format_args!("error: {fault}"));
    }
}

/// Writes the error of a command that cannot be parsed, and the command that prints the help.
pub(crate) fn misread(fault: &Fault, json: bool) {
    if json {
        err(json!({ "error": fault.to_string() }));
    } else {
        err(format_args!("error: {fault}\n`tollgate --help` lists the commands and options"));
    }
}

/// Writes that the result of a successful command could not be printed. A secret is then lost, because it is not
/// stored.
pub(crate) fn unheard(error: &io::Error, key: Option<KeyId>, json: bool) {
    let lost = key.map_or_else(String::new, |id| {
        format!("; the secret of the key {id} is lost: revoke or rotate the key")
    });
    let problem = format!("the change was made, but the result could not be written since {error}{lost}");
    if json {
        err(json!({ "error": problem, "key": key.map(|id| id.to_string()) }));
    } else {
        err(format_args!("error: {problem}"));
    }
}

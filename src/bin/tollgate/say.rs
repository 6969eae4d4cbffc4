//! Standard output and standard error. Neither need take what it is told: no command may end in the midst of that.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::json;
use tollgate::KeyId;
use tollgate::manage::ManageError;

use crate::Fault;

/// Says something that was asked for.
pub(crate) fn out(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Says something to people: who does not listen misses it.
pub(crate) fn err(text: impl Display) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Says what is to be known of a change that was made.
pub(crate) fn note(text: &str, json: bool) {
    if json { err(json!({ "note": text })) } else { err(text) }
}

/// Says why nothing was done.
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

/// Says that a command cannot be read, and how one is written.
pub(crate) fn misread(fault: &Fault, usage: &str, json: bool) {
    if json {
        err(json!({ "error": fault.to_string() }));
    } else {
        err(format_args!("error: {fault}\n\n{usage}"));
    }
}

/// Says that nobody was shown the answer to a command that was done. A secret is then lost, since it is kept nowhere.
pub(crate) fn unheard(error: &io::Error, key: Option<KeyId>, json: bool) {
    let lost = key.map_or_else(String::new, |id| {
        format!("; nobody has the secret of the key {id}: revoke that, or rotate it")
    });
    let problem = format!("it was done, but the answer could not be written since {error}{lost}");
    if json {
        err(json!({ "error": problem, "key": key.map(|id| id.to_string()) }));
    } else {
        err(format_args!("error: {problem}"));
    }
}

//! The import of keys that another system created: one from the command line, or those of a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate::key::{KeyHash, KeyHasher, PathPattern};
use tollgate::manage::{ForeignKey, ManageError};
use tollgate::{ConfigError, KeyManager};

use crate::Fault;
use crate::arguments::{Arguments, Usage, problem_with, read};
use crate::commands::network;
use crate::print::{Answer, unhex};

/// Imports the key that the options describe, or the keys of a file.
pub(crate) async fn run(arguments: &mut Arguments, manager: &KeyManager) -> Result<Answer, Fault> {
    if let Some(path) = arguments.option("file") {
        arguments.end()?;
        let lines: Box<dyn BufRead> = match path.as_str() {
            "-" => Box::new(io::stdin().lock()),
            path => {
                let file = File::open(path).map_err(|error| format!("--file: {path}: {error}"))?;
                Box::new(BufReader::new(file))
            }
        };
        return Ok(Answer::Imported(all(lines, manager).await));
    }
    let digest = unhex(&arguments.required("sha256")?);
    let hash = digest.ok_or_else(|| Usage("`--sha256`: write 64 hexadecimal digits".into()))?;
    let (account, name) = (arguments.required("account")?, arguments.required("name")?);
    let mut key = ForeignKey::new(account, name, KeyHash::from_bytes(hash));
    key.start = arguments.option("start").unwrap_or_default();
    key.environment = arguments.option("environment").map_or(key.environment, Into::into);
    key.expires_at = arguments.read("expires")?;
    key.scopes = arguments.list("scopes", |text| Ok(text.into()))?;
    key.paths = arguments.list("paths", |text| read::<PathPattern>("paths", text))?;
    key.allowlist = arguments.list("allow", network)?;
    arguments.end()?;
    let id = manager.import(key).await?;
    Ok(Answer::Key(manager.view(manager.get(id).await?)))
}

/// The result of an import from a file.
#[derive(Debug, Default)]
pub(crate) struct Report {
    imported: u64,
    /// The rejected lines: the line number, counted from 1, and the reason.
    refused: Vec<(u64, String)>,
    /// The line at which the import stopped, and the reason.
    stopped: Option<(u64, String)>,
}

/// Imports line by line, because the file may be larger than the memory.
async fn all(mut lines: Box<dyn BufRead>, manager: &KeyManager) -> Report {
    let (mut report, mut line) = (Report::default(), Vec::new());
    for number in 1.. {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) if line.trim_ascii().is_empty() => continue,
            Ok(_) => {}
            Err(error) => {
                report.stopped = Some((number, error.to_string()));
                break;
            }
        }
        let imported = match foreign(&line, manager) {
            Ok(key) => manager.import(key).await.map_err(|error| match error {
                ManageError::Store(error) => Err(error.to_string()),
                error => Ok(error.to_string()),
            }),
            Err(problem) => Err(Ok(problem)),
        };
        match imported {
            Ok(_) => report.imported += 1,
            Err(Ok(problem)) => report.refused.push((number, problem)),
            // The following lines would fail in the same way.
            Err(Err(failure)) => {
                report.stopped = Some((number, failure));
                break;
            }
        }
    }
    report
}

/// The JSON members of a key in a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Line {
    id: Option<String>,
    hash: String,
    account: String,
    name: String,
    #[serde(default)]
    start: String,
    environment: Option<String>,
    created_at: Option<String>,
    expires_at: Option<String>,
    scopes: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    allow_ips: Option<Vec<String>>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Returns the key of a line, or the problem with it. An error never repeats a value, because the line may have a
/// secret in its place.
fn foreign(line: &[u8], manager: &KeyManager) -> Result<ForeignKey, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        let said = error.to_string();
        // Remove the position: it is relative to the line, not to the file.
        let problem = said.split_once(" at line ").map_or(said.as_str(), |(problem, _)| problem);
        // Such an error repeats a value of the line.
        match problem.strip_prefix("invalid ").and_then(|problem| problem.rsplit_once(", expected ")) {
            Some((_, expected)) => format!("expected {}", expected.replace("struct Line", "an object")),
            None => problem.to_owned(),
        }
    })?;
    let mut key = ForeignKey::new(line.account, line.name, hash(&line.hash, manager)?);
    key.id = line.id.map(|text| one("id", &text, str::parse)).transpose()?;
    key.start = line.start;
    key.environment = line.environment.map_or(key.environment, Into::into);
    key.created_at = line.created_at.map(|text| one("createdAt", &text, FromStr::from_str)).transpose()?;
    key.expires_at = line.expires_at.map(|text| one("expiresAt", &text, FromStr::from_str)).transpose()?;
    key.scopes = line.scopes.map(|scopes| scopes.into_iter().map(Into::into).collect());
    key.paths = each("paths", line.paths, FromStr::from_str)?;
    key.allowlist = each("allowIps", line.allow_ips, tollgate::key::parse_network)?;
    key.metadata = line.metadata;
    Ok(key)
}

fn hash(text: &str, manager: &KeyManager) -> Result<KeyHash, String> {
    if let Some(digest) = unhex(text) {
        return Ok(KeyHash::from_bytes(digest));
    }
    let digest = unhex(text).ok_or("`hash`: write 64 hexadecimal digits of SHA-256, or 128 of SHA-512")?;
    let sha512 = KeyHasher::sha512();
    if !manager.gate().hashers().iter().any(|hasher| hasher.hash(b"") == sha512.hash(b"")) {
        return Err(
            "`hash`: the gate does not look up SHA-512 hashes; add the scheme `sha512` to `hash.older`"
                .into(),
        );
    }
    Ok(KeyHash::from_sha512(&digest))
}

fn one<T>(member: &str, text: &str, read: impl Fn(&str) -> Result<T, ConfigError>) -> Result<T, String> {
    read(text).map_err(|error| problem_with(member, &error))
}

fn each<T>(
    member: &str,
    list: Option<Vec<String>>,
    read: impl Fn(&str) -> Result<T, ConfigError>,
) -> Result<Option<Vec<T>>, String> {
    list.map(|list| list.iter().map(|text| one(member, text, &read)).collect()).transpose()
}

impl Report {
    /// Returns true if all keys of the file were imported.
    pub(crate) fn is_whole(&self) -> bool {
        self.refused.is_empty() && self.stopped.is_none()
    }

    pub(crate) fn json(&self) -> Value {
        let place = |(line, reason): &(u64, String)| json!({ "line": line, "reason": reason });
        json!({
            "imported": self.imported,
            "refused": self.refused.iter().map(place).collect::<Vec<_>>(),
            "stopped": self.stopped.as_ref().map(place),
        })
    }

    /// Returns lines of text. Text from the file is escaped, because the lines are printed to a terminal.
    pub(crate) fn lines(&self) -> Vec<String> {
        let refused = self.refused.iter();
        let mut lines: Vec<_> =
            refused.map(|(line, why)| format!("line {line}: {}", why.escape_debug())).collect();
        lines.push(format!("imported {}; rejected {}", self.imported, self.refused.len()));
        if let Some((line, why)) = &self.stopped {
            lines.push(format!("stopped at line {line}: {}", why.escape_debug()));
        }
        lines
    }
}

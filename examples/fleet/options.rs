//! The command line.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::Fault;

pub(crate) const USAGE: &str = "\
usage: fleet --postgres URL --redis URL [--nodes 3]
       fleet node --postgres URL --redis URL [--nodes 3] [--listen 127.0.0.1:0]
                  [--leases yes|no] [--patience SECONDS]";

/// The options of the command line.
#[derive(Debug)]
pub(crate) struct Options {
    /// True if this process is one of the nodes.
    pub(crate) is_node: bool,
    pub(crate) postgres: String,
    pub(crate) redis: String,
    /// The number of nodes. Leases and local rate limits are divided by it.
    pub(crate) nodes: NonZeroU32,
    /// The address on which a node listens.
    pub(crate) listen: String,
    /// True if a node leases credits; otherwise each charge goes to the database.
    pub(crate) leases: bool,
    /// The time limit of a node for calls to a server. Defaults to one second.
    pub(crate) patience: Duration,
}

impl Options {
    pub(crate) fn of(words: impl Iterator<Item = String>) -> Result<Self, Fault> {
        let mut words = words.peekable();
        let is_node = words.next_if(|word| word == "node").is_some();
        let (mut postgres, mut redis) = (None, None);
        let (mut nodes, mut listen) = (NonZeroU32::MIN.saturating_add(2), "127.0.0.1:0".to_owned());
        let (mut leases, mut patience) = (true, Duration::from_secs(1));
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{word}` requires a value"))?;
            match word.as_str() {
                "--postgres" => postgres = Some(value),
                "--redis" => redis = Some(value),
                "--nodes" => nodes = value.parse()?,
                "--listen" if is_node => listen = value,
                "--leases" if is_node => leases = yes_or_no(&value)?,
                "--patience" if is_node => patience = Duration::from_secs(value.parse()?),
                _ => return Err(format!("unknown option `{word}`").into()),
            }
        }
        let missing = |name: &str| format!("`{name}` is missing");
        let (postgres, redis) =
            (postgres.ok_or_else(|| missing("--postgres"))?, redis.ok_or_else(|| missing("--redis"))?);
        Ok(Self { is_node, postgres, redis, nodes, listen, leases, patience })
    }
}

fn yes_or_no(value: &str) -> Result<bool, Fault> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("`{value}` is neither `yes` nor `no`").into()),
    }
}

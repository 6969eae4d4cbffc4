//! The command line.

use std::num::NonZeroU32;

use crate::Fault;

pub(crate) const USAGE: &str = "\
usage: fleet --postgres URL --redis URL [--nodes 3]
       fleet node --postgres URL --redis URL [--listen 127.0.0.1:0] [--lease NODES]";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    /// Whether this process is one of the nodes.
    pub(crate) is_node: bool,
    pub(crate) postgres: String,
    pub(crate) redis: String,
    /// How many nodes to start.
    pub(crate) nodes: usize,
    /// Where a node listens.
    pub(crate) listen: String,
    /// Among how many nodes credits are leased; not at all, if nothing is said.
    pub(crate) lease: Option<NonZeroU32>,
}

impl Options {
    pub(crate) fn of(words: impl Iterator<Item = String>) -> Result<Self, Fault> {
        let mut words = words.peekable();
        let is_node = words.next_if(|word| word == "node").is_some();
        let (mut postgres, mut redis, mut lease) = (None, None, None);
        let (mut nodes, mut listen) = (3, "127.0.0.1:0".to_owned());
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{word}` asks for a value"))?;
            match word.as_str() {
                "--postgres" => postgres = Some(value),
                "--redis" => redis = Some(value),
                "--nodes" => nodes = value.parse()?,
                "--listen" => listen = value,
                "--lease" => lease = Some(value.parse()?),
                _ => return Err(format!("there is no option `{word}`").into()),
            }
        }
        let missing = |name: &str| format!("`{name}` is missing");
        let (postgres, redis) =
            (postgres.ok_or_else(|| missing("--postgres"))?, redis.ok_or_else(|| missing("--redis"))?);
        Ok(Self { is_node, postgres, redis, nodes, listen, lease })
    }
}

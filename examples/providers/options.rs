//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use tollgate::config::Network;

use crate::provider::{self, Provider};

pub(crate) const HELP: &str = "\
HTTP servers of five providers of market data, each behind its own gate.

usage: providers [OPTION]...

  --only NAME           serve one of backquant, quantconomy, vectrade, quantdata and kwery
  --listen ADDR         the address of the server, as in 127.0.0.1:8080; with port 0, any free
                        port; with --only
  --data FILE           accounts, keys and plans of one provider instead of its samples, in
                        the format of the conformance files
  --trusted-proxy CIDR  trust X-Forwarded-For from this network, as in 10.0.0.0/8; can be
                        repeated
  --store URL           store accounts, keys and credits in sqlite:PATH or
                        postgres://HOST/NAME; with --only
  --redis URL           share the rate limits of all processes in redis://HOST; with --store,
                        also cache keys there, and lease credits
  --nodes N             the number of processes that share --store and --redis (default: 1);
                        leases, and rate limits while Redis fails, are divided by it
  --openapi NAME        print the OpenAPI document of one provider's gate
  --help                print this text

The servers listen on 127.0.0.1, ports 4101 to 4105. Ctrl-C stops them.
";

/// The options of the command line.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) help: bool,
    pub(crate) only: Option<&'static Provider>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) store: Option<String>,
    pub(crate) redis: Option<String>,
    pub(crate) nodes: NonZeroU32,
    pub(crate) openapi: Option<&'static Provider>,
    pub(crate) trusted_proxies: Vec<Network>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            help: false,
            only: None,
            listen: None,
            data: None,
            store: None,
            redis: None,
            nodes: NonZeroU32::MIN,
            openapi: None,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Options {
    /// Parses `--name value` and `--name=value`. The error is a message for the user.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let (mut options, mut words) = (Self::default(), words.into_iter());
        while let Some(word) = words.next() {
            let (name, mut value) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value = || value.take().or_else(|| words.next()).ok_or(format!("{name} needs a value"));
            match name {
                "--help" | "-h" if word == name => options.help = true,
                "--only" => set(&mut options.only, name, named(name, &value()?)?)?,
                "--openapi" => set(&mut options.openapi, name, named(name, &value()?)?)?,
                "--listen" => set(&mut options.listen, name, address(&value()?)?)?,
                "--data" => set(&mut options.data, name, value()?.into())?,
                "--store" => set(&mut options.store, name, value()?)?,
                "--redis" => set(&mut options.redis, name, value()?)?,
                "--nodes" => {
                    options.nodes = value()?.parse().map_err(|error| format!("--nodes: {error}"))?;
                }
                "--trusted-proxy" => {
                    let network = value()?.parse().map_err(|error| format!("--trusted-proxy: {error}"))?;
                    options.trusted_proxies.push(network);
                }
                _ => return Err(format!("unknown option `{word}`; see --help")),
            }
        }
        if options.listen.is_some() && options.only.is_none() {
            return Err("--listen requires --only".into());
        }
        if options.store.is_some() && options.only.is_none() {
            // The accounts of the providers have the same names.
            return Err("--store requires --only".into());
        }
        Ok(options)
    }
}

fn set<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    if place.replace(value).is_some() { Err(format!("{name} is repeated")) } else { Ok(()) }
}

fn named(option: &str, name: &str) -> Result<&'static Provider, String> {
    provider::named(name)
        .ok_or_else(|| format!("{option}: there is no provider `{name}`; there are {}", provider::names()))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let explain =
        |error| format!("--listen: failed to read `{text}` since {error}; write it as in `127.0.0.1:8080`");
    text.parse().map_err(explain)
}

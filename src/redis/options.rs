//! What can be said of a Redis server besides where it is.

use std::time::Duration;

use crate::ConfigError;

/// How a [`RedisServer`](crate::RedisServer) is asked.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tollgate::{RedisOptions, RedisServer};
///
/// let mut options = RedisOptions::default();
/// options.prefix = "staging".to_owned();
/// options.response_timeout = Duration::from_millis(100);
/// let server = RedisServer::with_options("redis://127.0.0.1", options)?;
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisOptions {
    /// What every key begins with, before a colon: `tollgate`, if nothing is said.
    pub prefix: String,
    /// How long an answer is waited for, all in all: 500 ms, if nothing is said.
    pub response_timeout: Duration,
    /// How long one attempt to connect may take: 1 s, if nothing is said. Whoever asks meanwhile waits no longer than for
    /// an answer.
    pub connect_timeout: Duration,
    /// Over how many connections questions are spread, each bearing any number at once.
    pub connections: usize,
}

/// More connections than this are a mistake: each bears any number of questions.
const MOST_CONNECTIONS: usize = 64;

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "tollgate".to_owned(),
            response_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(1),
            connections: 2,
        }
    }
}

impl RedisOptions {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |member: &str, value: String, problem: &str, expected: &str| {
            Err(ConfigError::new(value, problem, expected).in_member(member))
        };
        if self.prefix.is_empty() || !self.prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = "no key can begin with this";
            return refuse("prefix", self.prefix.clone(), problem, "write visible ASCII, as in `tollgate`");
        }
        for (member, timeout) in
            [("response_timeout", self.response_timeout), ("connect_timeout", self.connect_timeout)]
        {
            if timeout.is_zero() {
                return refuse(
                    member,
                    "0s".to_owned(),
                    "nothing is answered in no time",
                    "write one as in `500ms`",
                );
            }
        }
        if !(1..=MOST_CONNECTIONS).contains(&self.connections) {
            let problem = "a server is asked over a few connections";
            return refuse(
                "connections",
                self.connections.to_string(),
                problem,
                "write a number from 1 to 64",
            );
        }
        Ok(())
    }
}

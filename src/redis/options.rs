//! What can be said of a Redis server besides where it is.

use std::time::Duration;

use crate::error::ConfigError;

/// How a [`RedisServer`](crate::redis::RedisServer) is asked.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tollgate::redis::{RedisOptions, RedisServer};
///
/// let mut options = RedisOptions::new("acme-weather");
/// options.response_timeout = Duration::from_millis(100);
/// let server = RedisServer::with_options("redis://127.0.0.1", options)?;
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisOptions {
    /// The text that every key begins with, before a colon. The nodes of one service share it; every other service that
    /// uses the same Redis needs another: what is under a prefix is taken for this service's own records, limits, credits
    /// and announcements.
    pub prefix: String,
    /// An identity of the authority behind the service, such as a UUID that is kept in its database: the same on all its
    /// nodes, and no other service's. The first node binds the prefix to it; a node of another authority is refused: each of its
    /// questions is answered by an error, and nothing is read or written. With `None`, which is usual, nothing is checked.
    pub authority: Option<String>,
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

impl RedisOptions {
    /// The usual options, for the service whose keys have this prefix.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            authority: None,
            response_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(1),
            connections: 2,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |member: &str, value: String, problem: &str, expected: &str| {
            Err(ConfigError::new(value, problem, expected).in_member(member))
        };
        if self.prefix.is_empty() || !self.prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = "no key can begin with this";
            return refuse(
                "prefix",
                self.prefix.clone(),
                problem,
                "write visible ASCII, as in `acme-weather`",
            );
        }
        if self.authority.as_deref() == Some("") {
            let problem = "an empty text identifies no authority";
            return refuse("authority", String::new(), problem, "write an identity, as a UUID");
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

//! The options of a Redis server.

use std::time::Duration;

use crate::error::ConfigError;

/// The options of a [`RedisServer`](crate::redis::RedisServer).
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
    /// The text that every key begins with, followed by a colon. All nodes of one service share it. Every other service
    /// that uses the same Redis needs another prefix: the data under a prefix is used as this service's own records,
    /// limits, credits and announcements.
    pub prefix: String,
    /// An identity of the authority behind the service, such as a UUID that is stored in its database. It is the same
    /// on all nodes of the service and different for every other service. The first node binds the prefix to it. Every
    /// request of a node with another identity fails, and reads and writes nothing. Defaults to `None`, which disables
    /// the check.
    pub authority: Option<String>,
    /// The time limit for an answer, including all waits. Defaults to 500 ms.
    pub response_timeout: Duration,
    /// The time limit for one attempt to connect. Defaults to 1 s. A request that waits for the attempt still waits no
    /// longer than `response_timeout`.
    pub connect_timeout: Duration,
    /// The number of connections that share the requests. Each can serve any number of requests at once. Defaults to 2.
    pub connections: usize,
}

/// The maximum number of connections. More are a mistake, since each can serve any number of requests.
const MOST_CONNECTIONS: usize = 64;

impl RedisOptions {
    /// Creates the default options, for the service whose keys have this prefix.
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
            let problem = "invalid key prefix";
            return refuse(
                "prefix",
                self.prefix.clone(),
                problem,
                "write visible ASCII, as in `acme-weather`",
            );
        }
        if self.authority.as_deref() == Some("") {
            let problem = "the identity is empty";
            return refuse("authority", String::new(), problem, "write an identity, such as a UUID");
        }
        for (member, timeout) in
            [("response_timeout", self.response_timeout), ("connect_timeout", self.connect_timeout)]
        {
            if timeout.is_zero() {
                return refuse(
                    member,
                    "0s".to_owned(),
                    "the time must not be zero",
                    "write one as in `500ms`",
                );
            }
        }
        if !(1..=MOST_CONNECTIONS).contains(&self.connections) {
            let problem = "the number of connections is out of range";
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

//! The master that sentinels name.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, RedisResult, Value, from_redis_value};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use std::collections::HashMap;
use std::sync::Arc;

use super::address::{Endpoint, Layout};
use super::node::Access;

impl Access {
    /// Asks all sentinels for the master. A sentinel that has not heard of a promotion names the old one, so the answer
    /// with the highest epoch of the configuration is used. Sentinels that do not answer within half of the time limit of
    /// an attempt to connect are not waited for.
    pub(super) async fn master(self: &Arc<Self>) -> RedisResult<Endpoint> {
        let until = Instant::now() + self.options.connect_timeout / 2;
        let mut asked = JoinSet::new();
        for sentinel in self.address.endpoints.clone() {
            let access = Arc::clone(self);
            asked.spawn(async move { access.master_by(&sentinel).await });
        }
        let (mut newest, mut failure) = (None::<(u64, Endpoint)>, None);
        loop {
            // The first answer is waited for as long as the whole attempt may last.
            let next = match newest {
                None => asked.join_next().await,
                Some(_) => timeout_at(until, asked.join_next()).await.unwrap_or(None),
            };
            match next {
                Some(Ok(Ok((epoch, master)))) => {
                    if newest.as_ref().is_none_or(|(known, _)| *known < epoch) {
                        newest = Some((epoch, master));
                    }
                }
                Some(Ok(Err(error))) => failure = Some(error),
                Some(Err(_)) => {}
                None => break,
            }
        }
        newest.map(|(_, master)| master).ok_or_else(|| {
            failure.unwrap_or_else(|| RedisError::from((ErrorKind::Io, "no sentinel answered")))
        })
    }

    /// Asks one sentinel. Returns the epoch of its configuration, and the master.
    async fn master_by(&self, sentinel: &Endpoint) -> RedisResult<(u64, Endpoint)> {
        let Layout::Sentinel { master, login } = &self.address.layout else {
            return Err(RedisError::from((ErrorKind::InvalidClientConfig, "the address names no sentinels")));
        };
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let mut connection = self.address.open(sentinel, login, config).await?;
        let mut asked = redis::pipe();
        // During a promotion, only the first command names the new master.
        asked.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        asked.cmd("SENTINEL").arg("MASTER").arg(master);
        let answers = connection.send_packed_commands(&asked, 0, 2).await?;
        let [address, state] = <[Value; 2]>::try_from(answers).map_err(|_| {
            RedisError::from((ErrorKind::UnexpectedReturnType, "a sentinel left out an answer"))
        })?;
        let address: Option<(String, u16)> = from_redis_value(address.extract_error()?)?;
        let Some((host, port)) = address else {
            let problem = "the sentinels know no master of this name";
            return Err(RedisError::from((ErrorKind::InvalidClientConfig, problem, master.clone())));
        };
        let state: HashMap<String, String> = from_redis_value(state.extract_error()?)?;
        let epoch = state.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        Ok((epoch, Endpoint::Tcp(host, port)))
    }
}

/// Checks that a server is a master: a former master that is back may not know of the promotion yet, and a replica is
/// named while it is being promoted.
pub(super) async fn check_master(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
    let role: Option<String> = role.into_iter().next().map(from_redis_value).transpose()?;
    if role.as_deref() == Some("master") {
        return Ok(());
    }
    Err(RedisError::from((ErrorKind::Io, "the server that the sentinels name is not a master")))
}

//! Rate limits in Redis, shared by all processes.

use std::num::NonZeroU32;
use std::sync::Arc;

use tollgate::RateLimiter;
use tollgate::guard::Resilient;
use tollgate::limit::{LocalFallback, LocalShare, RedisLimiter};
pub(super) use tollgate::redis::RedisServer as Server;

use crate::data::Fault;

/// Connects to the server, which must be reachable. The keys of each provider have their own prefix.
pub(super) async fn open(url: &str, provider: &str) -> Result<Server, Fault> {
    let server =
        Server::open(url, &format!("providers:{provider}")).map_err(|error| format!("--redis: {error}"))?;
    server.ping().await.map_err(|error| format!("--redis: failed to reach {server} since {error}"))?;
    Ok(server)
}

/// Returns a limiter. While the server fails, each process admits its share of every quota.
pub(super) fn limiter(server: &Server, nodes: NonZeroU32) -> Arc<dyn RateLimiter> {
    let shared = Resilient::new(RedisLimiter::new(server.clone()));
    Arc::new(LocalFallback::new(shared, LocalShare::new(nodes)))
}

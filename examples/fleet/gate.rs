//! The configuration of the gate of all nodes.

use std::time::Duration;

/// The maximum age of a node's cached key record.
pub(crate) const STALE_FOR_AT_MOST: Duration = Duration::from_secs(2);

/// The additional time for which a cached key is accepted while the database fails.
#[allow(dead_code, reason = "only the nodes use it")]
pub(crate) const STALE_IF_ERROR: Duration = Duration::from_mins(5);

pub(crate) const GATE: &str = r#"
sources = [{ header = "X-API-Key" }]
formats = [{ prefix = "acme_", body = 38, checksum = true }]
rules = [
    { route = "GET /health", public = true },
    { route = "GET /report", cost = 1 },
    { route = "GET /rare", quotas = [{ quota = "100 in any 2s", counts = "account" }] },
]
management = { path = "/keys" }

# Pays for what it asks for.
[plans.metered]

# Asks for free, and not too often.
[plans.limited]
quotas = [{ quota = "100 per 10s", counts = "account" }]

# The same, and never more than so many, whenever one begins to count.
[plans.strict]
quotas = [{ quota = "100 in any 2s", counts = "account" }]
"#;

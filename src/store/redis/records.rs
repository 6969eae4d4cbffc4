//! A second tier of the cache.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::Script;

use crate::error::StoreError;
use crate::future::StoreFuture;
use crate::key::KeyHash;
use crate::name::AccountId;
use crate::redis::RedisServer;
use crate::store::encoding::hex;
use crate::store::{Change, Filing, KeptText, Looked, RecordCache, Ticket};

/// Records in Redis, kept by each node for all: the second tier of a [`CachedStore`](crate::store::CachedStore).
///
/// An entry bears the moment at which its reading of the authority began; a change sets a mark with its own moment, on its
/// key or its account. An entry that is not younger than its marks is not found: so a reading that a revocation has overtaken
/// is void, whichever of the two comes to Redis first and from whichever node. All moments are the server's.
///
/// Entries and marks end by themselves. A mark lives for as long as the node that sets it lets a record live: let the nodes
/// that share a server go by the same bound. They lie in one slot of a cluster, so that one script sees both. What was written by
/// anybody else is a miss, unless it is a correct entry: whoever can write to this Redis can let a key in until the bound on
/// staleness is over, so it must be as well guarded as the authority. A server that loses what it had (a restart, a replica
/// that lags) loses entries and marks alike; a reading that was under way at that moment may be kept although it is void, for
/// as long as the bound on staleness.
///
/// # Example
///
/// ```
/// use tollgate::redis::RedisServer;
/// use tollgate::store::{CachedStore, RedisRecords};
/// use tollgate::MemoryStore;
///
/// let redis = RedisServer::open("redis://127.0.0.1:6379", "acme")?;
/// let store = CachedStore::builder(MemoryStore::new()).second_tier(RedisRecords::new(redis)).build()?;
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
pub struct RedisRecords {
    server: RedisServer,
    scripts: Arc<Scripts>,
}

struct Scripts {
    look: Script,
    keep: Script,
    void: Script,
}

/// The longest text that is looked at: a record is a fraction of it.
const LONGEST: usize = 256 * 1024;

/// The moment of the look, then the moment, life, text, key and account of what is kept.
type Reply = Vec<String>;

impl RedisRecords {
    /// Records on this server.
    pub fn new(server: RedisServer) -> Self {
        let scripts = Scripts {
            look: Script::new(include_str!("look.lua")),
            keep: Script::new(include_str!("keep.lua")),
            void: Script::new(include_str!("void.lua")),
        };
        Self { server, scripts: Arc::new(scripts) }
    }

    fn name(&self, rest: &str) -> String {
        self.server.name(&format!("{{records}}:{rest}"))
    }

    fn entry(&self, hash: &KeyHash) -> String {
        self.name(&hex(hash.as_bytes()))
    }

    fn mark_of_hash(&self, hash: &KeyHash) -> String {
        self.name(&format!("mark:hash:{}", hex(hash.as_bytes())))
    }

    fn mark(&self, change: &Change) -> String {
        match change {
            Change::Key(id) => self.mark_of_key(&id.to_string()),
            Change::Account(id) => self.mark_of_account(id.as_str()),
            // Of a hash the whole is named beside.
            Change::Hash(_) | Change::Everything => self.name("mark"),
        }
    }

    fn mark_of_key(&self, id: &str) -> String {
        self.name(&format!("mark:key:{id}"))
    }

    fn mark_of_account(&self, id: &str) -> String {
        self.name(&format!("mark:account:{id}"))
    }
}

/// What a reply tells. What is no entry of ours is none: it is overwritten.
fn looked(reply: &[String]) -> Result<Looked, StoreError> {
    let now = reply.first().and_then(|now| now.parse().ok());
    let now: u64 = now.ok_or_else(|| StoreError::corrupt("a look that tells no moment"))?;
    Ok(Looked::new(Ticket(now), kept(now, reply.get(1..).unwrap_or_default())))
}

fn kept(now: u64, entry: &[String]) -> Option<(KeptText, Duration)> {
    let [moment, life, text, key, account] = entry else { return None };
    let age = Duration::from_micros(now.checked_sub(moment.parse().ok()?)?);
    let filing = match key.as_str() {
        "" => None,
        key => Some(Filing { key: key.parse().ok()?, account: AccountId::from(account.as_str()) }),
    };
    Some((KeptText::new(text.clone(), filing, Duration::from_micros(life.parse().ok()?)), age))
}

fn micros(time: Duration) -> String {
    time.as_micros().to_string()
}

impl RecordCache for RedisRecords {
    fn look(&self, hash: &KeyHash) -> StoreFuture<Looked> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let names = [self.entry(hash), self.mark_of_hash(hash), self.mark(&Change::Everything)];
        let terms = [self.mark_of_key(""), self.mark_of_account(""), LONGEST.to_string()];
        StoreFuture::boxed(async move {
            let reply: Reply = server.run(&scripts.look, &names, &terms).await?;
            looked(&reply)
        })
    }

    fn keep(&self, hash: &KeyHash, Ticket(moment): Ticket, kept: &KeptText) -> StoreFuture<()> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let names = [self.entry(hash)];
        let filing = |part: fn(&Filing) -> String| kept.filing.as_ref().map(part).unwrap_or_default();
        let terms = [
            moment.to_string(),
            micros(kept.life),
            kept.text.clone(),
            filing(|filing| filing.key.to_string()),
            filing(|filing| filing.account.to_string()),
        ];
        StoreFuture::boxed(async move { server.run(&scripts.keep, &names, &terms).await })
    }

    fn void(&self, change: &Change, hashes: &[KeyHash], life: Duration) -> StoreFuture<()> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let mut names = vec![self.mark(change)];
        names.extend(hashes.iter().map(|hash| self.mark_of_hash(hash)));
        let terms = [life.as_millis().saturating_add(1).to_string(), names.len().to_string()];
        names.extend(hashes.iter().map(|hash| self.entry(hash)));
        StoreFuture::boxed(async move { server.run(&scripts.void, &names, &terms).await })
    }
}

impl fmt::Debug for RedisRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRecords").field("server", &self.server).finish_non_exhaustive()
    }
}

//! A second tier of the cache, in Redis.

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
use crate::store::{CacheLookup, CacheVersion, CachedSubject, CachedText, Change, RecordCache};

/// A second tier of a [`CachedStore`](crate::store::CachedStore) in Redis, in which each node stores records for all
/// nodes.
///
/// An entry stores the time at which its read of the authority began. A change sets a mark with its own time on its key
/// or its account. An entry is found only if it is newer than its marks. So a read that began before a revocation is
/// invalid, whichever of the two reaches Redis first and from whichever node. All times are those of the server's
/// clock.
///
/// Entries and marks expire by themselves. The life of a mark is the bound on staleness of the node that sets it:
/// configure the same bound on all nodes that share a server. Entries and marks are in one slot of a cluster, so that
/// one script can read both. Data that another program wrote is a miss, unless it is a correct entry. Anyone who can
/// write to this Redis can have a key admitted until the bound on staleness ends, so protect the server as well as the
/// authority. A server that loses its data (a restart, a replica that lags) loses entries and marks alike. A read that
/// was under way at that time may then be stored although it is invalid, for as long as the bound on staleness.
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
    invalidate: Script,
}

/// The maximum length of a text that is read. A record is a fraction of it.
const LONGEST: usize = 256 * 1024;

/// The time of the look, then the time, life, text, key and account of the entry.
type Reply = Vec<String>;

impl RedisRecords {
    /// Creates a second tier on this server.
    pub fn new(server: RedisServer) -> Self {
        let scripts = Scripts {
            look: Script::new(include_str!("look.lua")),
            keep: Script::new(include_str!("keep.lua")),
            invalidate: Script::new(include_str!("void.lua")),
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
            // The marks of the full hashes are set separately.
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

/// Reads a reply. An invalid entry counts as missing: it will be overwritten.
fn looked(reply: &[String]) -> Result<CacheLookup, StoreError> {
    let now = reply.first().and_then(|now| now.parse().ok());
    let now: u64 = now.ok_or_else(|| StoreError::corrupt("the cache lookup returned no time"))?;
    Ok(CacheLookup::new(CacheVersion(now), kept(now, reply.get(1..).unwrap_or_default())))
}

fn kept(now: u64, entry: &[String]) -> Option<(CachedText, Duration)> {
    let [moment, life, text, key, account] = entry else { return None };
    let age = Duration::from_micros(now.checked_sub(moment.parse().ok()?)?);
    let subject = match key.as_str() {
        "" => None,
        key => Some(CachedSubject { key: key.parse().ok()?, account: AccountId::from(account.as_str()) }),
    };
    Some((CachedText::new(text.clone(), subject, Duration::from_micros(life.parse().ok()?)), age))
}

fn micros(time: Duration) -> String {
    time.as_micros().to_string()
}

impl RecordCache for RedisRecords {
    fn get(&self, hash: &KeyHash) -> StoreFuture<CacheLookup> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let names = [self.entry(hash), self.mark_of_hash(hash), self.mark(&Change::Everything)];
        let terms = [self.mark_of_key(""), self.mark_of_account(""), LONGEST.to_string()];
        StoreFuture::boxed(async move {
            let reply: Reply = server.run(&scripts.look, &names, &terms).await?;
            looked(&reply)
        })
    }

    fn put(&self, hash: &KeyHash, CacheVersion(moment): CacheVersion, kept: &CachedText) -> StoreFuture<()> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let names = [self.entry(hash)];
        let subject =
            |part: fn(&CachedSubject) -> String| kept.subject.as_ref().map(part).unwrap_or_default();
        let terms = [
            moment.to_string(),
            micros(kept.life),
            kept.text.clone(),
            subject(|subject| subject.key.to_string()),
            subject(|subject| subject.account.to_string()),
        ];
        StoreFuture::boxed(async move { server.run(&scripts.keep, &names, &terms).await })
    }

    fn invalidate(&self, change: &Change, hashes: &[KeyHash], life: Duration) -> StoreFuture<()> {
        let (server, scripts) = (self.server.clone(), Arc::clone(&self.scripts));
        let mut names = vec![self.mark(change)];
        names.extend(hashes.iter().map(|hash| self.mark_of_hash(hash)));
        let terms = [life.as_millis().saturating_add(1).to_string(), names.len().to_string()];
        names.extend(hashes.iter().map(|hash| self.entry(hash)));
        StoreFuture::boxed(async move { server.run(&scripts.invalidate, &names, &terms).await })
    }
}

impl fmt::Debug for RedisRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRecords").field("server", &self.server).finish_non_exhaustive()
    }
}

//! Audit entries in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::audit::{AuditEntry, AuditId, AuditPage, AuditQuery, AuditStore};
use crate::clock::Timestamp;
use crate::future::StoreFuture;

/// The default number of entries.
const ENTRIES: usize = 10_000;

/// A store of audit entries in memory. It keeps the newest entries, 10,000 by default, and counts the older ones that it
/// drops. Nothing of it survives the process.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
///
/// use tollgate::audit::{Actor, AuditQuery, AuditStore, MemoryAuditStore, StoredAudit};
/// use tollgate::{Account, AccountManager, Config, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = r#"
/// #     sources = [{ header = "X-API-Key" }]
/// #     formats = [{ prefix = "acme_", body = 32 }]
/// #     [plans.free]
/// # "#;
/// let audit = Arc::new(MemoryAuditStore::new());
/// let builder = Config::from_toml(config, "gate.toml")?.builder()?.audit(StoredAudit::new(audit.clone()));
/// let gate = builder.store(MemoryStore::new()).build()?;
/// AccountManager::new(gate)?.by(Actor::operator("alice")).create(Account::new("ada", "free")).await?;
///
/// let mut query = AuditQuery::default();
/// query.actor = Some(Actor::operator("alice"));
/// let page = audit.query(&query).await?;
/// assert_eq!(page.entries[0].event.action.name(), "account created");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryAuditStore {
    kept: Mutex<Kept>,
    most: usize,
}

#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<AuditId, AuditEntry>,
    dropped: u64,
}

impl MemoryAuditStore {
    /// Creates an empty store of at most 10,000 entries.
    pub fn new() -> Self {
        Self::bounded(ENTRIES)
    }

    /// Creates an empty store of at most this number of entries.
    pub fn bounded(most: usize) -> Self {
        Self { kept: Mutex::default(), most }
    }

    /// Returns the number of entries that were dropped because of the bound.
    pub fn dropped(&self) -> u64 {
        self.kept().dropped
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryAuditStore {
    fn default() -> Self {
        Self::new()
    }
}

impl AuditStore for MemoryAuditStore {
    fn append(&self, entries: &[AuditEntry]) -> StoreFuture<()> {
        let mut kept = self.kept();
        for entry in entries {
            kept.entries.entry(entry.id).or_insert_with(|| entry.clone());
        }
        while kept.entries.len() > self.most {
            kept.entries.pop_first();
            kept.dropped += 1;
        }
        StoreFuture::ready(())
    }

    fn query(&self, query: &AuditQuery) -> StoreFuture<AuditPage> {
        let kept = self.kept();
        let newest = match query.ceiling() {
            Some(ceiling) => kept.entries.range(..ceiling),
            None => kept.entries.range(..),
        };
        let selected = newest.rev().map(|(_, entry)| entry).filter(|entry| query.admits(entry));
        let selected = selected.take(query.limit.saturating_add(1)).cloned().collect();
        StoreFuture::ready(AuditPage::new(query, selected))
    }

    fn forget(&self, before: Timestamp) -> StoreFuture<u64> {
        let mut kept = self.kept();
        let rest = kept.entries.split_off(&AuditId::lower_bound(before));
        let forgotten = std::mem::replace(&mut kept.entries, rest);
        StoreFuture::ready(u64::try_from(forgotten.len()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Action, Actor, AuditEvent};

    #[tokio::test]
    async fn oldest_entries_are_dropped_and_counted() {
        let store = MemoryAuditStore::bounded(2);
        for at in [30, 10, 20, 40] {
            let at = Timestamp::from_millis(at);
            let event = AuditEvent::new(at, Action::Swept, Actor::default());
            assert!(store.append(&[AuditEntry::new(event, 0)]).await.is_ok());
        }
        let page = store.query(&AuditQuery::default()).await;
        let times =
            page.map(|page| page.entries.iter().map(|one| one.event.at.as_millis()).collect::<Vec<_>>());
        assert!(times.is_ok_and(|times| times == [40, 30]));
        assert_eq!(store.dropped(), 2);
    }
}

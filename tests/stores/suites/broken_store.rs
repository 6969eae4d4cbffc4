//! A store that breaks one rule of its contract.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate::clock::Timestamp;
use tollgate::key::{KeyHash, KeyStatus};
use tollgate::name::AccountId;
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyAdmin, KeyQuery, Replaced};
use tollgate::{Account, KeyId, KeyRecord, KeyStore, MemoryStore, StoreError, StoreFuture};

rules! {
    FindsAnything,
    FindsNothing,
    ComparesHalfHashes,
    LosesMetadata,
    TakesEmptyForNone,
    TrimsNames,
    KeepsWholeSeconds,
    JudgesKeys,
    InsertsBlindly,
    TrustsTheRecordsAccount,
    CapsWhereThereIsNoCap,
    CountsDeadKeys,
    CountsEverybodysKeys,
    CountsThenInserts,
    ChecksThenPuts,
    GetsAnything,
    CachesForEver,
    KeepsRecordsAtHand,
    FindsNowWhatItFoundBefore,
    FindsNothingNow,
    KeepsVersions,
    LetsTheLastWriterWin,
    ReplacesWhatIsNotThere,
    ReplacesByAnyHash,
    ForgetsUses,
    ForgetsOldSecrets,
    KeepsOldSecrets,
    ListsBackwards,
    ListsLess,
    IgnoresLimits,
    ListsTheCursorToo,
    IgnoresTheAccount,
    IgnoresTheStatus,
    IgnoresTheEnvironment,
    IgnoresTheIssuer,
    ListsNothingWithoutAnAccount,
    DropsUses,
    LetsTheLastUseWin,
    CountsUsesAsChanges,
    StumblesOverUnknownKeys,
    WritesUsesOverChanges,
    ErasesNothing,
    ErasesTheAccountsKeys,
    SweepsNothing,
    SweepsWithoutCounting,
    SweepsIdleKeys,
    SweepsTheMomentToo,
    SweepsAll,
    FindsAnyAccount,
    LosesAgreements,
    FoldsAccounts,
    OverwritesAccounts,
    ChangesAllAccounts,
    KeepsAccountVersions,
    CountsAccountChangesOnKeys,
    LetsTheLastAccountWin,
    CreatesWhatItReplaces,
    ErasesNoAccount,
    ErasesAllAccounts,
    OffersNoWriteSide,
}

#[derive(Debug)]
pub(crate) struct Broken {
    inner: MemoryStore,
    rule: Rule,
    /// The earlier results of look-ups, by hash.
    cache: Mutex<HashMap<KeyHash, Option<Arc<KeyRecord>>>>,
    /// All inserted hashes, the newest last.
    history: Mutex<Vec<(KeyHash, KeyId)>>,
}

/// Long enough for the other racers to come between.
fn dawdle() {
    std::thread::sleep(Duration::from_millis(3));
}

impl Broken {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { inner: MemoryStore::new(), rule, cache: Mutex::default(), history: Mutex::default() }
    }

    fn breaks(&self, rule: Rule) -> bool {
        self.rule == rule
    }

    fn newest(&self) -> Option<Arc<KeyRecord>> {
        self.history.lock().unwrap().iter().rev().find_map(|(_, id)| self.inner.key(*id))
    }

    fn found(&self, hash: &KeyHash) -> Option<Arc<KeyRecord>> {
        let found = ready(self.inner.find(hash));
        let history = self.history.lock().unwrap().clone();
        let half = |(one, _): &&(KeyHash, KeyId)| one.as_bytes()[..16] == hash.as_bytes()[..16];
        match self.rule {
            Rule::FindsNothing => None,
            Rule::FindsAnything if found.is_none() => self.newest(),
            Rule::ComparesHalfHashes if found.is_none() => {
                history.iter().find(half).and_then(|(_, id)| self.inner.key(*id))
            }
            Rule::KeepsOldSecrets if found.is_none() => {
                history.iter().find(|(one, _)| one == hash).and_then(|(_, id)| self.inner.key(*id))
            }
            Rule::JudgesKeys => found.filter(|record| {
                record.status == KeyStatus::Active
                    && !record.has_expired(Timestamp::from(std::time::SystemTime::now()))
            }),
            Rule::ForgetsOldSecrets => found.filter(|record| record.hash == *hash),
            Rule::CachesForEver => self.cache.lock().unwrap().entry(*hash).or_insert(found).clone(),
            _ => found,
        }
    }

    /// The record as it is kept.
    fn kept(&self, record: &KeyRecord) -> KeyRecord {
        let mut record = record.clone();
        match self.rule {
            Rule::LosesMetadata => record.metadata.clear(),
            Rule::TakesEmptyForNone => {
                record.scopes = record.scopes.take().filter(|scopes| !scopes.is_empty());
            }
            Rule::TrimsNames => record.name = record.name.trim().to_owned(),
            Rule::KeepsWholeSeconds => {
                let whole = |at: Timestamp| Timestamp::from_millis(at.as_millis() / 1_000 * 1_000);
                record.created_at = record.created_at.map(whole);
            }
            _ => {}
        }
        record
    }

    fn put(&self, record: &KeyRecord) -> Inserted {
        self.inner.put_key(record.clone());
        Inserted::Done
    }

    fn of(&self, account: &AccountId) -> Vec<Arc<KeyRecord>> {
        let mut query = every();
        query.account = Some(account.clone());
        ready(self.inner.list(&query))
    }
}

fn every() -> KeyQuery {
    KeyQuery::first(usize::MAX)
}

/// Returns the answer of a store in memory, which is ready at once.
pub(crate) fn ready<T>(future: StoreFuture<T>) -> T {
    answer(future).unwrap()
}

pub(crate) fn answer<T>(future: StoreFuture<T>) -> Result<T, StoreError> {
    use std::task::{Context, Poll, Waker};
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a back end in memory answers at once"),
    }
}

impl KeyStore for Broken {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        StoreFuture::ready(self.found(hash))
    }

    fn find_cached(&self, hash: &KeyHash) -> Option<Arc<KeyRecord>> {
        let keeps = || self.cache.lock().unwrap().entry(*hash).or_insert(self.found(hash)).clone();
        if self.breaks(Rule::KeepsRecordsAtHand) { keeps() } else { None }
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        if self.breaks(Rule::OffersNoWriteSide) { None } else { Some(self) }
    }
}

impl KeyAdmin for Broken {
    fn insert(&self, insert: &InsertKey) -> StoreFuture<Inserted> {
        let mut insert = insert.clone();
        insert.record = self.kept(&insert.record);
        let record = &insert.record;
        self.history.lock().unwrap().push((record.hash, record.id));
        let most = insert.max_active.map_or(usize::MAX, |most| most as usize);
        let full = match self.rule {
            Rule::CapsWhereThereIsNoCap => self.of(&record.account.id).len() >= 10,
            Rule::CountsDeadKeys => self.of(&record.account.id).len() >= most,
            Rule::CountsEverybodysKeys => self.inner.len() >= most,
            Rule::CountsThenInserts => {
                let full = self.of(&record.account.id).len() >= most;
                dawdle();
                insert.max_active = None;
                full
            }
            _ => false,
        };
        let there = |account: &AccountId| self.inner.account(account.as_str()).is_some();
        match self.rule {
            _ if full => return StoreFuture::ready(Inserted::Full),
            Rule::InsertsBlindly => return StoreFuture::ready(self.put(record)),
            Rule::ChecksThenPuts if there(&record.account.id) => {
                let taken =
                    self.inner.key(record.id).is_some() || ready(self.inner.find(&record.hash)).is_some();
                dawdle();
                return StoreFuture::ready(if taken { Inserted::Taken } else { self.put(record) });
            }
            Rule::TrustsTheRecordsAccount if there(&record.account.id) => {
                self.inner.put_account(Account::clone(&record.account));
            }
            _ => {}
        }
        self.inner.insert(&insert)
    }

    fn find_now(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        match self.rule {
            Rule::FindsNowWhatItFoundBefore => {
                let found = ready(self.inner.find(hash));
                StoreFuture::ready(self.cache.lock().unwrap().entry(*hash).or_insert(found).clone())
            }
            Rule::FindsNothingNow => StoreFuture::ready(None),
            _ => self.find(hash),
        }
    }

    fn get(&self, id: KeyId) -> StoreFuture<Option<Arc<KeyRecord>>> {
        let got = self.inner.key(id);
        StoreFuture::ready(if self.breaks(Rule::GetsAnything) { got.or_else(|| self.newest()) } else { got })
    }

    fn account_of(&self, id: &AccountId) -> StoreFuture<Option<Arc<Account>>> {
        let known = self.inner.account(id.as_str());
        let any = || self.inner.accounts().into_iter().next();
        StoreFuture::ready(if self.breaks(Rule::FindsAnyAccount) { known.or_else(any) } else { known })
    }

    fn replace(&self, record: &KeyRecord) -> StoreFuture<Replaced> {
        let (mut record, stored) = (record.clone(), self.inner.key(record.id));
        self.history.lock().unwrap().push((record.hash, record.id));
        match (self.rule, &stored) {
            (Rule::LetsTheLastWriterWin, Some(stored)) => record.version = stored.version,
            (Rule::ReplacesWhatIsNotThere, None) => self.inner.put_key(record.clone()),
            (Rule::ReplacesByAnyHash, Some(stored)) if stored.version == record.version => {
                record.version += 1;
                self.inner.put_key(record);
                return StoreFuture::ready(Replaced::Done);
            }
            (Rule::TrustsTheRecordsAccount, Some(_)) => {
                self.inner.put_account(Account::clone(&record.account));
            }
            _ => {}
        }
        let replaced = ready(self.inner.replace(&record));
        if let (Replaced::Done, Some(changed)) = (replaced, self.inner.key(record.id)) {
            let mut changed = KeyRecord::clone(&changed);
            match self.rule {
                Rule::KeepsVersions => changed.version = record.version,
                Rule::ForgetsUses => changed.last_used_at = record.last_used_at,
                _ => return StoreFuture::ready(replaced),
            }
            self.inner.put_key(changed);
        }
        StoreFuture::ready(replaced)
    }

    fn list(&self, query: &KeyQuery) -> StoreFuture<Vec<Arc<KeyRecord>>> {
        let mut query = query.clone();
        match self.rule {
            Rule::IgnoresLimits => query.limit = usize::MAX,
            Rule::IgnoresTheAccount => query.account = None,
            Rule::IgnoresTheStatus => query.status = None,
            Rule::IgnoresTheEnvironment => query.environment = None,
            Rule::IgnoresTheIssuer => query.issued_by = None,
            Rule::ListsNothingWithoutAnAccount if query.account.is_none() => query.limit = 0,
            Rule::ListsTheCursorToo => {
                let cursor = query.after.take();
                let limit = std::mem::replace(&mut query.limit, usize::MAX);
                let mut listed = ready(self.inner.list(&query));
                listed.retain(|record| cursor.is_none_or(|cursor| record.id >= cursor));
                listed.truncate(limit);
                return StoreFuture::ready(listed);
            }
            _ => {}
        }
        let mut listed = ready(self.inner.list(&query));
        match self.rule {
            Rule::ListsBackwards => listed.reverse(),
            Rule::ListsLess => {
                for record in &mut listed {
                    Arc::make_mut(record).name.clear();
                }
            }
            _ => {}
        }
        StoreFuture::ready(listed)
    }

    fn touch(&self, uses: &[(KeyId, Timestamp)]) -> StoreFuture<()> {
        for (id, used) in uses {
            let Some(record) = self.inner.key(*id) else {
                if self.breaks(Rule::StumblesOverUnknownKeys) {
                    return StoreFuture::failed(StoreError::unavailable("no such key"));
                }
                continue;
            };
            let mut record = KeyRecord::clone(&record);
            match self.rule {
                Rule::DropsUses => return StoreFuture::ready(()),
                Rule::CountsUsesAsChanges => record.version += 1,
                Rule::WritesUsesOverChanges => (0..5).for_each(|_| dawdle()),
                Rule::LetsTheLastUseWin => {}
                _ => continue,
            }
            record.last_used_at = Some(*used);
            self.inner.put_key(record);
        }
        self.inner.touch(if self.breaks(Rule::LetsTheLastUseWin) { &[] } else { uses })
    }

    fn erase(&self, id: KeyId) -> StoreFuture<bool> {
        if self.breaks(Rule::ErasesNothing) {
            return StoreFuture::ready(true);
        }
        if let (Rule::ErasesTheAccountsKeys, Some(record)) = (self.rule, self.inner.key(id)) {
            let others = self.of(&record.account.id).into_iter().filter(|other| other.id != id);
            others.for_each(|other| drop(self.inner.erase(other.id)));
        }
        self.inner.erase(id)
    }

    fn sweep(&self, before: Timestamp) -> StoreFuture<u64> {
        let later = Timestamp::from_millis(before.as_millis() + 1);
        match self.rule {
            Rule::SweepsNothing => return StoreFuture::ready(2),
            Rule::SweepsWithoutCounting => drop(self.inner.sweep(before)),
            Rule::SweepsIdleKeys => {
                let idle = |record: &&Arc<KeyRecord>| record.last_used_at.is_some_and(|used| used < before);
                for record in ready(self.inner.list(&every())).iter().filter(idle) {
                    drop(self.inner.erase(record.id));
                }
            }
            Rule::SweepsTheMomentToo => return self.inner.sweep(later),
            Rule::SweepsAll => return self.inner.sweep(Timestamp::from_millis(i64::MAX)),
            _ => {}
        }
        self.inner.sweep(before)
    }
}

impl AccountAdmin for Broken {
    fn create_account(&self, account: &Account) -> StoreFuture<bool> {
        let mut account = account.clone();
        match self.rule {
            Rule::LosesAgreements => account.agreements.clear(),
            Rule::TakesEmptyForNone => {
                account.quotas = account.quotas.take().filter(|quotas| !quotas.is_empty());
            }
            Rule::FoldsAccounts => account.id = account.id.as_str().to_lowercase().into(),
            Rule::OverwritesAccounts => {
                self.inner.put_account(account);
                return StoreFuture::ready(true);
            }
            _ => {}
        }
        self.inner.create_account(&account)
    }

    fn replace_account(&self, account: &Account) -> StoreFuture<Replaced> {
        let (mut account, stored) = (account.clone(), self.inner.account(account.id.as_str()));
        match (self.rule, &stored) {
            (Rule::LetsTheLastAccountWin, Some(stored)) => account.version = stored.version,
            (Rule::CreatesWhatItReplaces, None) => drop(self.inner.create_account(&account)),
            (Rule::ChangesAllAccounts, _) => {
                for other in self.inner.accounts() {
                    let mut changed = Account::clone(&other);
                    changed.plan = account.plan.clone();
                    self.inner.put_account(changed);
                }
            }
            (Rule::CountsAccountChangesOnKeys, _) => {
                for record in self.of(&account.id) {
                    let mut changed = KeyRecord::clone(&record);
                    changed.version += 1;
                    self.inner.put_key(changed);
                }
            }
            _ => {}
        }
        let replaced = ready(self.inner.replace_account(&account));
        if self.breaks(Rule::KeepsAccountVersions) && replaced == Replaced::Done {
            self.inner.put_account(account);
        }
        StoreFuture::ready(replaced)
    }

    fn erase_account(&self, id: &AccountId) -> StoreFuture<bool> {
        if self.breaks(Rule::ErasesNoAccount) {
            return StoreFuture::ready(true);
        }
        if self.breaks(Rule::ErasesAllAccounts) {
            let others = self.inner.accounts().into_iter().filter(|other| other.id != *id);
            others.for_each(|other| drop(self.inner.erase_account(&other.id)));
        }
        self.inner.erase_account(id)
    }
}

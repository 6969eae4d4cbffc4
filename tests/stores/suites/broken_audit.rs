//! An audit store that breaks one rule of its contract.

use std::sync::Mutex;

use tollgate::StoreFuture;
use tollgate::audit::{AuditEntry, AuditPage, AuditQuery, AuditStore};
use tollgate::clock::Timestamp;

rules! {
    ListsOldestFirst,
    LosesDetails,
    LosesAddresses,
    ReplacesEntries,
    StoresAgain,
    RefusesNothing,
    KeepsSome,
    LosesRaces,
    ForgetsSequences,
    ListsOneMore,
    AlwaysHasMore,
    RepeatsTheCursor,
    IgnoresAccounts,
    IgnoresKeys,
    ComparesAddresses,
    TakesRolesForOne,
    IgnoresActions,
    IgnoresStarts,
    IncludesEnds,
    ForgetsNothing,
    ForgetsAll,
    ForgetsTheTimeItself,
    CountsNone,
}

#[derive(Debug)]
pub(crate) struct Broken {
    /// The entries in the order of their arrival, each time that they arrive.
    arrived: Mutex<Vec<AuditEntry>>,
    rule: Rule,
}

impl Broken {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { arrived: Mutex::default(), rule }
    }

    /// Answers from the entries in the order of their arrival.
    fn scan(&self, query: &AuditQuery, mut admits: impl FnMut(&AuditEntry) -> bool) -> AuditPage {
        let arrived = self.arrived.lock().unwrap();
        let mut entries: Vec<_> = arrived.iter().filter(|entry| admits(entry)).cloned().collect();
        entries.sort_by_key(|entry| match self.rule {
            Rule::ForgetsSequences => u128::from_be_bytes(*entry.id.as_bytes()) >> 80,
            _ => u128::from_be_bytes(*entry.id.as_bytes()),
        });
        if self.rule != Rule::ListsOldestFirst {
            entries.reverse();
        }
        entries.truncate(query.limit + 1);
        AuditPage::new(query, entries)
    }
}

impl AuditStore for Broken {
    fn append(&self, entries: &[AuditEntry]) -> StoreFuture<()> {
        if self.rule == Rule::RefusesNothing && entries.is_empty() {
            return StoreFuture::failed(tollgate::StoreError::rejected("nothing to append"));
        }
        let mut entries = entries.to_vec();
        for entry in &mut entries {
            let event = &mut entry.event;
            match self.rule {
                Rule::LosesDetails => event.detail = None,
                Rule::LosesAddresses => {
                    if let Some(label) = event.actor.label() {
                        event.actor = label.parse().unwrap();
                    }
                }
                _ => {}
            }
        }
        if self.rule == Rule::KeepsSome {
            entries.truncate(500);
        }
        if self.rule == Rule::LosesRaces && entries.len() == 1 {
            let mut page = self.arrived.lock().unwrap().clone();
            std::thread::sleep(std::time::Duration::from_millis(3));
            page.push(entries[0].clone());
            *self.arrived.lock().unwrap() = page;
            return StoreFuture::ready(());
        }
        let mut arrived = self.arrived.lock().unwrap();
        for entry in &entries {
            match arrived.iter_mut().find(|one| one.id == entry.id) {
                Some(one) if self.rule == Rule::ReplacesEntries => *one = entry.clone(),
                Some(_) if self.rule != Rule::StoresAgain => {}
                _ => arrived.push(entry.clone()),
            }
        }
        StoreFuture::ready(())
    }

    fn query(&self, query: &AuditQuery) -> StoreFuture<AuditPage> {
        let wider = |change: &dyn Fn(&mut AuditQuery)| {
            let mut wider = query.clone();
            change(&mut wider);
            wider
        };
        let wide = match self.rule {
            Rule::IgnoresAccounts => wider(&|query| query.account = None),
            Rule::IgnoresKeys => wider(&|query| query.key = None),
            Rule::IgnoresActions => wider(&|query| query.action = None),
            Rule::IgnoresStarts => wider(&|query| query.from = None),
            Rule::TakesRolesForOne => wider(&|query| query.actor = None),
            Rule::RepeatsTheCursor => wider(&|query| query.cursor = None),
            Rule::IncludesEnds => wider(&|query| query.to = None),
            _ => query.clone(),
        };
        let name = |entry: &AuditEntry| {
            entry.event.actor.label().map(|label| label.split_once(':').unwrap().1.to_owned())
        };
        let mut page = self.scan(query, |entry| {
            wide.admits(entry)
                && match (self.rule, &query.actor) {
                    (Rule::ComparesAddresses, Some(actor)) => entry.event.actor == *actor,
                    (Rule::TakesRolesForOne, Some(actor)) => {
                        name(entry) == actor.label().map(|label| label.split_once(':').unwrap().1.to_owned())
                    }
                    (Rule::IncludesEnds, _) => query.to.is_none_or(|to| entry.event.at <= to),
                    (Rule::RepeatsTheCursor, _) => query.cursor.is_none_or(|cursor| entry.id <= cursor),
                    _ => true,
                }
        });
        match self.rule {
            Rule::ListsOneMore => {
                let mut more = query.clone();
                more.limit += 1;
                page = self.scan(&more, |entry| query.admits(entry));
            }
            Rule::AlwaysHasMore => page.next = page.entries.last().map(|entry| entry.id),
            _ => {}
        }
        StoreFuture::ready(page)
    }

    fn forget(&self, before: Timestamp) -> StoreFuture<u64> {
        let mut arrived = self.arrived.lock().unwrap();
        let length = arrived.len();
        match self.rule {
            Rule::ForgetsNothing => {}
            Rule::ForgetsAll => arrived.clear(),
            Rule::ForgetsTheTimeItself => arrived.retain(|entry| entry.event.at > before),
            _ => arrived.retain(|entry| entry.event.at >= before),
        }
        let forgotten = u64::try_from(length - arrived.len()).unwrap();
        StoreFuture::ready(if self.rule == Rule::CountsNone { 0 } else { forgotten })
    }
}

//! The crossings that this node knows of, so that most events need only a comparison.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::account::QuotaScope;
use crate::alert::WRONG_BY;
use crate::alert::checks::millis;
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::name::{AccountId, PoolName};

/// The maximum number of crossings that a node remembers for a rule. The store remembers the others.
const MOST: usize = 100_000;

/// The minimum time, in milliseconds, between two questions to the ledger about one balance.
const PAUSE: i64 = 10_000;

/// The time, in milliseconds, after which a crossing that may be released elsewhere is claimed again. Another node, or the
/// operator, may have released it.
const CONFIRMED: i64 = 60_000;

/// The subject of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// An account, and the [`Grant::code`](crate::account::Grant::code) of its plan's grant, or 0. Periods of different
    /// grants cannot be compared.
    Account(AccountId, i64),
    Key(KeyId),
    /// A key, and the time at which it expires.
    Expiry(KeyId, Timestamp),
    /// The owner of a window, and the quota.
    Window(WindowOwner, Box<str>),
    BackEnd(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum WindowOwner {
    Key(KeyId),
    Account(AccountId),
    Pool(PoolName),
}

impl WindowOwner {
    /// Returns the owner of a window. `None` for a network, which raises no alert: it has no owner to tell.
    pub(super) fn new(counts: &QuotaScope, key: KeyId, account: &AccountId) -> Option<Self> {
        match counts {
            QuotaScope::Key => Some(Self::Key(key)),
            QuotaScope::Account => Some(Self::Account(account.clone())),
            QuotaScope::Network(_) => None,
            QuotaScope::Pool(pool) => Some(Self::Pool(pool.clone())),
        }
    }
}

impl Subject {
    /// Returns the subject as a store remembers it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Account(account, _) => account.to_string(),
            Self::Key(key) => key.to_string(),
            Self::Expiry(key, expires) => format!("{key} until {expires}"),
            Self::Window(WindowOwner::Key(key), quota) => format!("{quota} of key {key}"),
            Self::Window(WindowOwner::Account(account), quota) => format!("{quota} of account {account}"),
            Self::Window(WindowOwner::Pool(pool), quota) => format!("{quota} of pool {pool}"),
            Self::BackEnd(part) => (*part).to_owned(),
        }
    }
}

/// The crossings of one rule that this node knows of.
#[derive(Debug, Default)]
pub(super) struct Crossed {
    /// True if another node may release a crossing, so that it is claimed again at times.
    may_end_elsewhere: bool,
    /// The number of entries, so that a rule without any costs no lock.
    length: AtomicUsize,
    entries: RwLock<HashMap<Subject, Known>>,
    /// True if the entries were cleared, because there were too many.
    is_cleared: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    period: i64,
    state: State,
    /// The time in milliseconds at which the crossing was last found in the store.
    noted: i64,
    /// The time in milliseconds at which the ledger last contradicted an event.
    checked: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A claim is queued.
    Queued,
    /// The crossing is claimed.
    Told,
    /// A question is queued: is the value on the other side of the threshold again?
    Releasing,
    /// The ledger said that the threshold is not crossed.
    Refuted,
}

impl Known {
    /// Returns true if the ledger may be asked. A clock that was set back counts as passed time.
    fn is_due(&self, now: Timestamp) -> bool {
        !(0..PAUSE).contains(&now.as_millis().saturating_sub(self.checked))
    }

    /// Returns true if a crossing of a period needs no claim now.
    fn covers(&self, period: i64, now: Timestamp, may_end_elsewhere: bool) -> bool {
        let age = now.as_millis().saturating_sub(self.noted);
        // The period of a clock that was ahead hides no other.
        let holds = self.period >= period && age >= -millis(WRONG_BY);
        match self.state {
            State::Queued | State::Releasing => holds,
            State::Told => holds && (!may_end_elsewhere || age < CONFIRMED),
            State::Refuted => !self.is_due(now),
        }
    }
}

impl Crossed {
    /// Creates the crossings of a rule.
    pub(super) fn new(may_end_elsewhere: bool) -> Self {
        Self { may_end_elsewhere, ..Self::default() }
    }

    /// Notes a crossing. Returns true if it is to be claimed.
    pub(super) fn cross(&self, subject: &Subject, period: i64, now: Timestamp) -> bool {
        let covers = |known: &Known| known.covers(period, now, self.may_end_elsewhere);
        if self.length.load(Ordering::Acquire) > 0 && self.entries().get(subject).is_some_and(covers) {
            return false;
        }
        let mut entries = self.entries_mut();
        if entries.get(subject).is_some_and(covers) {
            return false;
        }
        if entries.len() >= MOST {
            // The store knows which crossings were told.
            entries.clear();
            self.is_cleared.store(true, Ordering::Release);
        }
        let noted = now.as_millis();
        entries.insert(subject.clone(), Known { period, state: State::Queued, noted, checked: i64::MIN });
        self.length.store(entries.len(), Ordering::Release);
        true
    }

    /// Notes that a value is not across the threshold. Returns the period of the crossing if it is to be released.
    pub(super) fn uncross(
        &self,
        subject: impl FnOnce() -> Subject,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<i64> {
        if self.length.load(Ordering::Acquire) == 0 {
            return None;
        }
        let subject = subject();
        let known = *self.entries().get(&subject).filter(|known| known.state == State::Told)?;
        let now = now();
        let is_told = |known: &&Known| known.state == State::Told && known.is_due(now);
        Some(&known).filter(is_told)?;
        let mut entries = self.entries_mut();
        let known = entries.get_mut(&subject).filter(|known| is_told(&&**known))?;
        known.state = State::Releasing;
        Some(known.period)
    }

    /// Notes that a crossing was claimed by another node, or before this process.
    pub(super) fn learn(&self, subject: Subject, period: i64, now: Timestamp) {
        let mut entries = self.entries_mut();
        if entries.len() < MOST {
            let noted = now.as_millis();
            let learnt = Known { period, state: State::Told, noted, checked: i64::MIN };
            let known = entries.entry(subject).or_insert(learnt);
            if known.period < period {
                *known = learnt;
            } else if known.state == State::Refuted {
                // It is to be released when the value is on the other side of the threshold.
                *known = Known { checked: known.checked, ..learnt };
            }
            self.length.store(entries.len(), Ordering::Release);
        }
    }

    /// Returns true if the entries were cleared since the last call.
    pub(super) fn was_cleared(&self) -> bool {
        self.is_cleared.swap(false, Ordering::AcqRel)
    }

    /// Notes that a crossing is claimed.
    pub(super) fn tell(&self, subject: &Subject, now: Timestamp) {
        if let Some(known) = self.entries_mut().get_mut(subject) {
            (known.state, known.noted) = (State::Told, now.as_millis());
        }
    }

    /// Notes that the ledger contradicted an event about a crossing.
    pub(super) fn refute(&self, subject: &Subject, now: Timestamp) {
        if let Some(known) = self.entries_mut().get_mut(subject) {
            (known.state, known.checked) = (State::Refuted, now.as_millis());
        }
    }

    /// Notes that a crossing stays: the value is still across the threshold.
    pub(super) fn keep(&self, subject: &Subject, now: Timestamp) {
        if let Some(known) = self.entries_mut().get_mut(subject)
            && known.state == State::Releasing
        {
            (known.state, known.checked) = (State::Told, now.as_millis());
        }
    }

    /// Forgets a crossing, so that the next one is claimed.
    pub(super) fn forget(&self, subject: &Subject) {
        let mut entries = self.entries_mut();
        entries.remove(subject);
        self.length.store(entries.len(), Ordering::Release);
    }

    /// Forgets the crossings of an account's balance and windows.
    pub(super) fn forget_account(&self, account: &AccountId) {
        let mut entries = self.entries_mut();
        entries.retain(|subject, _| match subject {
            Subject::Account(of, _) | Subject::Window(WindowOwner::Account(of), _) => of != account,
            _ => true,
        });
        self.length.store(entries.len(), Ordering::Release);
    }

    fn entries(&self) -> RwLockReadGuard<'_, HashMap<Subject, Known>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries_mut(&self) -> RwLockWriteGuard<'_, HashMap<Subject, Known>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

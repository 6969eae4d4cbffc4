//! The log events of a back end that fails and returns: one event each, and no more.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tollgate::account::{Allowance, QuotaPolicy, Quotas};
use tollgate::credit::{Charge, ChargeId, LeaseTerms, LeasedLedger};
use tollgate::guard::{GuardLimits, Resilient};
use tollgate::key::{KeyHash, KeyHasher};
use tollgate::limit::{Draw, LocalFallback, LocalShare};
use tollgate::store::{
    CacheLookup, CacheVersion, CachedStore, CachedText, Change, InvalidationBus, InvalidationSink,
    RecordCache,
};
use tollgate::{
    Account, Clock, CreditLedger, Credits, KeyId, KeyRecord, KeyStore, MemoryLedger, MemoryLimiter,
    MemoryStore, RateLimiter, StoreError, StoreFuture,
};

use crate::log::Log;
use crate::support::remote::{Fault, Remote, TokioClock};

/// The events so far, at warning or information; what is at debug is told apart.
fn told(log: &Log) -> Vec<String> {
    let text = log.0.lock().unwrap();
    text.lines()
        .filter(|line| line.starts_with("WARN event") || line.starts_with("INFO event"))
        .map(str::to_owned)
        .collect()
}

/// Checks the last event: how many there are, its level, its words and the back end.
#[track_caller]
fn last(log: &Log, count: usize, level: &str, words: &str, back_end: &str) {
    let told = told(log);
    assert_eq!(told.len(), count, "{told:#?}");
    let event = told.last().unwrap();
    let named = format!("back_end=\"{back_end}\"");
    assert!(event.starts_with(level) && event.contains(words) && event.contains(&named), "{event}");
    assert!(!event.contains("refused"), "the text of the error is at debug level: {event}");
    if level == "WARN" {
        let text = log.0.lock().unwrap();
        let debug = text.lines().rfind(|line| line.starts_with("DEBUG event")).unwrap();
        assert!(debug.contains(&named), "{debug}");
    }
}

fn record() -> (KeyRecord, KeyHash) {
    let hash = KeyHasher::sha256().hash(b"key");
    (KeyRecord::new(KeyId::from_bytes([1; 16]), hash, Arc::new(Account::new("acme", "pro"))), hash)
}

#[tokio::test(start_paused = true)]
async fn circuit_logs_open_and_close() {
    let log = Log::default();
    let _telling = tracing::subscriber::set_default(log.clone());
    let store =
        Resilient::with_clock(Remote::new(MemoryStore::new()), GuardLimits::default(), TokioClock::new());
    let (_, hash) = record();
    for round in 0..3 {
        store.back_end().set(Fault::Down);
        for _ in 0..100 {
            store.find(&hash).await.unwrap_err();
        }
        last(&log, round * 2 + 1, "WARN", "circuit breaker is open", "Remote<MemoryStore>");
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The call that finds out fails as well: nothing new.
        store.find(&hash).await.unwrap_err();
        store.back_end().set(Fault::None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        for _ in 0..100 {
            store.find(&hash).await.unwrap();
        }
        last(&log, round * 2 + 2, "INFO", "circuit breaker is closed", "Remote<MemoryStore>");
    }
    assert!(log.0.lock().unwrap().contains("connection refused"), "at debug level");
}

/// A wrong password or a missing right fails at once, and so does a server that is away; either may be behind a guard or not.
#[tokio::test(start_paused = true)]
async fn fallback_logs_start_and_end() {
    let log = Log::default();
    let _telling = tracing::subscriber::set_default(log.clone());
    let (clock, remote) = (TokioClock::new(), Remote::new(MemoryLimiter::new()));
    let limiter = LocalFallback::new(remote.clone(), LocalShare::new(NonZeroU32::MIN));
    let ((key, _), quotas) = (record(), Quotas::new(["1000 per second".parse::<QuotaPolicy>().unwrap()]));
    let draw = async || drop(limiter.draw(&Draw::new(&key, &quotas, clock.now())).await.unwrap());
    for (round, fault) in [Fault::Down, Fault::Corrupt, Fault::Unwilling, Fault::Lost].into_iter().enumerate()
    {
        remote.set(fault);
        for _ in 0..20 {
            draw().await;
        }
        last(&log, round * 2 + 1, "WARN", "its own share", "Remote<MemoryLimiter>");
        tokio::time::sleep(Duration::from_mins(1)).await;
        remote.set(Fault::None);
        for _ in 0..20 {
            draw().await;
        }
        last(&log, round * 2 + 2, "INFO", "has recovered", "Remote<MemoryLimiter>");
    }
    // One that fails every other time floods no log.
    let before = told(&log).len();
    for place in 0..1_000 {
        remote.set(if place % 2 == 0 { Fault::Down } else { Fault::None });
        draw().await;
    }
    let told = told(&log).len() - before;
    assert!(told <= 30, "{told} events in a second");
}

#[tokio::test(start_paused = true)]
async fn stale_answers_log_start_and_end() {
    let log = Log::default();
    let _telling = tracing::subscriber::set_default(log.clone());
    let (store, (record, hash)) = (MemoryStore::new(), record());
    store.put_key(record);
    let remote = Remote::new(store);
    let cached = CachedStore::builder(remote.clone())
        .clock(TokioClock::new())
        .stale_for_at_most(Duration::from_secs(1))
        .stale_if_error(Duration::from_hours(1))
        .build()
        .unwrap();
    assert!(cached.find(&hash).await.unwrap().is_some());
    for round in 0..2 {
        remote.set(if round == 0 { Fault::Down } else { Fault::Hung });
        // The record is fresh still: nothing is stale.
        assert!(cached.find(&hash).await.unwrap().is_some());
        assert_eq!(told(&log).len(), round * 2);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(cached.find(&hash).await.unwrap().is_some());
        }
        last(&log, round * 2 + 1, "WARN", "stale records are served", "Remote<MemoryStore>");
        remote.set(Fault::None);
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(cached.find(&hash).await.unwrap().is_some());
        }
        last(&log, round * 2 + 2, "INFO", "no stale records", "Remote<MemoryStore>");
    }
}

/// A second tier and a channel, both of which are there or not.
#[derive(Debug, Clone)]
struct Side(Arc<std::sync::Mutex<bool>>);

impl Side {
    fn there(&self) -> Result<(), StoreError> {
        if *self.0.lock().unwrap() { Ok(()) } else { Err(StoreError::unavailable("connection refused")) }
    }
}

impl RecordCache for Side {
    fn get(&self, _: &KeyHash) -> StoreFuture<CacheLookup> {
        self.there().map(|()| CacheLookup::new(CacheVersion(1), None)).into()
    }

    fn put(&self, _: &KeyHash, _: CacheVersion, _: &CachedText) -> StoreFuture<()> {
        self.there().into()
    }

    fn invalidate(&self, _: &Change, _: &[KeyHash], _: Duration) -> StoreFuture<()> {
        self.there().into()
    }
}

impl InvalidationBus for Side {
    fn announce(&self, _: &Change) -> StoreFuture<()> {
        self.there().into()
    }

    fn listen(&self, ear: InvalidationSink) -> StoreFuture<()> {
        let side = self.clone();
        StoreFuture::boxed(async move {
            side.there()?;
            ear.open();
            while side.there().is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            side.there()
        })
    }
}

#[tokio::test(start_paused = true)]
async fn second_tier_and_channel_log_once() {
    let log = Log::default();
    let _telling = tracing::subscriber::set_default(log.clone());
    let (there, hash) = (Arc::new(std::sync::Mutex::new(true)), record().1);
    let builder =
        CachedStore::builder(MemoryStore::new()).clock(TokioClock::new()).stale_for_at_most(Duration::ZERO);
    let tier = builder.second_tier(Side(Arc::clone(&there))).build().unwrap();
    for round in 0..2 {
        *there.lock().unwrap() = false;
        for _ in 0..50 {
            assert!(tier.find(&hash).await.unwrap().is_none());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        last(&log, round * 2 + 1, "WARN", "second tier", "Side");
        *there.lock().unwrap() = true;
        for _ in 0..10 {
            assert!(tier.find(&hash).await.unwrap().is_none());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        last(&log, round * 2 + 2, "INFO", "second tier", "Side");
    }
    drop(tier);
    let channel = CachedStore::builder(MemoryStore::new())
        .clock(TokioClock::new())
        .invalidation_bus(Side(Arc::clone(&there)))
        .build()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(told(&log).len(), 4, "it was open from the start");
    *there.lock().unwrap() = false;
    tokio::time::sleep(Duration::from_mins(1)).await;
    last(&log, 5, "WARN", "is disconnected", "Side");
    *there.lock().unwrap() = true;
    tokio::time::sleep(Duration::from_mins(1)).await;
    last(&log, 6, "INFO", "is reconnected", "Side");
    drop(channel);
}

#[tokio::test(start_paused = true)]
async fn leases_log_authority_failure() {
    let log = Log::default();
    let _telling = tracing::subscriber::set_default(log.clone());
    let (clock, authority) = (TokioClock::new(), MemoryLedger::new());
    authority.set_balance("acme", Credits::new(100_000), clock.now().wall());
    let (remote, account) = (Remote::new(authority), Account::new("acme", "pro"));
    let ledger = LeasedLedger::with_clock(remote.clone(), LeaseTerms::of_nodes(NonZeroU32::MIN), clock);
    let mut next = 0_u128;
    let mut serve = async || {
        next += 1;
        let (id, one) = (ChargeId::from_bytes(next.to_be_bytes()), Credits::new(1));
        let charged = ledger.charge(&Charge::new(id, &account, one, &Allowance::None, clock.now())).await;
        let _ = ledger.settle(&crate::support::settlement(&account, id, one)).await;
        charged.is_ok()
    };
    for round in 0..2 {
        for _ in 0..50 {
            assert!(serve().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(told(&log).len(), round * 2);
        remote.set(Fault::Down);
        for _ in 0..400 {
            serve().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        last(&log, round * 2 + 1, "WARN", "leased credits fails", "Remote<MemoryLedger>");
        remote.set(Fault::None);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(serve().await);
        last(&log, round * 2 + 2, "INFO", "has recovered", "Remote<MemoryLedger>");
    }
}

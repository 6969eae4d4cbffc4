//! The published suites: the back ends in memory keep them, by whatever pointer they are held; one that breaks a rule does
//! not, and there is no check that nothing breaks.
#![cfg(all(feature = "conformance", feature = "memory"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

/// The rules that a back end may break, one at a time.
macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident,)+) => {
        /// The rule that it breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Rule { $($(#[$doc])* $rule),+ }

        pub(crate) const RULES: &[Rule] = &[$(Rule::$rule),+];
    };
}

mod broken_alerts;
mod broken_audit;
mod broken_ledger;
mod broken_limiter;
pub(crate) mod broken_store;
mod broken_usage;
#[allow(dead_code, unreachable_pub, reason = "its main is not run here")]
use crate::custom_store;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use tollgate::alert::{AlertStore, MemoryAlertStore};
use tollgate::audit::{AuditStore, MemoryAuditStore};
use tollgate::conformance::{self, Capability, Suite};
use tollgate::credit::CreditAdmin;
use tollgate::key::KeyHasher;
use tollgate::store::AccountAdmin;
use tollgate::usage::{MemoryUsage, UsageStore};
use tollgate::{Account, KeyId, KeyRecord, MemoryLedger, MemoryLimiter, MemoryStore, RateLimiter};

/// A ledger in memory decides before its caller can ask for a refund: no charge comes after it.
fn credits(ledger: impl CreditAdmin) -> Suite {
    conformance::credits(ledger).without(Capability::LateCharges)
}

#[tokio::test]
async fn the_store_in_memory_keeps_the_contract() {
    conformance::keys(MemoryStore::new()).run().await.assert();
    conformance::keys(Arc::new(MemoryStore::new()) as Arc<dyn AccountAdmin>).run().await.assert();
}

#[tokio::test]
async fn the_ledger_in_memory_keeps_the_contract() {
    credits(MemoryLedger::new()).run().await.assert();
    credits(Arc::new(MemoryLedger::new()) as Arc<dyn CreditAdmin>).run().await.assert();
}

#[tokio::test]
async fn the_limiter_in_memory_keeps_the_contract() {
    conformance::limits(MemoryLimiter::new()).run().await.assert();
    conformance::limits(Arc::new(MemoryLimiter::new()) as Arc<dyn RateLimiter>).run().await.assert();
}

#[tokio::test]
async fn audit_store_in_memory_keeps_contract() {
    conformance::audit(MemoryAuditStore::new()).run().await.assert();
    conformance::audit(Arc::new(MemoryAuditStore::new()) as Arc<dyn AuditStore>).run().await.assert();
}

#[tokio::test]
async fn usage_in_memory_keeps_the_contract() {
    conformance::usage(MemoryUsage::new()).run().await.assert();
    conformance::usage(Arc::new(MemoryUsage::new()) as Arc<dyn UsageStore>).run().await.assert();
}

#[tokio::test]
async fn alerts_in_memory_keep_the_contract() {
    conformance::alerts(MemoryAlertStore::new()).run().await.assert();
    conformance::alerts(Arc::new(MemoryAlertStore::new()) as Arc<dyn AlertStore>).run().await.assert();
}

#[tokio::test]
async fn example_store_keeps_the_contract() {
    conformance::keys(custom_store::Shelf::default()).run().await.assert();
}

/// One store in use by many: no check stands in the way of another.
#[tokio::test(flavor = "multi_thread")]
async fn suites_run_at_the_same_time_on_one_store() {
    let store = Arc::new(MemoryStore::new());
    let (ledger, limiter) = (Arc::new(MemoryLedger::new()), Arc::new(MemoryLimiter::new()));
    let audit = Arc::new(MemoryAuditStore::new());
    let usage = Arc::new(MemoryUsage::new());
    let alerts = Arc::new(MemoryAlertStore::new());
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..3 {
        running.spawn(conformance::keys(Arc::clone(&store)).run());
        running.spawn(credits(Arc::clone(&ledger)).run());
        running.spawn(conformance::limits(Arc::clone(&limiter)).run());
        running.spawn(conformance::audit(Arc::clone(&audit)).run());
        running.spawn(conformance::usage(Arc::clone(&usage)).run());
        running.spawn(conformance::alerts(Arc::clone(&alerts)).run());
    }
    for report in running.join_all().await {
        report.assert();
    }
}

#[tokio::test]
async fn look_ups_are_checked_without_writes() {
    let store = MemoryStore::new();
    let hash = KeyHasher::sha256().hash(b"acme_secret");
    let record = KeyRecord::new(KeyId::generate(), hash, Arc::new(Account::new("acme", "pro")));
    store.put_key(record.clone());
    conformance::look_ups(Arc::new(store), [record.clone()]).run().await.assert();
    let report = conformance::look_ups(MemoryStore::new(), [record]).run().await;
    assert_eq!(report.failures()[0].check(), "every_key_is_found_by_its_hashes");
}

#[tokio::test]
async fn left_out_checks_are_reported() {
    let report = credits(MemoryLedger::new()).run().await;
    assert_eq!(report.left_out().len(), 4, "{report}");
    assert!(report.left_out().iter().all(|(_, lack)| *lack == Capability::LateCharges));
    assert!(report.to_string().contains("the owner declares no LateCharges"), "{report}");
    // Undeclared, the lack is found.
    let report = conformance::charges(MemoryLedger::new()).run().await;
    let failed: Vec<_> = report.failures().iter().map(conformance::Failure::check).collect();
    assert!(failed.contains(&"a_charge_that_arrives_after_its_refund_takes_nothing"), "{report}");
}

/// Runs a suite against back ends that break a rule each: each rule is found, and each check finds one.
async fn every_rule_is_found<R: Debug + Copy>(rules: &[R], suite: impl Fn(R) -> Suite) {
    let (mut checks, mut found) = (BTreeSet::new(), BTreeSet::new());
    for rule in rules {
        let report = suite(*rule).run().await;
        assert!(!report.failures().is_empty(), "{rule:?} is not found: {report}");
        checks.extend(report.held().iter().copied());
        found.extend(report.failures().iter().map(conformance::Failure::check));
    }
    let idle: Vec<_> = checks.difference(&found).collect();
    assert!(idle.is_empty(), "these checks found none of the rules broken: {idle:#?}");
}

#[tokio::test]
async fn every_broken_store_rule_is_found() {
    use broken_store::{Broken, RULES};
    every_rule_is_found(RULES, |rule| conformance::keys(Broken::new(rule))).await;
}

#[tokio::test]
async fn every_broken_ledger_rule_is_found() {
    use broken_ledger::{Broken, RULES};
    every_rule_is_found(RULES, |rule| credits(Broken::new(rule))).await;
}

#[tokio::test]
async fn every_broken_limiter_rule_is_found() {
    use broken_limiter::{Broken, RULES};
    every_rule_is_found(RULES, |rule| conformance::limits(Broken::new(rule))).await;
}

#[tokio::test]
async fn every_broken_audit_store_rule_is_found() {
    use broken_audit::{Broken, RULES};
    every_rule_is_found(RULES, |rule| conformance::audit(Broken::new(rule))).await;
}

#[tokio::test]
async fn every_broken_usage_rule_is_found() {
    use broken_usage::{Broken, RULES};
    every_rule_is_found(RULES, |rule| conformance::usage(Broken::new(rule))).await;
}

#[tokio::test]
async fn every_broken_alert_rule_is_found() {
    use broken_alerts::{Broken, RULES};
    every_rule_is_found(RULES, |rule| conformance::alerts(Broken::new(rule))).await;
}

/// A limiter on its own time: what waits a moment stands in for what needs the time of the calls.
#[tokio::test]
async fn real_time_limiter_is_checked_by_waiting() {
    use broken_limiter::{Broken, Rule};
    let on_its_own_time =
        |rule| Suite::without(conformance::limits(Broken::on_its_own_time(rule)), Capability::InjectedTime);
    let kept = on_its_own_time(None).run().await;
    kept.assert();
    assert!(kept.held().contains(&"a_window_refills_as_time_goes_by"), "{kept}");
    assert!(kept.left_out().len() >= 5, "{kept}");
    let stands_still = on_its_own_time(Some(Rule::StandsStill)).run().await;
    let failed: Vec<_> = stands_still.failures().iter().map(conformance::Failure::check).collect();
    let expected = [
        "a_refused_request_is_admitted_after_the_wait",
        "a_window_refills_as_time_goes_by",
        "a_strict_window_admits_again_after_the_wait",
    ];
    assert_eq!(failed, expected);
}

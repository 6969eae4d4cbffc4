//! The policy of a gate for the failure of its back ends.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::credit::CreditLedger;
use crate::error::ConfigError;
use crate::guard::{GuardLimits, Resilient};
use crate::limit::{AllowOnFailure, RateLimiter};
use crate::store::{CachedStore, KeyStore};

/// The policy of a gate for each of its back ends: the guard in front of it, and the answer while it fails.
///
/// [`GateBuilder::back_end_policies`](crate::GateBuilder::back_end_policies) sets it, and the table `[back_ends]` of the
/// [configuration file](crate::config). A back end without a policy is used as the service gave it.
///
/// # Example
///
/// Known keys are served for five minutes while the store fails, and each of four nodes limits by its share:
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
///
/// use tollgate::guard::{BackEndPolicies, LimiterFailure, LimiterPolicy, StorePolicy};
/// use tollgate::Gate;
///
/// let mut policies = BackEndPolicies::default();
/// policies.store = Some(StorePolicy { stale: Some(Duration::from_mins(5)), ..StorePolicy::default() });
/// let local = LimiterFailure::Local(NonZeroU32::new(4).unwrap());
/// policies.limiter = Some(LimiterPolicy { on_failure: local, ..LimiterPolicy::default() });
/// let builder = Gate::builder().back_end_policies(policies);
/// # drop(builder);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackEndPolicies {
    /// The policy for the key store.
    pub store: Option<StorePolicy>,
    /// The policy for the rate limiter.
    pub limiter: Option<LimiterPolicy>,
    /// The limits of the guard of the ledger. A ledger that fails always denies: no credit may be spent twice.
    pub ledger: Option<GuardLimits>,
}

/// The guard of a gate's ledger.
pub(crate) type LedgerGuard = Resilient<Arc<dyn CreditLedger>>;

/// The policy for a key store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePolicy {
    /// The limits of the guard.
    pub limits: GuardLimits,
    /// The time for which a known key is served while the store fails, by a [`CachedStore`]. `None`: every request is
    /// denied with 503.
    pub stale: Option<Duration>,
    /// The time for which a record that was read is used without another read, if [`stale`](Self::stale) is set. It bounds
    /// the time until a revocation by another node is seen. Defaults to ten seconds.
    pub cache: Duration,
}

/// The policy for a rate limiter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimiterPolicy {
    /// The limits of the guard.
    pub limits: GuardLimits,
    /// The answer while the limiter fails.
    pub on_failure: LimiterFailure,
}

/// The answer of a gate while its rate limiter fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimiterFailure {
    /// Requests are denied with 503.
    #[default]
    Deny,
    /// Each node limits by its share of the quotas, for this number of nodes: see
    /// [`LocalFallback`](crate::limit::LocalFallback).
    Local(NonZeroU32),
    /// Requests are admitted without a limit: see [`AllowOnFailure`].
    Allow,
}

impl Default for StorePolicy {
    fn default() -> Self {
        Self { limits: GuardLimits::default(), stale: None, cache: Duration::from_secs(10) }
    }
}

impl BackEndPolicies {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if let Some(policy) = &self.store {
            policy.limits.check().map_err(|error| error.in_member("back_ends.store"))?;
            if policy.stale.is_some_and(|stale| stale.is_zero()) {
                let expected = "write a time as in `5min`, or `\"deny\"`";
                let error =
                    ConfigError::new("0s", "a key that is served for no time is not served", expected);
                return Err(error.in_member("back_ends.store.on_failure.stale"));
            }
        }
        if let Some(policy) = &self.limiter {
            policy.limits.check().map_err(|error| error.in_member("back_ends.limiter"))?;
            if cfg!(not(feature = "memory")) && matches!(policy.on_failure, LimiterFailure::Local(_)) {
                let expected = "enable the feature `memory`, or write `\"deny\"`";
                let error = ConfigError::new("local", "a share of a quota is counted in memory", expected);
                return Err(error.in_member("back_ends.limiter.on_failure"));
            }
        }
        match &self.ledger {
            Some(limits) => limits.check().map_err(|error| error.in_member("back_ends.ledger")),
            None => Ok(()),
        }
    }

    pub(crate) fn store(
        &self,
        store: Arc<dyn KeyStore>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn KeyStore>, ConfigError> {
        let Some(policy) = &self.store else { return Ok(store) };
        let guarded = Resilient::with_clock(store, policy.limits.clone(), Arc::clone(clock));
        let Some(stale) = policy.stale else { return Ok(Arc::new(guarded)) };
        let cached = CachedStore::builder(guarded)
            .stale_for_at_most(policy.cache)
            .stale_if_error(stale)
            // The guard observes a failure before the cache stops waiting.
            .wait_at_most(policy.limits.time + Duration::from_secs(1))
            .clock(Arc::clone(clock));
        Ok(Arc::new(cached.build()?))
    }

    pub(crate) fn limiter(
        &self,
        limiter: Arc<dyn RateLimiter>,
        clock: &Arc<dyn Clock>,
    ) -> Arc<dyn RateLimiter> {
        let Some(policy) = &self.limiter else { return limiter };
        let guarded = Resilient::with_clock(limiter, policy.limits.clone(), Arc::clone(clock));
        match policy.on_failure {
            LimiterFailure::Allow => Arc::new(AllowOnFailure::new(guarded)),
            #[cfg(feature = "memory")]
            LimiterFailure::Local(nodes) => {
                use crate::limit::{LocalFallback, LocalShare};
                Arc::new(LocalFallback::new(guarded, LocalShare::new(nodes)))
            }
            _ => Arc::new(guarded),
        }
    }

    /// Returns the guard of the ledger.
    pub(crate) fn ledger(
        &self,
        ledger: &Arc<dyn CreditLedger>,
        clock: &Arc<dyn Clock>,
    ) -> Option<LedgerGuard> {
        let limits = self.ledger.clone()?;
        Some(Resilient::with_clock(Arc::clone(ledger), limits, Arc::clone(clock)))
    }
}

impl GuardLimits {
    /// Returns an error for limits with which no call could be made.
    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |member: &str, problem: &str, expected: &str| {
            Err(ConfigError::new("0", problem, expected).in_member(member))
        };
        if self.time.is_zero() {
            return refuse("timeout", "a call must be given some time", "write a time as in `1s`");
        }
        if self.waiting == 0 {
            return refuse(
                "waiting",
                "no call could be made",
                "write the number of calls that may wait, as in `1024`",
            );
        }
        if self.failures == 0 {
            let expected = "write the number of consecutive failures, as in `5`";
            return refuse("failures", "the circuit would always be open", expected);
        }
        Ok(())
    }
}

//! Requests without a key that are served under a plan of their own.

use std::sync::Arc;

use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::account::{Account, InFlightLimit, NetworkCut, QuotaPolicy, QuotaScope};
use crate::gate::Core;
use crate::key::{KeyFormat, KeyHash, KeyId, KeyRecord};
use crate::name::{Environment, PlanName};
use crate::query;
use crate::request::{HeaderCount, RequestView};

/// The plan of requests without a key, and the networks that its quotas count.
#[derive(Debug, Clone)]
pub(super) struct AnonymousTier {
    pub(super) plan: PlanName,
    pub(super) cut: NetworkCut,
}

impl AnonymousTier {
    /// Returns a quota as it applies to requests without a key: the network takes the place of the key and of the
    /// account.
    pub(super) fn counted(&self, policy: QuotaPolicy) -> QuotaPolicy {
        let counts = self.scope(policy.counts());
        policy.counting(counts)
    }

    /// Returns a limit on requests in flight in the same way.
    pub(super) fn counted_in_flight(&self, limit: InFlightLimit) -> InFlightLimit {
        let counts = self.scope(limit.counts());
        limit.counting(counts)
    }

    fn scope(&self, counts: &QuotaScope) -> QuotaScope {
        match counts {
            QuotaScope::Key | QuotaScope::Account => QuotaScope::Network(self.cut),
            QuotaScope::Network(_) | QuotaScope::Pool(_) => counts.clone(),
        }
    }

    /// Returns the record that stands for all requests without a key. No store has it.
    pub(super) fn record(&self, environment: Environment) -> Arc<KeyRecord> {
        let account = Account::new("(anonymous)", self.plan.as_str());
        let (id, hash) = (KeyId::from_bytes([0; 16]), KeyHash::from_bytes([0; 32]));
        let mut record = KeyRecord::new(id, hash, Arc::new(account));
        record.anonymous = true;
        record.environment = environment;
        Arc::new(record)
    }
}

/// The headers in which clients send keys by mistake, if the gate does not read them.
const COMMON: [HeaderName; 3] =
    [AUTHORIZATION, HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

impl Core {
    /// Returns true if a request contains a key of this gate in a place that no source reads. Its client has a key, and
    /// must not be served as one without.
    pub(super) fn has_stray_key(&self, view: &RequestView<'_>) -> bool {
        let in_header = |name: &HeaderName| match view.field(name) {
            HeaderCount::Never => false,
            HeaderCount::Once(value) => value.split(|&byte| byte == b' ').any(|part| self.is_key(part)),
            HeaderCount::Often => true,
        };
        // Any text may be a key of a format without a prefix.
        let is_prefixed = |format: &KeyFormat| !format.prefix().is_empty();
        let is_key = |value: &[u8]| {
            self.is_literal(value)
                || self.formats.iter().any(|format| is_prefixed(format) && format.accepts(value))
        };
        COMMON.iter().any(in_header)
            || view.query().is_some_and(|query| query::pairs(query).any(|pair| is_key(&pair.value())))
    }
}

//! The gate's settings for key management.

use std::sync::Arc;

use crate::audit::AuditSink;
use crate::gate::{Gate, GateBuilder};
use crate::key::Randomness;

impl GateBuilder {
    /// Sets the source of randomness for new keys, in place of the operating system.
    pub fn randomness(mut self, source: impl Randomness) -> Self {
        self.randomness = Arc::new(source);
        self
    }

    /// Sets the feature that a plan must include before a caller may choose an expiry. Defaults to none.
    pub fn expiry_feature(mut self, feature: impl Into<String>) -> Self {
        self.expiry_feature = Some(feature.into());
        self
    }

    /// Sets the scope, such as `keys:manage`, that lets a key with restricted scopes manage keys. Defaults to none: no
    /// key with restricted scopes can then manage keys.
    ///
    /// A key with restricted paths can manage keys if its paths cover those of the key management. A key with both
    /// restrictions needs both. A key without restrictions needs neither.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::key::Length;
    /// use tollgate::{Gate, KeyFormat, KeySource};
    ///
    /// let gate = Gate::builder()
    ///     .source(KeySource::header("X-API-Key")?)
    ///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
    ///     .management("/account/api-keys")
    ///     .management_scope("keys:manage")
    ///     .build()?;
    /// # let _ = gate;
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn management_scope(mut self, scope: impl Into<crate::name::Scope>) -> Self {
        self.management.scope = Some(scope.into());
        self
    }

    /// Adds the member `issuedBy` to each key in a list over HTTP: the id of the key that issued it, or `null`. The
    /// response for a single key always contains this member if another key issued it.
    pub fn list_issuers(mut self) -> Self {
        self.management.lists_issuers = true;
        self
    }

    /// Sets the time within which the body of a key management request must arrive. Defaults to 10 seconds. A later
    /// body is answered with 408. The time is measured by tokio's timers, which the runtime must provide.
    pub fn management_body_time(mut self, time: std::time::Duration) -> Self {
        self.management.body_time = time;
        self
    }

    /// Sets the audit sink for changes to keys, accounts and credits. It receives the changes made through the
    /// endpoints that the gate mounts, and those of the managers of this gate that have no sink of their own. Defaults
    /// to the log.
    pub fn audit(mut self, sink: impl AuditSink) -> Self {
        self.audit = Arc::new(sink);
        self
    }
}

impl Gate {
    pub(crate) fn randomness(&self) -> &dyn Randomness {
        &*self.0.randomness
    }
}

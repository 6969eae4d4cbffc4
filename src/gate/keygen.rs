//! What a gate says of the management of its keys.

use std::sync::Arc;

use crate::audit::AuditSink;
use crate::gate::{Gate, GateBuilder};
use crate::key::Randomness;

impl GateBuilder {
    /// Takes the randomness of new keys from somewhere else than the operating system.
    pub fn randomness(mut self, source: impl Randomness) -> Self {
        self.randomness = Arc::new(source);
        self
    }

    /// What a plan must include, among its features, for an expiry of one's own to be asked for; nothing, if nothing is said.
    pub fn expiry_feature(mut self, feature: impl Into<String>) -> Self {
        self.expiry_feature = Some(feature.into());
        self
    }

    /// Lets keys that are restricted to scopes manage keys if they hold this scope, such as `keys:manage`. If nothing is said,
    /// no key that is restricted to scopes manages any.
    ///
    /// A key that is restricted to paths manages keys if its paths cover those of the management. One that is restricted to
    /// both needs both. A key without restriction needs neither.
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

    /// Adds the member `issuedBy` to each key of a list over HTTP: the id of the key that issued it, or `null`. A key that is
    /// asked for by itself bears the member always, where a key issued it.
    pub fn list_issuers(mut self) -> Self {
        self.management.lists_issuers = true;
        self
    }

    /// The time in which the body of a request for key management must have been read: 10 seconds, if nothing is said. One that
    /// has not come by then is answered 408. The time is taken by tokio's timers, which the runtime must have.
    pub fn management_body_time(mut self, time: std::time::Duration) -> Self {
        self.management.body_time = time;
        self
    }

    /// Tells of changes to keys, accounts and credits here, whoever makes them: the endpoints that the gate mounts, and the
    /// managers that know this gate, unless they are given a sink of their own. The log, if nothing is said.
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

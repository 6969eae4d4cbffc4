//! What a gate says of the management of its keys.

use std::sync::Arc;

use crate::{AuditSink, Gate, GateBuilder, Randomness};

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

    /// Answers requests for key management under this path, behind the gate's own checks: free of charge, rate limited,
    /// closed to plans that do not manage keys. No rule may stand at this path or below it.
    pub fn management(mut self, path: impl Into<String>) -> Self {
        self.management = Some(path.into());
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

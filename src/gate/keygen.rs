//! Where a gate's new keys get their randomness, and where what is done to keys is told.

use std::sync::Arc;

use crate::{AuditSink, Gate, GateBuilder, Randomness};

impl GateBuilder {
    /// Takes the randomness of new keys from somewhere else than the operating system.
    pub fn randomness(mut self, source: impl Randomness) -> Self {
        self.randomness = Arc::new(source);
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

//! Where a gate's new keys get their randomness.

use std::sync::Arc;

use crate::{Gate, GateBuilder, Randomness};

impl GateBuilder {
    /// Takes the randomness of new keys from somewhere else than the operating system.
    pub fn randomness(mut self, source: impl Randomness) -> Self {
        self.randomness = Arc::new(source);
        self
    }
}

impl Gate {
    pub(crate) fn randomness(&self) -> &dyn Randomness {
        &*self.0.randomness
    }
}

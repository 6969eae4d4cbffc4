//! The published suites, over a ledger with leases.

use std::num::NonZeroU32;

use tollgate::MemoryLedger;
use tollgate::conformance::{self, Capability};
use tollgate::credit::{LeaseTerms, LeasedLedger};

/// A ledger in memory decides before its caller can ask for a refund, and so does a block.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leased_ledger_keeps_the_charge_contract() {
    let terms = LeaseTerms::of_nodes(NonZeroU32::MIN);
    let ledger = LeasedLedger::new(MemoryLedger::new(), terms);
    conformance::charges(ledger).without(Capability::LateCharges).run().await.assert();
}

//! The published suites, over a ledger with leases.

use std::num::NonZeroU32;

use tollgate::MemoryLedger;
use tollgate::conformance::{self, Capability};
use tollgate::credit::{LeaseTerms, LeasedLedger};

/// A ledger in memory decides before its caller can ask for a refund, and so does a block.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ledger_with_leases_keeps_the_contract_of_charges() {
    let terms = LeaseTerms::of_nodes(NonZeroU32::MIN);
    let ledger = LeasedLedger::new(MemoryLedger::new(), terms);
    conformance::charges(ledger).without(Capability::LateCharges).run().await.assert();
}

//! The published suites, which every store and ledger keeps.

use tollgate::conformance;
use tollgate::{SqlLedger, SqlStore};

use crate::place::{Place, both};

both!(the_store_keeps_the_contract, the_ledger_keeps_the_contract);

async fn the_store_keeps_the_contract(place: Place) {
    conformance::keys(SqlStore::new(&place.open().await)).run().await.assert();
}

async fn the_ledger_keeps_the_contract(place: Place) {
    conformance::credits(SqlLedger::new(&place.open().await)).run().await.assert();
}

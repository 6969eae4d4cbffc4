//! The published suites, which every store and ledger keeps, by whatever pointer it is held.

use std::sync::Arc;

use tollgate::conformance;
use tollgate::credit::{CreditAdmin, SqlLedger};
use tollgate::store::{AccountAdmin, SqlStore};

use crate::database::{Place, both};

both!(
    the_store_keeps_the_contract,
    boxed_store_keeps_the_contract,
    the_ledger_keeps_the_contract,
    boxed_ledger_keeps_the_contract,
);

async fn the_store_keeps_the_contract(place: Place) {
    conformance::keys(SqlStore::new(&place.open().await)).run().await.assert();
}

async fn boxed_store_keeps_the_contract(place: Place) {
    let store = SqlStore::new(&place.open().await);
    conformance::keys(Arc::new(store.clone()) as Arc<dyn AccountAdmin>).run().await.assert();
    conformance::keys(Box::new(store) as Box<dyn AccountAdmin>).run().await.assert();
}

async fn the_ledger_keeps_the_contract(place: Place) {
    conformance::credits(SqlLedger::new(&place.open().await)).run().await.assert();
}

async fn boxed_ledger_keeps_the_contract(place: Place) {
    let ledger = SqlLedger::new(&place.open().await);
    conformance::credits(Arc::new(ledger.clone()) as Arc<dyn CreditAdmin>).run().await.assert();
    conformance::credits(Box::new(ledger) as Box<dyn CreditAdmin>).run().await.assert();
}

//! The published suites, which every store and ledger keeps, by whatever pointer it is held.

use std::sync::Arc;

use tollgate::alert::{AlertStore, SqlAlertStore};
use tollgate::audit::SqlAuditStore;
use tollgate::conformance;
use tollgate::credit::{CreditAdmin, SqlLedger};
use tollgate::store::{AccountAdmin, SqlStore};
use tollgate::usage::{SqlUsage, UsageStore};

use crate::database::{Place, both};

both!(
    the_store_keeps_the_contract,
    shared_store_keeps_the_contract,
    the_ledger_keeps_the_contract,
    shared_ledger_keeps_the_contract,
    the_audit_store_keeps_the_contract,
    usage_store_keeps_the_contract,
    alert_store_keeps_the_contract,
);

async fn the_store_keeps_the_contract(place: Place) {
    conformance::keys(SqlStore::new(&place.open().await)).run().await.assert();
}

async fn shared_store_keeps_the_contract(place: Place) {
    let store = SqlStore::new(&place.open().await);
    conformance::keys(Arc::new(store) as Arc<dyn AccountAdmin>).run().await.assert();
}

async fn the_ledger_keeps_the_contract(place: Place) {
    conformance::credits(SqlLedger::new(&place.open().await)).run().await.assert();
}

async fn shared_ledger_keeps_the_contract(place: Place) {
    let ledger = SqlLedger::new(&place.open().await);
    conformance::credits(Arc::new(ledger) as Arc<dyn CreditAdmin>).run().await.assert();
}

async fn the_audit_store_keeps_the_contract(place: Place) {
    conformance::audit(SqlAuditStore::new(&place.open().await)).run().await.assert();
}

async fn alert_store_keeps_the_contract(place: Place) {
    let database = place.open().await;
    conformance::alerts(SqlAlertStore::new(&database)).run().await.assert();
    conformance::alerts(Arc::new(SqlAlertStore::new(&database)) as Arc<dyn AlertStore>).run().await.assert();
}

async fn usage_store_keeps_the_contract(place: Place) {
    let database = place.open().await;
    conformance::usage(SqlUsage::new(&database)).run().await.assert();
    conformance::usage(Arc::new(SqlUsage::new(&database)) as Arc<dyn UsageStore>).run().await.assert();
}

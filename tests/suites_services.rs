//! The published suites over what lasts and what a fleet shares: databases, caches in front of them, and guards.
#![cfg(all(feature = "conformance", feature = "sqlite", feature = "postgres", feature = "redis"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "sql/place.rs"]
#[allow(dead_code, unused_imports, reason = "not all of it is used here")]
mod place;
mod services;

use place::{Place, both};
use tollgate::{CachedStore, Guarded, SqlStore, conformance};

both![a_database_keeps_the_contract_of_keys, a_cached_and_guarded_database_keeps_the_contract_of_keys];

async fn a_database_keeps_the_contract_of_keys(place: Place) {
    let store = SqlStore::new(&place.open().await);
    conformance::keys(store).run().await.assert();
}

async fn a_cached_and_guarded_database_keeps_the_contract_of_keys(place: Place) {
    let store = Guarded::new(SqlStore::new(&place.open().await));
    conformance::keys(CachedStore::builder(store).build().unwrap()).run().await.assert();
}

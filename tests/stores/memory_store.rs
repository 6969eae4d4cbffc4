//! Keys whose hashes were made elsewhere, and are none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use tollgate::key::KeyHash;
use tollgate::{Account, KeyId, KeyRecord, KeyStore, MemoryStore};

/// A map that crowds grows without end: this would not come to its end.
#[tokio::test]
async fn similar_hashes_are_kept_apart() {
    for place in [0, 4, 8, 16, 28] {
        let store = MemoryStore::new();
        let hash = |number: u32| {
            let mut bytes = [0; 32];
            bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
            KeyHash::from_bytes(bytes)
        };
        let account = Arc::new(Account::new("acme", "pro"));
        for number in 0..20_000 {
            let id = KeyId::from_bytes(u128::from(number).to_be_bytes());
            store.put_key(KeyRecord::new(id, hash(number), Arc::clone(&account)));
        }
        for number in [0, 1, 9_999, 19_999] {
            let found = store.find(&hash(number)).await.unwrap().unwrap();
            assert_eq!(found.id, KeyId::from_bytes(u128::from(number).to_be_bytes()), "{place}");
        }
    }
}

//! The end of an account: deleted, with all its keys revoked, or erased, with nothing known of it any more.

use std::sync::Arc;

use tollgate::account::AccountStatus;
use tollgate::audit::{Action, Actor};
use tollgate::clock::Timestamp;
use tollgate::credit::Balance;
use tollgate::key::{KeyHasher, KeyStatus, PreviousSecret};
use tollgate::manage::ManageError;
use tollgate::store::{AccountAdmin, InsertKey, Inserted, KeyQuery};
use tollgate::{Account, AccountManager, Credits, KeyId, KeyRecord, MemoryStore};

use crate::accounts::{Noted, World, clock, gate};

#[tokio::test]
async fn deleted_account_is_refused_for_good() {
    let world = World::with_ada().await;
    world.accounts.delete(&world.ada).await.unwrap();
    world.accounts.delete(&world.ada).await.unwrap();
    let told = [
        (Action::AccountChanged, Some("deleted".to_owned())),
        (Action::Revoked, None),
        (Action::Revoked, None),
    ];
    assert_eq!(world.noted.take(), told, "each once");
    assert_eq!(world.get("/x").await, 401);
    assert_eq!(world.get_with("acme_abcdefghij", "/x").await, 401);
    let again = world.accounts.resume(&world.ada).await;
    assert!(matches!(again, Err(ManageError::AccountDeleted)));
    assert_eq!(world.get("/x").await, 401);
    let taken = world.accounts.create(Account::new("ada", "free")).await;
    assert!(matches!(taken, Err(ManageError::Exists("account"))), "its id is not free");
}

#[tokio::test]
async fn erasure_removes_keys_and_balance() {
    let world = World::with_ada().await;
    world.credits.top_up(&world.ada, Credits::new(50), &"first".parse().unwrap()).await.unwrap();
    assert_eq!(world.get("/costly").await, 200);
    world.accounts.erase(&world.ada).await.unwrap();
    assert_eq!(world.get("/x").await, 401);
    assert_eq!(world.get_with("acme_abcdefghij", "/x").await, 401);
    assert!(world.store.is_empty());
    assert!(matches!(world.accounts.erase(&world.ada).await, Err(ManageError::NotFound("account"))));
    assert!(matches!(world.credits.balance(&world.ada).await, Err(ManageError::NotFound("account"))));
    world.accounts.create(Account::new("ada", "free")).await.unwrap();
    assert_eq!(world.credits.balance(&world.ada).await.unwrap(), Balance::Limited(Credits::ZERO));
    let again = world.credits.top_up(&world.ada, Credits::new(7), &"first".parse().unwrap()).await;
    assert_eq!(again.unwrap(), Balance::Limited(Credits::new(7)), "the id is free again");
}

const NOW: Timestamp = Timestamp::from_millis(1_777_550_400_000);

/// The number of keys of the account in the tests below: more than are read at once.
const KEYS: u64 = 250;

fn record(number: u64, account: &Arc<Account>) -> KeyRecord {
    let id = KeyId::from_bytes(u128::from(number).to_be_bytes());
    KeyRecord::new(id, KeyHasher::sha256().hash(&number.to_be_bytes()), Arc::clone(account))
}

/// Puts keys of all kinds in: paused, expired, revoked, and with a secret on its way out.
async fn put_keys(store: &dyn AccountAdmin, account: &Arc<Account>) {
    for number in 0..KEYS {
        let mut key = record(number, account);
        match number % 5 {
            1 => key.status = KeyStatus::Paused,
            2 => key.expires_at = Some(NOW),
            3 => (key.status, key.revoked_at) = (KeyStatus::Revoked, Some(NOW)),
            4 => {
                key.retiring = Some(PreviousSecret { hash: record(KEYS + number, account).hash, until: NOW });
            }
            _ => {}
        }
        assert_eq!(store.insert(&InsertKey::new(key, NOW)).await.unwrap(), Inserted::Done);
    }
}

async fn list(store: &dyn AccountAdmin, account: &Account) -> Vec<Arc<KeyRecord>> {
    let mut query = KeyQuery::first(1_000);
    query.account = Some(account.id.clone());
    store.list(&query).await.unwrap()
}

/// Deletes an account with many keys, in this store; one of another account stays as it is.
async fn deletion_revokes_every_key(store: Arc<dyn AccountAdmin>) {
    let (ada, bob) = (Arc::new(Account::new("ada", "free")), Arc::new(Account::new("bob", "free")));
    for account in [&ada, &bob] {
        assert!(store.create_account(account).await.unwrap());
    }
    put_keys(&*store, &ada).await;
    let kept = record(9_999, &bob);
    assert_eq!(store.insert(&InsertKey::new(kept.clone(), NOW)).await.unwrap(), Inserted::Done);

    let noted = Noted::default();
    let accounts = AccountManager::new(gate(Arc::clone(&store), clock())).unwrap();
    let accounts = accounts.by(Actor::operator("alice")).with_audit(noted.clone());
    assert_eq!(accounts.delete(&ada.id).await.unwrap().status, AccountStatus::Deleted);

    let keys = list(&*store, &ada).await;
    assert_eq!(keys.len(), usize::try_from(KEYS).unwrap());
    for key in &keys {
        assert_eq!((key.status, key.account.status), (KeyStatus::Revoked, AccountStatus::Deleted), "{key:?}");
        assert!(key.revoked_at.is_some() && key.retiring.is_none(), "{key:?}");
    }
    assert_eq!(*store.get(kept.id).await.unwrap().unwrap(), kept);
    let told = noted.events();
    assert_eq!(told[0].action, Action::AccountChanged);
    let revoked: Vec<_> = told[1..].iter().map(|event| (event.action, event.key, &event.account)).collect();
    let expected = keys.iter().filter(|key| key.id.as_bytes()[15] % 5 != 3);
    let (expected, of_ada) = (expected.map(|key| key.id), Some(ada.id.clone()));
    let expected: Vec<_> = expected.map(|id| (Action::Revoked, Some(id), &of_ada)).collect();
    assert_eq!(revoked, expected, "each is told of once, but those that were revoked before");

    // No place under a cap is taken any more.
    let insert = InsertKey::new(record(10_000, &ada), NOW).with_max_active(Some(1));
    assert_eq!(store.insert(&insert).await.unwrap(), Inserted::Done);
}

/// A deletion that ended before it had come to the keys, and to the second half of them.
async fn interrupted_deletion_can_be_finished(store: Arc<dyn AccountAdmin>) {
    let ada = Arc::new(Account::new("ada", "free"));
    assert!(store.create_account(&ada).await.unwrap());
    put_keys(&*store, &ada).await;
    let mut deleted = Account::clone(&ada);
    deleted.status = AccountStatus::Deleted;
    assert_eq!(store.replace_account(&deleted).await.unwrap(), tollgate::store::Replaced::Done);
    for key in list(&*store, &ada).await.iter().take(100) {
        let mut revoked = KeyRecord::clone(key);
        (revoked.status, revoked.revoked_at, revoked.retiring) = (KeyStatus::Revoked, Some(NOW), None);
        assert_eq!(store.replace(&revoked).await.unwrap(), tollgate::store::Replaced::Done);
    }
    let accounts = AccountManager::new(gate(Arc::clone(&store), clock())).unwrap();
    accounts.delete(&ada.id).await.unwrap();
    assert!(list(&*store, &ada).await.iter().all(|key| key.status == KeyStatus::Revoked));
}

mod memory {
    use super::{Arc, MemoryStore};

    #[tokio::test]
    async fn deletion_revokes_every_key() {
        super::deletion_revokes_every_key(Arc::new(MemoryStore::new())).await;
    }

    #[tokio::test]
    async fn interrupted_deletion_can_be_finished() {
        let store = Arc::new(MemoryStore::new());
        super::interrupted_deletion_can_be_finished(store).await;
    }
}

#[cfg(all(feature = "sqlite", feature = "postgres"))]
mod databases {
    use super::Arc;
    use crate::database::{Place, both};
    use tollgate::guard::Resilient;
    use tollgate::store::{CachedStore, SqlStore};

    both![
        deletion_revokes_every_key,
        cached_deletion_revokes_every_key,
        interrupted_deletion_can_be_finished,
    ];

    async fn deletion_revokes_every_key(place: Place) {
        super::deletion_revokes_every_key(Arc::new(SqlStore::new(&place.open().await))).await;
    }

    async fn cached_deletion_revokes_every_key(place: Place) {
        let store = CachedStore::builder(Resilient::new(SqlStore::new(&place.open().await))).build().unwrap();
        super::deletion_revokes_every_key(Arc::new(store)).await;
    }

    async fn interrupted_deletion_can_be_finished(place: Place) {
        let store = Arc::new(SqlStore::new(&place.open().await));
        super::interrupted_deletion_can_be_finished(store).await;
    }
}

//! Hash schemes side by side: keys are found under the older ones, and put under the newest when they are used.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::management;
use crate::support::faulty_back_ends::ReadOnly;

use std::sync::Arc;

use management::{DAY, Fault, Stage, refusal};
use sha2::{Digest, Sha256, Sha512};
use tollgate::key::{KeyHash, KeyHasher};
use tollgate::manage::ForeignKey;
use tollgate::store::{AccountAdmin, KeyAdmin};
use tollgate::{DenialKind, Gate, GateBuilder, KeyId, KeyRecord, KeyStore, MemoryStore, StoreFuture};

const SECRET: &str = "acme_live_aaaaaaaabbbbbbbbccccccccdddddddd";

fn old_pepper() -> KeyHasher {
    KeyHasher::hmac_sha256(b"the pepper of the year before").unwrap()
}

fn new_pepper() -> KeyHasher {
    KeyHasher::hmac_sha256(b"the pepper that is in use now").unwrap()
}

fn older(builder: GateBuilder) -> GateBuilder {
    let builder = builder.hasher(new_pepper()).older_hasher(old_pepper());
    builder.older_hasher(KeyHasher::sha256()).older_hasher(KeyHasher::sha512())
}

/// A gate that knows the older schemes, and puts keys under the newest.
fn renewing() -> Result<Stage, Fault> {
    Stage::set_with(|builder, _| older(builder))
}

/// A gate over the same store that knows one scheme alone.
fn knowing(stage: &Stage, hasher: KeyHasher) -> Result<Gate, Fault> {
    let other = Stage::set_over(|_| Arc::clone(&stage.store) as _, |builder, _| builder.hasher(hasher))?;
    Ok(other.gate)
}

async fn imported(stage: &Stage, hash: KeyHash) -> Result<KeyId, Fault> {
    Ok(stage.manager.import(ForeignKey::new("ada", "from elsewhere", hash)).await?)
}

#[tokio::test]
async fn older_scheme_key_is_rehashed() -> Result<(), Fault> {
    let sha256 = KeyHash::from_bytes(Sha256::digest(SECRET).into());
    let sha512 = KeyHash::from_sha512(&Sha512::digest(SECRET).into());
    let table = [
        ("plain SHA-256", sha256, KeyHasher::sha256()),
        ("plain SHA-512", sha512, KeyHasher::sha512()),
        ("HMAC", old_pepper().hash(SECRET.as_bytes()), old_pepper()),
    ];
    for (name, hash, hasher) in table {
        let stage = renewing()?;
        let id = imported(&stage, hash).await?;
        let (new_alone, old_alone) = (knowing(&stage, new_pepper())?, knowing(&stage, hasher)?);
        assert_eq!(refusal(&new_alone, SECRET).await, Some(DenialKind::Unknown), "{name}");
        assert_eq!(refusal(&old_alone, SECRET).await, None, "{name}");
        assert_eq!(stage.refusal(SECRET).await, None, "{name}");
        let renewed = stage.manager.get(id).await?;
        assert_eq!(renewed.hash, new_pepper().hash(SECRET.as_bytes()), "{name}");
        assert_eq!(refusal(&new_alone, SECRET).await, None, "{name}");
        assert_eq!(refusal(&old_alone, SECRET).await, Some(DenialKind::Unknown), "{name}");
        assert_eq!(stage.refusal(SECRET).await, None, "{name}");
        assert_eq!(stage.manager.get(id).await?.version, renewed.version, "it is put there once");
        assert_eq!(stage.manager.report_leak(SECRET).await?, Some(id));
    }
    Ok(())
}

#[tokio::test]
async fn refused_key_is_not_rehashed() -> Result<(), Fault> {
    let hash = KeyHasher::sha256().hash(SECRET.as_bytes());
    let stage = renewing()?;
    let id = imported(&stage, hash).await?;
    stage.manager.pause(id).await?;
    assert_eq!(stage.refusal(SECRET).await, Some(DenialKind::Paused));
    assert_eq!(stage.manager.get(id).await?.hash, hash);
    let stage = renewing()?;
    let id = imported(&stage, hash).await?;
    let store = ReadOnly(Arc::clone(&stage.store));
    let reading = older(management::builder(&stage.clock)?).store(store).build()?;
    assert_eq!(refusal(&reading, SECRET).await, None);
    assert_eq!(stage.manager.get(id).await?.hash, hash);
    Ok(())
}

#[tokio::test]
async fn expiring_secret_keeps_its_old_hash() -> Result<(), Fault> {
    let stage = renewing()?;
    let hash = KeyHasher::sha256().hash(SECRET.as_bytes());
    let id = imported(&stage, hash).await?;
    let rotated = stage.manager.rotate(id, DAY).await?.secret;
    assert_eq!(stage.refusal(SECRET).await, None);
    let stored = stage.manager.get(id).await?;
    assert_eq!(stored.hash, new_pepper().hash(rotated.expose_secret().as_bytes()));
    assert_eq!(stored.retiring.map(|old| old.hash), Some(hash));
    stage.clock.advance(DAY);
    assert_eq!(stage.refusal(SECRET).await, Some(DenialKind::Revoked));
    assert_eq!(stage.refusal(rotated.expose_secret()).await, None);
    Ok(())
}

/// A cache that still has a record as it was.
#[derive(Debug)]
struct Stale(Arc<KeyRecord>, Arc<MemoryStore>);

impl KeyStore for Stale {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        StoreFuture::ready(self.0.has_hash(hash).then(|| Arc::clone(&self.0)))
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Arc::clone(&self.1).admin()
    }
}

#[tokio::test]
async fn a_stale_record_undoes_no_rotation() -> Result<(), Fault> {
    let stage = renewing()?;
    let id = imported(&stage, KeyHasher::sha256().hash(SECRET.as_bytes())).await?;
    let cache = Stale(stage.manager.get(id).await?, Arc::clone(&stage.store));
    let cached = Stage::set_over(|_| Arc::new(cache), |builder, _| older(builder))?;
    stage.manager.rotate(id, std::time::Duration::ZERO).await?;
    let rotated = stage.manager.get(id).await?;
    assert_eq!(cached.refusal(SECRET).await, None);
    assert_eq!(stage.manager.get(id).await?, rotated);
    assert_eq!(stage.refusal(SECRET).await, Some(DenialKind::Unknown));
    Ok(())
}

/// A store in which another request puts the key under the newest hash just behind the first look-up.
#[derive(Debug)]
struct Overtaken(Arc<MemoryStore>, KeyId);

impl KeyStore for Overtaken {
    fn find(&self, hash: &KeyHash) -> StoreFuture<Option<Arc<KeyRecord>>> {
        let found = self.0.find(hash);
        let mut renewed = self.0.key(self.1).map(|key| KeyRecord::clone(&key)).unwrap();
        renewed.hash = new_pepper().hash(SECRET.as_bytes());
        drop(self.0.replace(&renewed));
        found
    }

    fn admin(self: Arc<Self>) -> Option<Arc<dyn AccountAdmin>> {
        Arc::clone(&self.0).admin()
    }
}

#[tokio::test]
async fn key_rehashed_between_look_ups_is_found() -> Result<(), Fault> {
    for hasher in [old_pepper(), KeyHasher::sha256(), KeyHasher::sha512()] {
        let stage = renewing()?;
        let id = imported(&stage, hasher.hash(SECRET.as_bytes())).await?;
        let overtaken = Overtaken(Arc::clone(&stage.store), id);
        let gate = Stage::set_over(|_| Arc::new(overtaken), |builder, _| older(builder))?;
        assert_eq!(gate.refusal(SECRET).await, None);
    }
    Ok(())
}

#[test]
fn concurrent_first_uses_find_the_key() -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for _ in 0..300 {
        let stage = renewing()?;
        runtime.block_on(imported(&stage, KeyHasher::sha512().hash(SECRET.as_bytes())))?;
        let start = std::sync::Barrier::new(3);
        let use_it = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            start.wait();
            (0..3).for_each(|_| assert_eq!(runtime.block_on(stage.refusal(SECRET)), None));
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(use_it);
            }
        });
    }
    Ok(())
}

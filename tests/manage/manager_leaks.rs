//! Reports of leaks that meet other changes: the right key is revoked, and no other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::concurrent_writer;
use crate::management;

use management::Fault;
use tollgate::clock::Timestamp;
use tollgate::key::{KeyHash, KeyHasher, KeyStatus, PreviousSecret};
use tollgate::manage::ForeignKey;
use tollgate::{KeyId, KeyRecord, MemoryStore};

const SECRET: &str = "acme_live_aaaaaaaabbbbbbbbccccccccdddddddd";

/// Puts a key under another hash, as a rotation does; its old secret is on its way out, or dead at once.
fn put_under(store: &MemoryStore, id: KeyId, hash: KeyHash, until: Option<Timestamp>) {
    let mut record = KeyRecord::clone(&store.key(id).unwrap());
    record.retiring = until.map(|until| PreviousSecret { hash: record.hash, until });
    record.hash = hash;
    record.version += 1;
    store.put_key(record);
}

#[tokio::test]
async fn leak_of_a_rotated_secret_revokes_nothing() -> Result<(), Fault> {
    let later = "2999-01-01T00:00:00Z".parse()?;
    // Between the look-up and the reading before the write, and between that and the write.
    for (looks, until) in [(1, None), (2, None), (1, Some(later)), (2, Some(later))] {
        let (stage, writer) = concurrent_writer::stage(|builder, _| builder)?;
        let issued = stage.issue("ada").await?;
        let (id, other) = (issued.key.id, KeyHasher::sha256().hash(b"the new secret"));
        let rotate = move |store: &MemoryStore| put_under(store, id, other, until);
        writer.change_after(looks, rotate);
        let found = stage.manager.report_leak(issued.secret.expose_secret()).await?;
        let status = stage.store.key(id).unwrap().status;
        let expected =
            if until.is_some() { (Some(id), KeyStatus::Revoked) } else { (None, KeyStatus::Active) };
        assert_eq!((found, status), expected, "after {looks}");
    }
    Ok(())
}

#[tokio::test]
async fn key_rehashed_between_look_ups_is_found() -> Result<(), Fault> {
    let (new, old) = (KeyHasher::sha512(), KeyHasher::sha256());
    let [newest, older] = [&new, &old].map(|hasher| hasher.hash(SECRET.as_bytes()));
    let (stage, writer) = concurrent_writer::stage(|builder, _| builder.hasher(new).older_hasher(old))?;
    let id = stage.manager.import(ForeignKey::new("ada", "from elsewhere", older)).await?;
    let renew = move |store: &MemoryStore| put_under(store, id, newest, None);
    writer.change_after(1, renew);
    assert_eq!(stage.manager.report_leak(SECRET).await?, Some(id));
    assert_eq!(stage.store.key(id).unwrap().status, KeyStatus::Revoked);
    Ok(())
}

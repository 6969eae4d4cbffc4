//! A revocation that the operator takes back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use tollgate::audit::{Action, Actor};
use tollgate::denial::DenialKind;
use tollgate::key::KeyStatus;
use tollgate::{AccountManager, KeyId};

use crate::management::{DAY, Fault, Stage};

fn stage() -> Result<Stage, Fault> {
    Stage::set_with(|builder, _| builder.undo_revocation(DAY))
}

#[tokio::test]
async fn undone_revocation_restores_the_key() -> Result<(), Fault> {
    let stage = stage()?;
    for leaked in [false, true] {
        let issued = stage.issue("ada").await?;
        let (id, secret) = (issued.key.id, issued.secret.expose_secret());
        assert_eq!(stage.refusal(secret).await, None);
        if leaked {
            assert_eq!(stage.manager.report_leak(secret).await?, Some(id));
        } else {
            let _ = stage.manager.revoke(id).await?;
        }
        assert_eq!(stage.refusal(secret).await, Some(DenialKind::Revoked));
        stage.audit.take();
        stage.clock.advance(DAY);
        let key = stage.manager.undo_revocation(id).await?;
        assert_eq!((key.status, key.revoked_at), (KeyStatus::Active, None));
        assert_eq!(stage.refusal(secret).await, None);
        let told = stage.audit.take();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].action, told[0].key), (Action::Unrevoked, Some(id)));
        // It can be revoked again.
        let _ = stage.manager.revoke(id).await?;
        assert_eq!(stage.refusal(secret).await, Some(DenialKind::Revoked));
    }
    Ok(())
}

#[tokio::test]
async fn undo_is_refused_with_a_reason() -> Result<(), Fault> {
    let stage = stage()?;
    let issued = stage.issue("ada").await?;
    let id = issued.key.id;
    let said = async |manager: &tollgate::KeyManager, id| match manager.undo_revocation(id).await {
        Err(error) => error.to_string(),
        Ok(_) => "done".to_owned(),
    };
    assert!(said(&stage.manager, id).await.contains("is not revoked"));
    stage.manager.pause(id).await?;
    assert!(said(&stage.manager, id).await.contains("is not revoked"));
    let _ = stage.manager.revoke(id).await?;
    let unknown = KeyId::from_bytes([9; 16]);
    assert!(said(&stage.manager, unknown).await.contains("the key does not exist"));
    let of_account = stage.manager.clone().for_account("ada");
    let of_key = stage.manager.clone().by(Actor::key(unknown));
    for manager in [&of_account, &of_key] {
        assert!(said(manager, id).await.contains("the operator's manager"));
    }
    stage.clock.advance(DAY + Duration::from_millis(1));
    assert!(said(&stage.manager, id).await.contains("too long ago"));
    assert_eq!(stage.store.key(id).unwrap().status, KeyStatus::Revoked);
    Ok(())
}

#[tokio::test]
async fn revocation_is_final_by_default() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let id = stage.issue("ada").await?.key.id;
    let _ = stage.manager.revoke(id).await?;
    let error = stage.manager.undo_revocation(id).await.unwrap_err().to_string();
    assert!(error.contains("`management.undo_revocation`"), "{error}");
    assert_eq!(stage.store.key(id).unwrap().status, KeyStatus::Revoked);
    Ok(())
}

#[tokio::test]
async fn key_of_a_deleted_account_stays_revoked() -> Result<(), Fault> {
    let stage = stage()?;
    let id = stage.issue("ada").await?.key.id;
    AccountManager::new(stage.gate.clone())?.delete(&"ada".into()).await?;
    assert!(stage.manager.undo_revocation(id).await.is_err());
    assert_eq!(stage.store.key(id).unwrap().status, KeyStatus::Revoked);
    Ok(())
}

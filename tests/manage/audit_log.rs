//! Log events of changes to keys, accounts and credits: on by default, and without secrets.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use crate::log;
use crate::management;

use std::time::Duration;

use log::Log;
use management::{Fault, Stage};
use tollgate::audit::Actor;
use tollgate::{AccountManager, KeyManager, NewKey};

#[tokio::test]
async fn changes_are_logged_with_their_actor() -> Result<(), Fault> {
    let stage = Stage::set()?;
    let alice = Actor::operator("alice").at("203.0.113.9".parse()?);
    let manager = KeyManager::new(stage.gate.clone())?.by(alice.clone());
    let accounts = AccountManager::new(stage.gate.clone())?.by(alice);
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let issued = manager.issue(NewKey::new("ada", "a key")).await?;
    let id = issued.key.id;
    let rotated = manager.rotate(id, Duration::ZERO).await?;
    manager.revoke(id).await?;
    accounts.suspend(&"ada".into()).await?;
    let text = log.0.lock().unwrap().clone();
    let lines: Vec<_> = text.lines().filter(|line| line.ends_with(" target=tollgate::audit")).collect();
    for (line, action) in lines.iter().zip(["issued", "rotated", "revoked", "account changed"]) {
        assert!(line.contains(&format!("action={action:?}")), "{line}");
        assert!(line.contains(r#"actor="alice""#) && line.contains("address=203.0.113.9"), "{line}");
        assert!(line.contains("account=ada"), "{line}");
        assert_eq!(line.contains(&format!("key={id}")), action != "account changed", "{line}");
    }
    assert_eq!(lines.len(), 4, "{text}");
    for secret in [issued.secret.expose_secret(), rotated.secret.expose_secret()] {
        assert!(!text.contains(&secret[12..]), "a secret stands in the log");
    }
    Ok(())
}

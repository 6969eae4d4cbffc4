//! What the log is told: the one place that knows whether there is one.

use crate::{Denial, DenialKind, StoreError};

/// A refusal. The operator's faults are errors, back ends that could not decide are warnings, the rest is routine.
#[cfg(feature = "tracing")]
pub(crate) fn denied(denial: &Denial) {
    let kind = denial.kind().name();
    let key = denial.key().map(tracing::field::display);
    match denial.kind() {
        DenialKind::Misconfigured => {
            tracing::error!(
                kind,
                key,
                problem = denial.operator_problem(),
                "a record contradicts the configuration"
            );
        }
        DenialKind::Internal => tracing::error!(kind, key, "a request could not be judged"),
        DenialKind::Unavailable => {
            let error = denial.store_error().map(tracing::field::debug);
            tracing::warn!(kind, key, error, "a back end could not decide");
        }
        _ => tracing::debug!(kind, key, "a request was refused"),
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn denied(_: &Denial) {
    let _ = DenialKind::Misconfigured;
}

/// A panic of code that the service's author supplies.
#[cfg(feature = "tracing")]
pub(crate) fn panicked(what: &'static str) {
    tracing::error!(what, "code that the gate calls panicked");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn panicked(_: &'static str) {}

/// A charge that could be neither settled nor given back.
#[cfg(feature = "tracing")]
pub(crate) fn unsettled(error: &StoreError) {
    tracing::warn!(?error, "a charge stays open");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn unsettled(_: &StoreError) {}

/// A key with an allowlist, and a client whose address cannot be told.
#[cfg(feature = "tracing")]
pub(crate) fn address_unknown(key: crate::KeyId) {
    tracing::warn!(%key, "a key has an allowlist and the client's address is unknown: is the peer's address passed on?");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn address_unknown(_: crate::KeyId) {}

/// A change to a key or an account.
#[cfg(all(feature = "tracing", feature = "keygen"))]
pub(crate) fn audited(event: &crate::AuditEvent) {
    tracing::info!(
        target: "tollgate::audit",
        action = event.action.name(),
        key = event.key.map(tracing::field::display),
        account = event.account.as_ref().map(tracing::field::display),
        actor = event.actor.name(),
        actor_key = event.actor.key_id().map(tracing::field::display),
        address = event.actor.address().map(tracing::field::display),
        detail = event.detail,
        "keys were managed"
    );
}

#[cfg(all(not(feature = "tracing"), feature = "keygen"))]
pub(crate) fn audited(_: &crate::AuditEvent) {}

/// A channel between nodes on which changes may have been missed.
#[cfg(all(feature = "tracing", feature = "fleet"))]
pub(crate) fn unheard(error: &StoreError) {
    tracing::warn!(?error, "changes on other nodes may go unheard");
}

#[cfg(all(not(feature = "tracing"), feature = "fleet"))]
pub(crate) fn unheard(_: &StoreError) {}

/// A SQLite file that is not in its place any more, or is there again.
#[cfg(all(feature = "tracing", feature = "sqlite"))]
pub(crate) fn database_file(path: &std::path::Path, gone: bool) {
    let file = path.display();
    if gone {
        tracing::error!(%file, "the database file was deleted or replaced: put it back, or restart to open the new one");
    } else {
        tracing::warn!(%file, "the database file is back in its place");
    }
}

#[cfg(all(not(feature = "tracing"), feature = "sqlite"))]
pub(crate) fn database_file(_: &std::path::Path, _: bool) {}

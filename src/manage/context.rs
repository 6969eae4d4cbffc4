//! The common part of the managers: the gate, the actor and the audit sink.

use std::fmt;
use std::sync::Arc;

use crate::account::{Account, Plan};
use crate::audit::{Action, Actor, AuditEvent, AuditSink};
use crate::clock::Timestamp;
use crate::future::StoreFuture;
use crate::gate::Gate;
use crate::gate::surviving;
use crate::key::KeyId;
use crate::manage::ManageError;
use crate::name::AccountId;
use crate::store::Replaced;
use crate::trace;

#[derive(Clone)]
pub(super) struct ManagerContext {
    pub(super) gate: Gate,
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) actor: Actor,
}

impl ManagerContext {
    pub(super) fn new(gate: Gate) -> Self {
        Self { audit: Arc::clone(&gate.0.audit), gate, actor: Actor::default() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.gate.clock().now().wall()
    }

    pub(super) fn record_audit(
        &self,
        action: Action,
        key: Option<KeyId>,
        account: Option<&AccountId>,
        detail: Option<String>,
    ) {
        self.audit.record(&AuditEvent {
            at: self.now(),
            action,
            key,
            account: account.cloned(),
            actor: self.actor.clone(),
            detail,
        });
    }
}

impl ManagerContext {
    /// Makes a change and then reports it. Both continue if the caller cancels the request in the meantime.
    pub(super) fn carry<T: Send + 'static>(
        &self,
        made: StoreFuture<T>,
        record_audit: impl FnOnce(&Self, &T) + Send + 'static,
    ) -> StoreFuture<T> {
        let context = self.clone();
        surviving(StoreFuture::boxed(async move {
            let answer = made.await?;
            record_audit(&context, &answer);
            // The change is made, whatever becomes of its audit event.
            if let Err(error) = context.audit.flush().await {
                trace::audit_unwritten(&error);
            }
            Ok(answer)
        }))
    }
}

impl fmt::Debug for ManagerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerContext").field("actor", &self.actor).finish_non_exhaustive()
    }
}

/// Returns the plan of an account.
pub(super) fn plan_of(gate: &Gate, account: &Account) -> Result<Plan, ManageError> {
    gate.plan(account.plan.as_str()).ok_or_else(|| {
        let problem = format!("the account names the plan `{}`, which is not configured", account.plan);
        ManageError::Misconfigured(problem)
    })
}

/// The number of attempts at a change if other writers are always first.
const TRIES: usize = 32;

/// The result of an attempt to change an object.
pub(super) enum ChangeOutcome<T> {
    /// The object is unchanged.
    Not(Arc<T>),
    To {
        /// The object that was written. It still has the version of the one that it replaced.
        changed: T,
        /// True if the other nodes were notified, or if there are none.
        announced: bool,
    },
}

/// Reads, decides and writes, and repeats this if another writer was first.
pub(super) async fn change<T: Clone + PartialEq>(
    what: &'static str,
    read: impl Fn() -> StoreFuture<Option<Arc<T>>>,
    decide: impl Fn(&mut T) -> Result<(), ManageError>,
    write: impl Fn(&T) -> StoreFuture<Replaced>,
) -> Result<ChangeOutcome<T>, ManageError> {
    for _ in 0..TRIES {
        let stored = read().await?.ok_or(ManageError::NotFound(what))?;
        let mut changed = T::clone(&stored);
        decide(&mut changed)?;
        if changed == *stored {
            return Ok(ChangeOutcome::Not(stored));
        }
        match write(&changed).await? {
            Replaced::Done => return Ok(ChangeOutcome::To { changed, announced: true }),
            Replaced::Unannounced => return Ok(ChangeOutcome::To { changed, announced: false }),
            Replaced::Stale => {}
            Replaced::Gone => return Err(ManageError::NotFound(what)),
            Replaced::Taken => {
                return Err(ManageError::Misconfigured("a newly generated secret already exists".into()));
            }
        }
    }
    Err(ManageError::Contended)
}

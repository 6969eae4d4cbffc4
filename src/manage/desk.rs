//! What managers have in common: the gate they know, in whose name they act, and whom they tell.

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

#[derive(Clone)]
pub(super) struct Desk {
    pub(super) gate: Gate,
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) actor: Actor,
}

impl Desk {
    pub(super) fn new(gate: Gate) -> Self {
        Self { audit: Arc::clone(&gate.0.audit), gate, actor: Actor::default() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.gate.clock().now().wall()
    }

    pub(super) fn tell(
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

impl Desk {
    /// A change that is told of once it is made, also where whoever asked for it has left meanwhile.
    pub(super) fn carry<T: Send + 'static>(
        &self,
        made: StoreFuture<T>,
        tell: impl FnOnce(&Self, &T) + Send + 'static,
    ) -> StoreFuture<T> {
        let desk = self.clone();
        surviving(StoreFuture::boxed(async move {
            let answer = made.await?;
            tell(&desk, &answer);
            Ok(answer)
        }))
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("actor", &self.actor).finish_non_exhaustive()
    }
}

/// The plan that an account is on.
pub(super) fn plan_of<'g>(gate: &'g Gate, account: &Account) -> Result<&'g Plan, ManageError> {
    gate.plan(account.plan.as_str()).ok_or_else(|| {
        let problem = format!("the account names the plan `{}`, which is not configured", account.plan);
        ManageError::Misconfigured(problem)
    })
}

/// How often a change is decided again because somebody else made one first.
const TRIES: usize = 32;

/// What became of a decision to change.
pub(super) enum Changed<T> {
    /// It is as it was.
    Not(Arc<T>),
    To {
        /// What was put in place of the one before, whose version it bears.
        changed: T,
        /// Whether the other nodes, if there are any, were told.
        announced: bool,
    },
}

/// Reads, decides and writes, again if somebody else wrote in between.
pub(super) async fn change<T: Clone + PartialEq>(
    what: &'static str,
    read: impl Fn() -> StoreFuture<Option<Arc<T>>>,
    decide: impl Fn(&mut T) -> Result<(), ManageError>,
    write: impl Fn(&T) -> StoreFuture<Replaced>,
) -> Result<Changed<T>, ManageError> {
    for _ in 0..TRIES {
        let stored = read().await?.ok_or(ManageError::NotFound(what))?;
        let mut changed = T::clone(&stored);
        decide(&mut changed)?;
        if changed == *stored {
            return Ok(Changed::Not(stored));
        }
        match write(&changed).await? {
            Replaced::Done => return Ok(Changed::To { changed, announced: true }),
            Replaced::Unannounced => return Ok(Changed::To { changed, announced: false }),
            Replaced::Stale => {}
            Replaced::Gone => return Err(ManageError::NotFound(what)),
            Replaced::Taken => {
                return Err(ManageError::Misconfigured("a new secret was there already".into()));
            }
        }
    }
    Err(ManageError::Contended)
}

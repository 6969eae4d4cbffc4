//! The slots that a request in flight holds.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::account::{InFlightLimit, InFlightLimits, Limits, QuotaOrigin};
use crate::clock::Now;
use crate::gate::Core;
use crate::gate::detach::finish_alone;
use crate::gate::entry::FoundKey;
use crate::key::KeyRecord;
use crate::limit::{Acquire, SlotId};
use crate::panics::guard;
use crate::spare::{self, Spare};
use crate::trace;

/// The slots of a request. They are released when this is dropped. Empty if no limit on requests in flight applies.
// Boxed, because most requests have none: a pointer is moved and dropped in few instructions.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<Box<Slotted>>);

#[derive(Debug)]
enum Slotted {
    /// The content of a spare box.
    Nothing,
    Own(Slots),
    Shared(RequestSlot),
}

thread_local! {
    #[allow(clippy::vec_box, reason = "the boxes themselves are reused")]
    static SPARE: Spare<Slotted> = const { RefCell::new(Vec::new()) };
}

/// The slots of one request.
pub(super) struct Slots {
    reserved: ReservedSlots,
    holder: SlotHolder,
    /// True from the time at which the limiter has given the slots.
    is_held: bool,
    /// True if this node's own share gave them.
    local: bool,
}

/// The part of a request that determines its limits on requests in flight.
#[derive(Debug, Clone)]
pub(super) enum SlotHolder {
    /// The key. Its choice is that of the limits.
    Key(FoundKey),
    /// A public rule.
    Public(Arc<Core>, Arc<Limits>),
}

/// The slots of an upgraded request, such as a WebSocket. They are held until the last clone is dropped.
///
/// A gate holds the slots of a request until the body of the response has ended. The response to an upgrade has no body.
/// For a request with the header `Upgrade`, or with the method `CONNECT`, a [`TollgateLayer`](crate::TollgateLayer)
/// therefore inserts this extension. The handler moves it into the task that works on the connection. If no limit on
/// requests in flight applies to the request, the extension is absent. Without the extension, as with actix-web, whose
/// response to an upgrade has a body, nothing needs to be done.
///
/// # Example
///
/// A handler of axum's that holds the slots as long as the connection is open:
///
/// ```
/// use axum::Extension;
/// use axum::extract::Request;
/// use axum::response::Response;
/// use http::StatusCode;
/// use http::header::{CONNECTION, UPGRADE};
/// use hyper::upgrade::OnUpgrade;
/// use tollgate::gate::RequestSlot;
///
/// async fn echo(slot: Option<Extension<RequestSlot>>, mut request: Request) -> Response {
///     if let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() {
///         tokio::spawn(async move {
///             let _slot = slot;
///             let connection = upgrade.await;
///             // The task reads and writes here. When it ends, the slots are released.
///             # drop(connection);
///         });
///     }
///     let mut response = Response::default();
///     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
///     response.headers_mut().insert(CONNECTION, "upgrade".parse().unwrap());
///     response.headers_mut().insert(UPGRADE, "echo".parse().unwrap());
///     response
/// }
/// # let _ = axum::Router::<()>::new().route("/echo", axum::routing::get(echo));
/// ```
#[derive(Debug, Clone)]
pub struct RequestSlot(Arc<Slots>);

/// The slots that a request is about to acquire.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReservedSlots {
    id: SlotId,
    /// The client's address, if a limit counts networks.
    address: Option<IpAddr>,
    now: Now,
}

impl ReservedSlots {
    /// Returns the call to the limiter for these slots.
    #[inline]
    pub(super) fn of<'a>(self, key: Option<&'a KeyRecord>, limits: &'a InFlightLimits) -> Acquire<'a> {
        let slots = match key.filter(|key| !key.anonymous) {
            Some(key) => Acquire::new(self.id, key, limits, self.now),
            None => Acquire::keyless(self.id, limits, self.now),
        };
        match self.address {
            Some(address) => slots.from_address(address),
            None => slots,
        }
    }
}

impl Held {
    /// Records the slots that the request is about to acquire, unless that was done before, and returns them. They are
    /// released only if [`hold`](Self::hold) was called.
    pub(super) fn reserve(
        &mut self,
        holder: impl FnOnce() -> SlotHolder,
        now: Now,
        address: Option<IpAddr>,
    ) -> ReservedSlots {
        if let Some(slots) = self.slots() {
            return slots.reserved;
        }
        let holder = holder();
        let reserved = ReservedSlots { id: SlotId::new(holder.core().charge_ids.next()), address, now };
        let slots = Slots { reserved, holder, is_held: false, local: false };
        self.0 = Some(spare::boxed(&SPARE, Slotted::Own(slots)));
        reserved
    }

    /// Marks the slots as held. They are released when this is dropped.
    pub(super) fn hold(&mut self, local: bool) {
        if let Some(Slotted::Own(slots)) = self.0.as_deref_mut() {
            (slots.is_held, slots.local) = (true, local);
        }
    }

    fn slots(&self) -> Option<&Slots> {
        match self.0.as_deref()? {
            Slotted::Nothing => None,
            Slotted::Own(slots) => Some(slots),
            Slotted::Shared(RequestSlot(slots)) => Some(slots),
        }
    }

    /// Returns true if no slots are held.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns true if the slots include those of the key's limit.
    pub(super) fn is_for_key(&self) -> bool {
        let limits = self.slots().and_then(Slots::limits);
        let is_of_plan = |limit: &InFlightLimit| {
            matches!(limit.origin(), QuotaOrigin::Plan | QuotaOrigin::Anonymous) && !limit.is_total()
        };
        limits.is_some_and(|limits| limits.all().iter().any(is_of_plan))
    }

    /// Returns the slots in a form that can be cloned.
    #[cold]
    pub(super) fn share(&mut self) -> Option<RequestSlot> {
        let slotted = self.0.as_deref_mut()?;
        let shared = match std::mem::replace(slotted, Slotted::Nothing) {
            Slotted::Nothing => return None,
            Slotted::Own(slots) => RequestSlot(Arc::new(slots)),
            Slotted::Shared(shared) => shared,
        };
        *slotted = Slotted::Shared(shared.clone());
        Some(shared)
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        if let Some(slotted) = self.0.take() {
            release(slotted);
        }
    }
}

#[cold]
fn release(mut slotted: Box<Slotted>) {
    *slotted = Slotted::Nothing;
    spare::keep(&SPARE, slotted);
}

impl SlotHolder {
    fn core(&self) -> &Core {
        match self {
            Self::Key(found) => &found.core,
            Self::Public(core, _) => core,
        }
    }

    fn key(&self) -> Option<&KeyRecord> {
        match self {
            Self::Key(found) => Some(&found.record),
            Self::Public(..) => None,
        }
    }
}

impl Slots {
    fn limits(&self) -> Option<&InFlightLimits> {
        match &self.holder {
            SlotHolder::Key(found) => Some(&found.terms()?.limits_at(found.choice).in_flight),
            SlotHolder::Public(_, limits) => Some(&limits.in_flight),
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let Some(limits) = self.limits().filter(|_| self.is_held) else { return };
        let core = self.holder.core();
        let released = self.reserved.of(self.holder.key(), limits).held_locally(self.local);
        let Ok(release) = guard("a limiter", || core.limiter.release(&released)) else { return };
        finish_alone(core.measured(|metrics| &metrics.release, release), trace::unreleased);
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("id", &self.reserved.id)
            .field("is_held", &self.is_held)
            .finish_non_exhaustive()
    }
}

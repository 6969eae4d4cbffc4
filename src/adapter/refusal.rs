//! The response to a denied request.

use bytes::Bytes;
use http::Response;

use crate::denial::{Cause, Denial};
use crate::gate::Gate;
use crate::gate::{Admission, Core, Decision};
use crate::request::RequestView;
use crate::respond::{ReportedLimits, RequestCredits, RequestId, limit_headers};

/// Returns the response to a denied request, and passes the denial to the decision sinks. For a `HEAD` request, the
/// adapter sends only the head. `instance` is the path as it was sent.
pub(super) fn refuse(
    core: &Core,
    view: &RequestView<'_>,
    instance: &str,
    denial: &Denial,
    decision: &Decision,
) -> Response<Bytes> {
    let denial = core.observed(denial);
    let id = decision.request_id().cloned();
    let id = id.unwrap_or_else(|| core.request_id(view));
    let response = respond(core, view, instance, &denial, decision.admitted(), &id);
    core.record_denial(&denial, Some(response.status()), decision);
    response
}

/// Returns the whole response to a denial that was observed. `drawn` contains what the request drew before it was
/// denied.
fn respond(
    core: &Core,
    view: &RequestView<'_>,
    instance: &str,
    denial: &Denial,
    drawn: &Admission,
    id: &RequestId,
) -> Response<Bytes> {
    let header = core.request_ids.header();
    let context = core.denial_context(instance, id);
    let mut response = core.refuse(denial, |responders, denial| responders.respond(view, denial, &context));
    if !response.headers().contains_key(header)
        && let Some(id) = id.to_header()
    {
        response.headers_mut().insert(header, id);
    }
    if core.limit_headers
        && let Some(reported) = reported_limits(core, denial, drawn)
    {
        limit_headers(response.headers_mut(), &reported);
    }
    if let Some(names) = &core.credit_headers
        && let Cause::Balance { balance, cost, .. } = *denial.cause()
    {
        names.set(response.headers_mut(), RequestCredits { cost, balance: Some(balance) });
    }
    response
}

/// Returns the limits that deny a request, or from which it drew before it was denied. The limits of a key are not
/// reported before that: they would show that the key exists.
fn reported_limits<'l>(core: &Core, denial: &'l Denial, drawn: &'l Admission) -> Option<ReportedLimits<'l>> {
    let exceeded = denial.exceeded();
    let exceeded =
        exceeded.map(|(limits, least)| ReportedLimits::new(limits, Some(least), core.rules.weighs()));
    let reported = exceeded.or_else(|| drawn.reported_limits())?;
    let full = denial.full();
    (reported.least.is_some() || full.is_some()).then(|| reported.of_denial(full, denial.retry_after()))
}

impl Gate {
    /// Returns the response to a denied request, in the form of this gate's own denials. It is for handlers that deny a
    /// request that the gate admitted. The denial is reported to [`on_denial`](crate::gate::GateBuilder::on_denial) and
    /// to the log.
    ///
    /// # Example
    ///
    /// A page where signed-in users manage their keys returns errors in the same form as the API:
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use tollgate::audit::Actor;
    /// use tollgate::{Gate, KeyId, KeyManager, RequestView};
    ///
    /// async fn revoke(gate: &Gate, keys: &KeyManager, request: &Request<()>, id: KeyId) -> Response<Bytes> {
    ///     let keys = keys.clone().by(Actor::user("user-17"));
    ///     match keys.revoke(id).await {
    ///         Ok(_) => Response::new("revoked".into()),
    ///         Err(error) => gate.response(&RequestView::of(request), &error.into()),
    ///     }
    /// }
    /// ```
    pub fn response(&self, view: &RequestView<'_>, denial: &Denial) -> Response<Bytes> {
        let (core, drawn) = (self.core(), Admission::default());
        respond(&core, view, view.path(), &core.observed(denial), &drawn, &core.request_id(view))
    }
}

//! The changes to an admitted request before the handler sees it, and to its response.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use crate::adapter::caches::{keep_private, vary_by_keys};
use crate::adapter::view::FEW;
use crate::gate::{Admission, Core, CostMeter, Principal};
use crate::query;
use crate::request::RequestView;
use crate::respond::{AnswerHeaders, RequestCredits, RequestId, limit_headers};

/// Removes or hides the key in a request, and inserts the principal.
#[inline]
pub(super) fn prepare_request<B>(request: &mut Request<B>, admission: &Admission, core: &Core) {
    let source = admission.entry().map(|entry| entry.source);
    let taken = source.and_then(|at| core.take_key(|| RequestView::of(request), at));
    if let Some(id) = core.id_to_remove(|| RequestView::of(request), source) {
        request.headers_mut().remove(id);
    }
    for source in &core.sources {
        if let Some(parameter) = source.parameter() {
            strip_parameter(request.uri_mut(), parameter);
            // An axum router in front of the gate has stored the original URI for handlers.
            #[cfg(feature = "axum")]
            if let Some(uri) = super::axum::original_uri(request.extensions_mut()) {
                strip_parameter(uri, parameter);
            }
        }
        if let Some(header) = source.header_name() {
            if core.strip_headers {
                request.headers_mut().remove(header);
            } else {
                hide(request.headers_mut(), header);
            }
        }
    }
    if core.principal
        && let Some(principal) = admission.principal()
    {
        let extensions = request.extensions_mut();
        if let Some(outer) = extensions.insert(principal)
            && let Some(principal) = extensions.get_mut::<Principal>()
        {
            principal.follow(outer);
        }
    }
    if let Some(taken) = taken {
        request.extensions_mut().insert(taken);
    }
    if let Some(meter) = admission.cost_meter() {
        let extensions = request.extensions_mut();
        let outer = extensions.remove::<CostMeter>();
        extensions.insert(meter.inside(outer, admission.is_charged()));
    }
    if let Some(report) = admission.weight_report()
        && let Some(outer) = request.extensions_mut().insert(report.clone())
    {
        report.follow(outer);
    }
}

/// Marks all values of a header as sensitive.
#[inline]
fn hide(headers: &mut HeaderMap, name: &HeaderName) {
    if headers.len() > headers.keys_len() || headers.len() <= FEW {
        let values = headers.iter_mut().filter(|(named, _)| *named == name);
        values.for_each(|(_, value)| value.set_sensitive(true));
    } else if let Some(value) = headers.get_mut(name) {
        // Every header has only one value here. `entry` would reach all values, but it also reserves room for one more,
        // which allocates.
        value.set_sensitive(true);
    }
}

/// Removes the parameter from the URI's query. A URI without the parameter does not change.
fn strip_parameter(uri: &mut Uri, parameter: &str) {
    let Some(rewritten) = without_parameter(uri.path(), uri.query(), parameter) else { return };
    let path = uri.path();
    let mut parts = uri.clone().into_parts();
    // The path and the kept parameters were parts of a URI, so together they are valid too. If they were not, remove
    // the whole query rather than show the key.
    let bare = || PathAndQuery::try_from(path).unwrap_or_else(|_| PathAndQuery::from_static("/"));
    parts.path_and_query = Some(PathAndQuery::try_from(rewritten).unwrap_or_else(|_| bare()));
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// Returns the path and the query without the parameter. Returns `None` if the query does not contain it.
pub(super) fn without_parameter(path: &str, query: Option<&str>, parameter: &str) -> Option<String> {
    let kept = query::without(query?, |name| query::names(name, parameter))?;
    Some(if kept.is_empty() { path.to_owned() } else { format!("{path}?{kept}") })
}

/// The header and value of the request's id, if every response has it.
pub(super) type RequestIdHeader = Option<Box<(HeaderName, HeaderValue)>>;

/// Returns the id of an admitted request, which is also that of the event about the decision.
pub(super) fn request_id<'v>(
    view: impl FnOnce() -> RequestView<'v>,
    core: &Core,
    admission: &Admission,
) -> RequestId {
    admission.request_id().cloned().unwrap_or_else(|| core.request_id(&view()))
}

/// Returns the header and value of the request's id, if every response must have it.
#[inline]
pub(super) fn name<'v>(
    view: impl FnOnce() -> RequestView<'v>,
    core: &Core,
    admission: &Admission,
) -> RequestIdHeader {
    if !core.request_ids.everywhere() {
        return None;
    }
    let id = request_id(view, core, admission).to_header()?;
    Some(Box::new((core.request_ids.header().clone(), id)))
}

/// Adds the cost of the request and the balance to its response.
#[inline]
pub(super) fn tell_credits(
    headers: &mut impl AnswerHeaders,
    admission: &Admission,
    credits: Option<RequestCredits>,
) {
    if let Some(credits) = credits
        && let Some(names) = admission.entry().and_then(|entry| entry.core().credit_headers.as_ref())
    {
        names.set(headers, credits);
    }
}

/// Adds caching, limit and request-id headers to the response of an admitted request.
#[inline]
pub(super) fn answer(
    headers: &mut impl AnswerHeaders,
    admission: &Admission,
    request_id: &mut RequestIdHeader,
) {
    if let Some(entry) = admission.entry() {
        let core = entry.core();
        if let Some(source) = core.sources.get(entry.source) {
            keep_private(headers, source);
        } else if entry.record().anonymous {
            vary_by_keys(headers, &core.sources);
        }
    }
    if let Some(reported) = admission.reported_limits() {
        limit_headers(headers, &reported);
    }
    if let Some(named) = request_id.take() {
        headers.set(named.0, named.1);
    }
}

//! What the gate takes from a request before the handler sees it, and adds to the answer.

use http::header::{CACHE_CONTROL, REFERRER_POLICY, VARY};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use crate::gate::{Admission, Core};
use crate::{KeySource, query};

/// Takes the key out of what the handler sees, and puts the principal in.
pub(super) fn hand_over<B>(request: &mut Request<B>, admission: &Admission, core: &Core) {
    for source in &core.sources {
        if let Some(parameter) = source.parameter() {
            strip_parameter(request.uri_mut(), parameter);
            // An axum router in front of the gate has put the address as sent aside for handlers.
            #[cfg(feature = "axum")]
            if let Some(axum::extract::OriginalUri(uri)) = request.extensions_mut().get_mut() {
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
        && let Some(principal) = admission.principal(core)
    {
        request.extensions_mut().insert(principal);
    }
}

/// Marks all values of a header as sensitive.
fn hide(headers: &mut HeaderMap, name: &HeaderName) {
    if headers.len() > headers.keys_len() {
        let values = headers.iter_mut().filter(|(named, _)| *named == name);
        values.for_each(|(_, value)| value.set_sensitive(true));
    } else if let Some(value) = headers.get_mut(name) {
        // No header has two values. An entry would reach all of them too, and make room for one more: an allocation.
        value.set_sensitive(true);
    }
}

/// Rewrites the query without the parameter; a URI without it stays as it is.
fn strip_parameter(uri: &mut Uri, parameter: &str) {
    let Some(kept) = uri.query().and_then(|sent| query::without(sent, |name| query::names(name, parameter)))
    else {
        return;
    };
    let path = uri.path();
    let rewritten = if kept.is_empty() { path.to_owned() } else { format!("{path}?{kept}") };
    let mut parts = uri.clone().into_parts();
    // The path and the kept parameters were parts of a URI: put together they are one too. Were they not, the query
    // goes altogether rather than the key with it.
    let bare = || PathAndQuery::try_from(path).unwrap_or_else(|_| PathAndQuery::from_static("/"));
    parts.path_and_query = Some(PathAndQuery::try_from(rewritten).unwrap_or_else(|_| bare()));
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// What an answer to an admitted key needs, so that no shared cache keeps it for others: RFC 9111, section 3.5, protects
/// the answers to `Authorization` alone.
pub(super) fn keep_private(headers: &mut HeaderMap, admission: &Admission, core: &Core) {
    let Some(source) = admission.entry().and_then(|entry| core.sources.get(entry.source)) else { return };
    if source.is_authorization() {
        return;
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
    match source.vary() {
        Some(name) => drop(headers.append(VARY, name.clone())),
        None => in_query(headers),
    }
}

/// The answer to a key in the query: RFC 6750, section 2.3, asks for `private`, also where the handler allows caches
/// more; and the address with the key in it is not passed on.
fn in_query(headers: &mut HeaderMap) {
    let says = |word: &str| {
        let mut values = headers.get_all(CACHE_CONTROL).iter();
        values.any(|value| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains(word)))
    };
    if says("public") || says("s-maxage") {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    } else if !says("private") && !says("no-store") {
        // What the handler asks for beside it, such as `no-cache`, stands.
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
}

impl KeySource {
    fn is_authorization(&self) -> bool {
        self.header_name() == Some(&http::header::AUTHORIZATION)
    }
}

//! A tracing span for a request that does not show its key.

use std::fmt;

use http::Request;
use tracing::Span;

use crate::gate::Core;
use crate::gate::Gate;
use crate::key::{KeySource, without_keys};
use crate::query;

/// Creates spans for tower-http's `TraceLayer` that show a request without its key.
///
/// `TraceLayer`'s own spans show the whole URI, and so a key in the query. The spans of this function have the same
/// name (`request`), level (`DEBUG`), target (`tower_http::trace::make_span`, so that a filter such as
/// `tower_http=debug` shows them) and fields (`method`, `uri`, `version`). They do not show headers. The `uri` is the
/// path and the query without these parameters, however they are encoded:
///
/// - those that are key sources of this gate;
/// - those that usually contain keys, in any case: `api-key`, `api_key`, `apikey`, `key`, `token`, `access_token`;
/// - those whose name or value contains a whole key of one of this gate's formats, because a key that is sent in the
///   wrong place is still a key.
///
/// A segment of the path that contains a whole key is written `***`.
///
/// The layer may therefore be outside the gate, where requests still contain their keys.
///
/// If a format of the gate accepts any long text, long values count as keys and are not shown.
///
/// # Example
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::adapter::redacted_span;
/// use tollgate::key::Length;
/// use tollgate::{Gate, KeyFormat, KeySource, TollgateLayer};
/// use tower::ServiceBuilder;
/// use tower_http::trace::TraceLayer;
///
/// let gate = Gate::builder()
///     .source(KeySource::query("api-key")?)
///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
///     .build()?;
/// let trace = TraceLayer::new_for_http().make_span_with(redacted_span(&gate));
/// let layers = ServiceBuilder::new().layer(trace).layer(TollgateLayer::new(gate));
/// let app = layers.service(Router::<()>::new().route("/v1/candles", get(|| async { "[]" })));
/// # fn serve<S: tower::Service<axum::extract::Request>>(_: S) {}
/// # serve(app);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
pub fn redacted_span<B>(
    gate: &Gate,
) -> impl Fn(&Request<B>) -> Span + Clone + Send + Sync + 'static + use<B> {
    let gate = gate.clone();
    move |request| {
        let core = gate.load();
        let uri = Redacted { path: request.uri().path(), query: request.uri().query(), core: &core };
        tracing::debug_span!(target: TARGET, "request", method = %request.method(), %uri, version = ?request.version())
    }
}

/// The target of tower-http's own spans. A filter such as `tower_http=debug` also enables the spans with this target.
const TARGET: &str = "tower_http::trace::make_span";

/// A path and a query, both without keys.
struct Redacted<'a> {
    path: &'a str,
    query: Option<&'a str>,
    core: &'a Core,
}

/// The names of parameters that contain keys at some services.
const USUAL: [&str; 6] = ["api-key", "api_key", "apikey", "key", "token", "access_token"];

/// The bytes that separate a key from the rest of a value, as in `Bearer KEY` or where `;` separates parameters.
const BETWEEN: &[u8] = b" \t,;=\"'";

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_keys(self.path, self.core.formats()))?;
        let Some(query) = self.query else { return Ok(()) };
        let mut mark = '?';
        for piece in query.split('&').filter(|piece| !self.is_secret(piece)) {
            write!(f, "{mark}{piece}")?;
            mark = '&';
        }
        Ok(())
    }
}

impl Redacted<'_> {
    /// Returns true if a parameter may contain a key. A name may be a key too.
    fn is_secret(&self, piece: &str) -> bool {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        let (name, value) = (query::decode(name.as_bytes()), query::decode(value.as_bytes()));
        let mut sources = self.core.sources.iter().filter_map(KeySource::parameter);
        sources.any(|source| *name == *source.as_bytes())
            || USUAL.iter().any(|usual| name.eq_ignore_ascii_case(usual.as_bytes()))
            || self.contains_key(&name)
            || self.contains_key(&value)
    }

    fn contains_key(&self, text: &[u8]) -> bool {
        let mut parts = text.split(|byte| BETWEEN.contains(byte));
        self.core.is_key(text)
            || parts.any(|part| self.core.is_key(part))
            || self.core.formats().iter().any(|format| format.is_in(text))
    }
}

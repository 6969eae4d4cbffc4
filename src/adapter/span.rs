//! A span for a request that does not show its key.

use std::fmt;

use http::Request;
use tracing::Span;

use crate::gate::Core;
use crate::gate::Gate;
use crate::key::KeySource;
use crate::query;

/// Makes spans for tower-http's `TraceLayer` that show a request without its key.
///
/// `TraceLayer`'s own spans show the whole URI, and with it a key in the query. These are like them in name (`request`),
/// level (`DEBUG`), target (`tower_http::trace::make_span`, so that a filter such as `tower_http=debug` shows them) and fields
/// (`method`, `uri`, `version`), but `uri` is the path and the query without the parameters
/// that are key sources of this gate, those that usually hold keys (`api-key`, `api_key`, `apikey`, `key`, `token`,
/// `access_token`, in any case), and those whose value has the shape of one of this gate's keys, however they are encoded:
/// a key that is sent where none is read is a key all the same. Headers are not shown. So it may stand outside of the gate,
/// where requests still bear their keys.
///
/// A gate whose format takes whatever is long enough takes long values for keys: they are not shown.
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
        let uri = Redacted { path: request.uri().path(), query: request.uri().query(), core: &gate.0 };
        tracing::debug_span!(target: TARGET, "request", method = %request.method(), %uri, version = ?request.version())
    }
}

/// The target of tower-http's own spans: a filter such as `tower_http=debug` lets these through as well.
const TARGET: &str = "tower_http::trace::make_span";

/// A path and what may be shown of a query.
struct Redacted<'a> {
    path: &'a str,
    query: Option<&'a str>,
    core: &'a Core,
}

/// Parameters that hold keys at one service or another.
const USUAL: [&str; 6] = ["api-key", "api_key", "apikey", "key", "token", "access_token"];

/// What stands between a key and what else a value holds, as in `Bearer KEY` or where `;` parts parameters.
const BETWEEN: &[u8] = b" \t,;=\"'";

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)?;
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
    /// Whether a parameter may hold a key. A bare name is a value too.
    fn is_secret(&self, piece: &str) -> bool {
        let (name, value) = piece.split_once('=').unwrap_or((piece, piece));
        let (name, value) = (query::decode(name.as_bytes()), query::decode(value.as_bytes()));
        let mut sources = self.core.sources.iter().filter_map(KeySource::parameter);
        sources.any(|source| *name == *source.as_bytes())
            || USUAL.iter().any(|usual| name.eq_ignore_ascii_case(usual.as_bytes()))
            || self.core.is_key(&value)
            || value.split(|byte| BETWEEN.contains(byte)).any(|part| self.core.is_key(part))
    }
}

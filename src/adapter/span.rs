//! A span for a request that does not show its key.

use std::fmt;
use std::sync::Arc;

use http::Request;
use tracing::Span;

use crate::{Gate, KeySource, query};

/// Makes spans for tower-http's `TraceLayer` that show a request without its key.
///
/// `TraceLayer`'s own spans show the whole URI, and with it a key in the query. These are like them in name (`request`),
/// level (`DEBUG`) and fields (`method`, `uri`, `version`), but `uri` is the path and the query without the parameters
/// that are key sources of this gate, however they are encoded. Headers are not shown. So it may stand outside of the
/// gate, where requests still bear their keys.
///
/// # Example
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::{Gate, KeyFormat, KeySource, Length, TollgateLayer, redacted_span};
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
    let secret: Arc<[String]> =
        gate.0.sources.iter().filter_map(KeySource::parameter).map(str::to_owned).collect();
    move |request| {
        let uri = Redacted { path: request.uri().path(), query: request.uri().query(), secret: &secret };
        tracing::debug_span!("request", method = %request.method(), %uri, version = ?request.version())
    }
}

/// A path and what may be shown of a query.
struct Redacted<'a> {
    path: &'a str,
    query: Option<&'a str>,
    secret: &'a [String],
}

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)?;
        let Some(query) = self.query else { return Ok(()) };
        let is_secret = |sent: &str| self.secret.iter().any(|name| query::names(sent, name));
        match query::without(query, is_secret).as_deref() {
            None => write!(f, "?{query}"),
            Some("") => Ok(()),
            Some(kept) => write!(f, "?{kept}"),
        }
    }
}

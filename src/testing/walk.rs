//! A search for the routes of a service that answer without a key.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri};
use serde_json::Value;
use tower::Service;

use crate::adapter::Peer;
use crate::testing::routes::filled;

/// Sends a request without a key to each route, such as `GET /v1/quotes`, and returns the open routes. A route is open
/// if the status of its response is neither 401 nor 403, nor the gRPC code for one of them. A route that is not found
/// is also open, since the response is not the gate's.
///
/// A route without a method is requested with `GET`. Each of the `{parameters}` of a path is replaced by `1`. An
/// invalid route is returned as open, so that a typing error is visible.
///
/// # Errors
///
/// Returns the service's first error.
///
/// # Example
///
/// See the [module](crate::testing).
pub async fn open_routes<B, R, S>(
    service: &S,
    routes: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Vec<String>, S::Error>
where
    B: Default,
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    let mut open = Vec::new();
    for route in routes {
        let route = route.as_ref();
        let is_open = match request(route) {
            None => true,
            Some(request) => {
                let mut service = service.clone();
                poll_fn(|cx| service.poll_ready(cx)).await?;
                !is_refusal(&service.call(request).await?)
            }
        };
        if is_open {
            open.push(route.to_owned());
        }
    }
    Ok(open)
}

/// Returns the routes of an OpenAPI document, in the form `GET /v1/quotes/{id}`.
///
/// # Example
///
/// ```
/// let document = serde_json::json!({ "paths": { "/v1/quotes/{id}": { "parameters": [], "get": {}, "delete": {} } } });
/// assert_eq!(tollgate::testing::documented_routes(&document), ["GET /v1/quotes/{id}", "DELETE /v1/quotes/{id}"]);
/// ```
pub fn documented_routes(document: &Value) -> Vec<String> {
    const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    let mut routes = Vec::new();
    for (path, item) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
        for method in item.as_object().into_iter().flat_map(|item| item.keys()) {
            if METHODS.contains(&method.as_str()) {
                routes.push(format!("{} {path}", method.to_ascii_uppercase()));
            }
        }
    }
    routes
}

fn request<B: Default>(route: &str) -> Option<Request<B>> {
    let (method, path) = route.split_once(' ').unwrap_or(("GET", route));
    let mut request = Request::new(B::default());
    *request.method_mut() = method.parse().ok()?;
    *request.uri_mut() = filled(path, "1").parse::<Uri>().ok().filter(|uri| uri.path().starts_with('/'))?;
    request.extensions_mut().insert(Peer(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    Some(request)
}

/// Returns true if a response denies the request.
fn is_refusal<R>(answer: &Response<R>) -> bool {
    matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        || is_refused_call(answer.headers())
}

/// Returns true for the gRPC codes `PERMISSION_DENIED` (7) and `UNAUTHENTICATED` (16).
fn is_refused_call(headers: &HeaderMap) -> bool {
    let status = headers.get(HeaderName::from_static("grpc-status"));
    status.is_some_and(|code| matches!(code.as_bytes(), b"7" | b"16"))
}

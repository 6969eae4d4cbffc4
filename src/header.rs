//! Names of headers to which HTTP, gRPC and browsers give a meaning.

use http::HeaderName;

/// The beginnings of the names of headers that come in families.
const FAMILIES: [&str; 8] =
    ["accept-", "access-control-", "content-", "cross-origin-", "grpc-", "if-", "sec-", "x-accel-"];

/// The other headers that clients, browsers, proxies and servers write and interpret themselves.
const RESERVED: [&str; 77] = [
    "accept",
    "age",
    "allow",
    "alt-svc",
    "alt-used",
    "authentication-info",
    "authorization",
    "cache-control",
    "cache-status",
    "cdn-cache-control",
    "cdn-loop",
    "clear-site-data",
    "connection",
    "cookie",
    "date",
    "deprecation",
    "dnt",
    "early-data",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "nel",
    "origin",
    "origin-agent-cluster",
    "permissions-policy",
    "pragma",
    "prefer",
    "preference-applied",
    "priority",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "proxy-status",
    "range",
    "ratelimit",
    "ratelimit-policy",
    "referer",
    "referrer-policy",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "retry-after",
    "server",
    "server-timing",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "sourcemap",
    "strict-transport-security",
    "sunset",
    "te",
    "timing-allow-origin",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
    "x-http-method-override",
    "x-powered-by",
    "x-robots-tag",
    "x-xss-protection",
];

/// The problem with a reserved header, for error messages.
pub(crate) const MEANS_SOMETHING_ELSE: &str =
    "this header has a standard meaning to clients, proxies and servers";

/// Returns true if a header has a meaning of its own, so that a gate can use it for nothing else.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    RESERVED.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Returns true if proxies write the address or the target of a request into a header.
pub(crate) fn is_of_proxies(name: &HeaderName) -> bool {
    matches!(name.as_str(), "forwarded" | "x-real-ip") || name.as_str().starts_with("x-forwarded-")
}

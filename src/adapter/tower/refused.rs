//! What must not compile, each beside its twin that does and differs from it in one place: doctests, and nothing else.

/// The gate may have to wait before it calls the service: it needs one of its own, so the service is `Clone`.
///
/// ```
/// use std::convert::Infallible;
/// use std::future::ready;
///
/// use http::{Request, Response};
/// use tollgate::TollgateLayer;
/// use tower::{Layer, Service, service_fn};
///
/// fn is_service<S: Service<Request<String>, Error = Infallible>>(_: S) {}
///
/// #[derive(Clone)]
/// struct Held;
///
/// fn check(layer: TollgateLayer) {
///     let held = Held;
///     is_service(layer.layer(service_fn(move |_: Request<String>| {
///         let _ = &held;
///         ready(Ok::<_, Infallible>(Response::new(String::new())))
///     })));
/// }
/// ```
///
/// ```compile_fail,E0277
/// use std::convert::Infallible;
/// use std::future::ready;
///
/// use http::{Request, Response};
/// use tollgate::TollgateLayer;
/// use tower::{Layer, Service, service_fn};
///
/// fn is_service<S: Service<Request<String>, Error = Infallible>>(_: S) {}
///
/// struct Held;
///
/// fn check(layer: TollgateLayer) {
///     let held = Held;
///     is_service(layer.layer(service_fn(move |_: Request<String>| {
///         let _ = &held;
///         ready(Ok::<_, Infallible>(Response::new(String::new())))
///     })));
/// }
/// ```
struct IsClone;

/// What the gate answers itself takes bodies: a request has one that can be read.
///
/// ```
/// use std::convert::Infallible;
/// use std::future::ready;
///
/// use http::{Request, Response};
/// use tollgate::TollgateLayer;
/// use tower::{Layer, Service, service_fn};
///
/// fn is_service<S: Service<Request<String>, Error = Infallible>>(_: S) {}
///
/// #[derive(Clone)]
/// struct Held;
///
/// fn check(layer: TollgateLayer) {
///     let held = Held;
///     is_service(layer.layer(service_fn(move |_: Request<String>| {
///         let _ = &held;
///         ready(Ok::<_, Infallible>(Response::new(String::new())))
///     })));
/// }
/// ```
///
/// ```compile_fail,E0277
/// use std::convert::Infallible;
/// use std::future::ready;
///
/// use http::{Request, Response};
/// use tollgate::TollgateLayer;
/// use tower::{Layer, Service, service_fn};
///
/// fn is_service<S: Service<Request<Vec<u8>>, Error = Infallible>>(_: S) {}
///
/// #[derive(Clone)]
/// struct Held;
///
/// fn check(layer: TollgateLayer) {
///     let held = Held;
///     is_service(layer.layer(service_fn(move |_: Request<Vec<u8>>| {
///         let _ = &held;
///         ready(Ok::<_, Infallible>(Response::new(String::new())))
///     })));
/// }
/// ```
struct HasBody;

/// A service that can fail can fail behind a gate: its error is not taken away, nor made another.
///
/// ```
/// use std::convert::Infallible;
/// use std::future::ready;
///
/// use http::{Request, Response};
/// use tollgate::TollgateLayer;
/// use tower::{BoxError, Layer, Service, service_fn};
///
/// fn is_service<S: Service<Request<String>, Error = BoxError>>(_: S) {}
///
/// #[derive(Clone)]
/// struct Held;
///
/// fn check(layer: TollgateLayer) {
///     let held = Held;
///     is_service(layer.layer(service_fn(move |_: Request<String>| {
///         let _ = &held;
///         ready(Ok::<_, BoxError>(Response::new(String::new())))
///     })));
/// }
/// ```
///
/// ```compile_fail,E0271
/// use std::convert::Infallible;
/// use std::future::ready;
///
/// use http::{Request, Response};
/// use tollgate::TollgateLayer;
/// use tower::{BoxError, Layer, Service, service_fn};
///
/// fn is_service<S: Service<Request<String>, Error = Infallible>>(_: S) {}
///
/// #[derive(Clone)]
/// struct Held;
///
/// fn check(layer: TollgateLayer) {
///     let held = Held;
///     is_service(layer.layer(service_fn(move |_: Request<String>| {
///         let _ = &held;
///         ready(Ok::<_, BoxError>(Response::new(String::new())))
///     })));
/// }
/// ```
struct KeepsError;

//! Doctests of code that must not compile. Each is next to a twin that compiles and differs in one place.

/// A check that the service must be `Clone`: the gate may have to wait before it calls the service, and needs a copy of
/// its own for that.
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

/// A check that the request's body must be readable: the endpoints to which the gate itself responds read bodies.
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

/// A check that the service's error type stays the same behind a gate: the gate neither removes nor replaces it.
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

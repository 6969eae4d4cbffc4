//! The layer around services of every shape: each compiles, lets a key in, and refuses who has none.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::{Debug, Display};
use std::future::{Ready, ready};
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{BodyExt, Empty, Full};
use tollgate::adapter::{ResponseBody, ResponseFuture};
use tollgate::key::{IssuedKey, KeyHash, KeyHasher, PresentedKey};
use tollgate::{Gate, TollgateLayer, TollgateService};
use tower::util::{BoxCloneService, BoxCloneSyncService};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::support::service::Inner;
use crate::support::{World, with_key, without_key};

const KEY: &str = "kwery_live_0123456789";

#[derive(Debug, thiserror::Error)]
#[error("a fault of its own")]
enum Fault {}

/// A service with these bodies and this error.
fn answer<B, R: Default, E>(_: Request<B>) -> Ready<Result<Response<R>, E>> {
    ready(Ok(Response::default()))
}

fn gate() -> Gate {
    let world = World::new();
    world.plain_key(KEY);
    world.kwery().build().unwrap()
}

fn layer() -> TollgateLayer {
    TollgateLayer::new(gate())
}

async fn serves<S, B, R>(service: S, body: impl Fn() -> B)
where
    S: Service<Request<B>, Response = Response<R>, Error: Debug> + Clone,
{
    let keyed = with_key("GET /", KEY).body(body()).unwrap();
    assert_eq!(service.clone().oneshot(keyed).await.unwrap().status(), 200);
    assert_eq!(service.oneshot(without_key("GET /").body(body()).unwrap()).await.unwrap().status(), 401);
}

#[tokio::test]
async fn any_body_and_error_types_compile() {
    let text = || "read".to_owned();
    serves(layer().layer(service_fn(answer::<_, String, Infallible>)), Empty::<Bytes>::new).await;
    serves(layer().layer(service_fn(answer::<_, Full<Bytes>, BoxError>)), text).await;
    serves(layer().layer(service_fn(answer::<_, Empty<Bytes>, Fault>)), || axum::body::Body::from("read"))
        .await;
    // Bytes that come in other buffers, and errors of the body's own.
    serves(layer().layer(service_fn(answer::<_, UnsyncBoxBody<Bytes, Fault>, BoxError>)), || {
        Full::new(VecDeque::from([1, 2]))
    })
    .await;
    let boxed = || BoxBody::<Bytes, BoxError>::new(Full::from("read").map_err(Into::into));
    serves(layer().layer(service_fn(answer::<_, axum::body::Body, Fault>)), boxed).await;
    // Of an answer nothing is asked: a layer further out may have use for what is no body.
    serves(layer().layer(service_fn(answer::<_, Vec<u8>, Infallible>)), text).await;
}

#[tokio::test]
async fn service_can_be_boxed_stacked_or_local() {
    type Text = Request<String>;
    type Answer<B> = Response<B>;
    let (text, inner) = (|| "read".to_owned(), service_fn(answer::<String, String, BoxError>));
    let boxed: BoxCloneService<Text, Answer<String>, BoxError> = inner.boxed_clone();
    let gated: BoxCloneService<Text, Answer<ResponseBody<String>>, BoxError> =
        layer().layer(boxed).boxed_clone();
    serves(gated, text).await;
    serves(BoxCloneSyncService::new(layer().layer(BoxCloneSyncService::new(inner))), text).await;

    let stack = ServiceBuilder::new().layer(layer()).map_err(BoxError::from).service(inner);
    serves(stack, text).await;
    let stack = ServiceBuilder::new()
        .boxed_clone()
        .map_response(|answer: Answer<ResponseBody<Full<Bytes>>>| answer.map(axum::body::Body::new))
        .layer(layer())
        .map_request(|request: Text| request.map(Full::<Bytes>::from))
        .service_fn(answer::<_, Full<Bytes>, Infallible>);
    serves(stack, text).await;
    // Two gates, one within the other.
    serves(ServiceBuilder::new().layer(layer()).layer(layer()).service(inner), text).await;

    let local = Rc::new(());
    let kept = service_fn(move |request: Text| {
        let local = Rc::clone(&local);
        async move { (local, answer::<_, String, Fault>(request)).1.await }
    });
    serves(layer().layer(kept), text).await;
}

fn is_shared<T: Clone + Send + Sync + Debug + 'static>() {}

fn is_sent<T: Send + Debug + 'static>() {}

fn is_body<T: Body<Data = Bytes, Error = BoxError> + Send + Unpin + Default>() {}

#[test]
fn server_trait_bounds_are_met() {
    is_shared::<Gate>();
    is_shared::<TollgateLayer>();
    is_shared::<TollgateService<Inner>>();
    is_sent::<ResponseFuture<Inner, axum::body::Body>>();
    is_body::<ResponseBody<BoxBody<Bytes, BoxError>>>();
    #[cfg(feature = "actix-web")]
    is_shared::<tollgate::TollgateTransform>();
}

/// Does not compile where the type has the trait: it could not be told which of the two is meant.
macro_rules! lacks {
    ($type:ty: $($trait:path),+) => {$(
        const _: () = {
            trait Told<T> {
                fn told() {}
            }
            struct Having;
            impl<T> Told<()> for T {}
            impl<T: $trait> Told<Having> for T {}
            let _ = <$type as Told<_>>::told;
        };
    )+};
}

// What is secret is not copied, printed or written down by mistake.
lacks!(IssuedKey: Clone, Display, serde::Serialize);
lacks!(PresentedKey<'static>: Clone, Display, serde::Serialize);
lacks!(KeyHash: Display, serde::Serialize);
lacks!(KeyHasher: Display, serde::Serialize);
// The service behind it takes any request; the gate those with a body.
lacks!(TollgateService<Inner>: Service<Request<()>>, Service<Request<Vec<u8>>>);

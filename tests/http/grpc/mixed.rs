//! One port for REST and gRPC: each is answered in its own form, by its content type.

use axum::Router;
use axum::routing::{get, post as on_post};

use crate::grpc::fixture::{CHECK, KEY, builder, client, post, raw, service};
use crate::support::World;
use crate::support::wire::Server;

async fn serve(world: &World) -> Server {
    let routes = Router::new()
        .route("/v1/quotes", get(|| async { "[]" }))
        .route("/v1/orders", on_post(|| async { "{}" }))
        .route_service("/grpc.health.v1.Health/{*method}", service(world));
    Server::gated(&builder(world).build().unwrap(), routes).await
}

#[tokio::test]
async fn content_type_alone_selects_the_form() {
    let world = World::new();
    let address = serve(&world).await.0;
    let grpc = [
        ("application/grpc", "application/grpc"),
        ("application/grpc+proto", "application/grpc"),
        ("Application/GRPC+json", "application/grpc"),
        ("application/grpc; charset=utf-8", "application/grpc"),
        ("application/grpc-web", "application/grpc-web+proto"),
        ("application/grpc-web+proto", "application/grpc-web+proto"),
        ("application/grpc-web-text+proto", "application/grpc-web-text+proto"),
    ];
    for (asked, answered) in grpc {
        for path in [CHECK, "/v1/orders"] {
            let headers = &[("content-type", asked), ("user-agent", "curl/8.5.0")];
            let head = raw(address, post(address, path, headers)).await;
            let told = (head.status, head.header("grpc-status"), head.header("content-type"));
            assert_eq!(told, (200, Some("16"), Some(answered)), "{asked}");
            assert!(head.is_all, "{asked}");
        }
    }
    // A call is a POST: what is asked for in another way is answered as HTTP is, whatever its content type says.
    for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
        let mut request = post(address, "/v1/quotes", &[("content-type", "application/grpc")]);
        *request.method_mut() = method.parse().unwrap();
        let head = raw(address, request).await;
        let told = (head.status, head.header("grpc-status"), head.header("content-type"));
        assert_eq!(told, (401, None, Some("application/problem+json")), "{method}");
    }
    for other in
        ["application/json", "application/grpcish", "text/application/grpc", "application/connect+proto"]
    {
        for path in [CHECK, "/v1/orders"] {
            let headers =
                &[("content-type", other), ("user-agent", "grpc-python/1.85 grpc-c"), ("te", "trailers")];
            let head = raw(address, post(address, path, headers)).await;
            let told = (head.status, head.header("grpc-status"), head.header("content-type"));
            assert_eq!(told, (401, None, Some("application/problem+json")), "{other}");
            assert!(head.headers.contains_key("www-authenticate") && !head.body.is_empty());
        }
    }
}

#[tokio::test]
async fn rest_and_grpc_share_port_and_charges() {
    let world = World::new();
    let id = world.plain_key(KEY);
    let server = serve(&world).await;
    let key = format!("X-API-Key: {KEY}");
    let rest = server.http1(&[b"GET /v1/quotes HTTP/1.1", key.as_bytes()]).await;
    assert_eq!((rest.status, rest.body.as_str()), (200, "[]"));
    let call = crate::grpc::fixture::ask("", &[("x-api-key", KEY)]);
    assert!(client(server.0).await.check(call).await.is_ok());
    let failing = crate::grpc::fixture::ask("code:13", &[("x-api-key", KEY)]);
    assert!(client(server.0).await.check(failing).await.is_err());
    assert_eq!(world.balance(id), 98);
}

#[tokio::test]
async fn tonic_peer_address_is_known() {
    let world = World::new();
    let localhost = tollgate::key::parse_network("127.0.0.1").unwrap();
    world.key(KEY, |record, _| record.allowlist = Some([localhost].into()));
    let address = crate::grpc::fixture::serve(&world, builder(&world).build().unwrap()).await;
    let call = crate::grpc::fixture::ask("", &[("x-api-key", KEY)]);
    assert!(client(address).await.check(call).await.is_ok());
}

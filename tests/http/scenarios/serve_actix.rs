//! The routes of the table, as actix-web serves them.

use std::net::SocketAddr;
use std::sync::mpsc;

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer};
use futures_util::stream::{self, StreamExt};
use tollgate::gate::FinalCost;
use tollgate::{Credits, Principal, TollgateTransform};

use crate::scenarios::fixture::{Notes, Stage};

/// Serves from a thread of its own, for as long as the test runs.
pub(crate) async fn serve(stage: &Stage) -> SocketAddr {
    let (gate, notes) = (stage.gate.clone(), stage.notes.clone());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                App::new()
                    .app_data(Data::new(notes.clone()))
                    .configure(routes)
                    .wrap(TollgateTransform::new(gate.clone()))
            });
            // Without it a handler works on when its client is gone.
            let server = server.h1_allow_half_closed(false);
            let server = server.workers(1).disable_signals().bind_auto_h2c("127.0.0.1:0").unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap()
}

fn routes(app: &mut web::ServiceConfig) {
    let text = |text: &'static str| move || std::future::ready(HttpResponse::Ok().body(text));
    let nothing = async || HttpResponse::NoContent().finish();
    let data = web::resource("/v1/data")
        .route(web::get().to(text("data")))
        .route(web::head().to(text("data")))
        .route(web::post().to(text("data")))
        .route(web::method(actix_web::http::Method::OPTIONS).to(nothing));
    app.service(data)
        .route("/open", web::get().to(text("open")))
        .route("/open", web::head().to(text("open")))
        .route("/status", web::get().to(text("status")))
        .route("/v1/stream", web::get().to(async || HttpResponse::Ok().streaming(chunks())))
        .route("/v1/ticker", web::to(ticker))
        .route("/v1/fails", web::get().to(async || HttpResponse::InternalServerError().finish()))
        .route("/v1/lost", web::get().to(async || HttpResponse::NotFound().finish()))
        .route("/v1/final", web::get().to(reported))
        .route("/v1/slow", web::get().to(slow))
        .route("/v1/endless", web::get().to(endless))
        .route("/v1/echo", web::get().to(upgrade));
    for name in ["free", "scoped", "pro", "paid", "signed", "dear", "bulk", "rare", "weighed"] {
        app.route(&format!("/v1/{name}"), web::to(text("served")));
    }
}

fn chunks() -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::iter(["one ", "two ", "three"]).map(|text| Ok(Bytes::from_static(text.as_bytes())))
}

async fn ticker(principal: Principal) -> &'static str {
    if principal.is_anonymous() { "for all" } else { "for a key" }
}

async fn reported() -> HttpResponse {
    let mut response = HttpResponse::Ok().body("data");
    response.extensions_mut().insert(FinalCost(Credits::new(4)));
    response
}

async fn slow(notes: Data<Notes>) -> HttpResponse {
    notes.work().await;
    HttpResponse::Ok().finish()
}

async fn endless(notes: Data<Notes>) -> HttpResponse {
    let first = stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"one ")) });
    let rest = stream::once(async move {
        notes.work().await;
        Err(std::io::Error::other("nobody is left to read it"))
    });
    HttpResponse::Ok().streaming(first.chain(rest))
}

async fn upgrade() -> HttpResponse {
    HttpResponse::SwitchingProtocols().upgrade("echo").finish()
}

//! The routes on actix-web, behind a gate around the app or around a scope.

use std::future::ready;
use std::sync::mpsc;
use std::time::Duration;

use actix_web::http::KeepAlive;
use actix_web::middleware::Condition;
use actix_web::{App, HttpResponse, HttpServer, Route, web};
use tollgate::{Gate, TollgateTransform};

use crate::odd_paths::serve::{Framework, Reached};
use crate::support::wire::Server;

/// Serves from a thread of its own, for as long as the test runs.
pub(crate) async fn serve(framework: Framework, gate: Gate, reached: Reached) -> Server {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                let around = TollgateTransform::new(gate.clone());
                let app = App::new().configure(|app| match framework {
                    Framework::Scope => scope(app, around.clone(), &reached),
                    _ => whole(app, &reached),
                });
                app.wrap(Condition::new(framework == Framework::Actix, around))
            });
            // A connection that is refused is closed at once.
            let server = server.keep_alive(KeepAlive::Disabled).client_disconnect_timeout(Duration::ZERO);
            let server = server.workers(1).disable_signals().bind_auto_h2c("127.0.0.1:0").unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    Server(tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap())
}

fn whole(app: &mut web::ServiceConfig, reached: &Reached) {
    for (name, path) in Framework::Actix.routes().chain(&[("open", "/open")]) {
        app.route(&pattern(path), handler(name, reached));
    }
    app.default_service(handler("fallback", reached));
}

fn scope(app: &mut web::ServiceConfig, around: TollgateTransform, reached: &Reached) {
    let below = Framework::Scope.routes().fold(web::scope("/v1"), |below, (name, path)| {
        below.route(&pattern(path.strip_prefix("/v1").unwrap_or(path)), handler(name, reached))
    });
    app.service(below.default_service(handler("fallback", reached)).wrap(around));
    app.route("/open", handler("open", reached));
}

/// A pattern as actix-web writes it.
fn pattern(path: &str) -> String {
    path.replace("{*rest}", "{rest:.+}")
}

fn handler(name: &'static str, reached: &Reached) -> Route {
    let reached = reached.clone();
    web::to(move || {
        reached.note(name);
        ready(HttpResponse::Ok().insert_header(("x-handler", name)).finish())
    })
}

//! Routes on actix-web, with the gate around the `App`, a `Scope` or each `Resource`.

use std::future::ready;

use actix_web::dev::{Service, ServiceResponse};
use actix_web::test::{TestRequest, init_service};
use actix_web::{App, HttpResponse, Resource, guard, http, web};
use futures_util::FutureExt;
use tollgate::TollgateTransform;

use crate::routing::on_axum::{hex, read};
use crate::routing::paths::Rng;
use crate::routing::site::{
    FALLBACK, OUTSIDE, QuotaScope, Reached, Route, Site, rank, routes, with_fallback_below,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    App,
    /// The gate around the `App`, routes within a scope.
    AppWithScope,
    Scope,
    Resource,
}

impl Place {
    pub(crate) const ALL: &[Self] = &[Self::App, Self::AppWithScope, Self::Scope, Self::Resource];

    fn is_scoped(self) -> bool {
        matches!(self, Self::AppWithScope | Self::Scope)
    }

    fn fits(self, pattern: &str) -> bool {
        // A route that is written percent-encoded is never reached: paths are compared decoded.
        !pattern.contains('%') && (self != Self::Scope || pattern.starts_with("/a"))
    }
}

/// Asks an application with routes of its own.
pub(crate) fn site(place: Place, seed: u64, paths: usize) -> Option<QuotaScope> {
    let mut rng = Rng::new(seed);
    let mut all = routes(&mut rng, |pattern| place.fits(pattern));
    // What a scope does not know goes to its own default service, and to no wider route beside it.
    let mut below = if place == Place::Resource { OUTSIDE } else { FALLBACK }.to_owned();
    if place.is_scoped() {
        if rng.one_in(2) {
            below = with_fallback_below("/a", &mut all);
        } else {
            all.retain(|route| !route.pattern.starts_with("/{x}"));
        }
    }
    if all.len() < 2 {
        return None;
    }
    let site = Site::of(&all)?;
    // The first that matches is taken: the most specific stand first.
    all.sort_by_key(|route| (rank(&route.pattern), !route.get));
    let gate = TollgateTransform::new(site.gate.clone());
    actix_web::rt::System::new().block_on(async {
        let routes = |app: &mut web::ServiceConfig| {
            // The scope stands before what is wider.
            let is_scoped = |route: &&Route| {
                place.is_scoped() && (route.pattern == "/a" || route.pattern.starts_with("/a/"))
            };
            let (scoped, beside): (Vec<&Route>, _) = all.iter().partition(is_scoped);
            let mut scope = web::scope("/a").default_service(say(&below));
            for route in scoped.into_iter().filter(|route| route.pattern != below) {
                scope = scope.service(resource(route, &route.pattern[2..]));
            }
            match place {
                Place::App | Place::Resource => {}
                Place::AppWithScope => _ = app.service(scope),
                Place::Scope => _ = app.service(scope.wrap(gate.clone())),
            }
            for route in beside {
                let resource = resource(route, &route.pattern);
                match place {
                    Place::Resource => _ = app.service(resource.wrap(gate.clone())),
                    _ => _ = app.service(resource),
                }
            }
            let is_inside = matches!(place, Place::App | Place::AppWithScope);
            app.default_service(say(if is_inside { FALLBACK } else { OUTSIDE }));
        };
        let is_around = matches!(place, Place::App | Place::AppWithScope);
        let app = App::new().configure(routes);
        let around = actix_web::middleware::Condition::new(is_around, gate.clone());
        let service = init_service(app.wrap(around)).await;
        Some(site.ask(&mut rng, paths, |method, target, key| {
            let method = http::Method::from_bytes(method.as_bytes()).unwrap();
            let mut request = TestRequest::default().method(method);
            if let Some(key) = key {
                request = request.insert_header(("x-api-key", key));
            }
            let mut request = request.to_request();
            request.head_mut().uri = uri(target)?;
            let answer: ServiceResponse<_> = service.call(request).now_or_never().unwrap().unwrap();
            Some(Reached(answer.headers().get("x-handler").map(|name| read(name.as_bytes()))))
        }))
    })
}

/// A resource; one for `GET` alone leaves other methods to the resources behind it.
fn resource(route: &Route, path: &str) -> Resource {
    // What a rule names with `{*rest}` is not empty; here it may be.
    let resource = web::resource(path.replace("{*rest}", "{rest:.*}"));
    let resource =
        if route.get { resource.guard(guard::Any(guard::Get()).or(guard::Head())) } else { resource };
    resource.route(say(&route.pattern))
}

fn say(name: &str) -> actix_web::Route {
    let name = hex(name);
    web::to(move || ready(HttpResponse::Ok().insert_header(("x-handler", name.clone())).finish()))
}

/// A URI of what stands in a request line or in `:path`, of the version of the `http` crate that actix-web has.
fn uri(target: &str) -> Option<http::Uri> {
    if target.starts_with('/') || target.starts_with("http") {
        return target.parse().ok();
    }
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(target.parse().ok()?);
    http::Uri::from_parts(parts).ok()
}

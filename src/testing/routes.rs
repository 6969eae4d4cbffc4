//! A comparison of a service's routes with a gate's rules.

use std::collections::HashSet;

use crate::gate::Gate;
use crate::rule::RuleSet;

/// Returns the routes that no rule of the gate names, such as `GET /v1/quotes`. These routes need a key, and are free
/// and open to every plan, unless a rule [beside them](crate::rule::Rule#paths-that-routers-read-differently) applies.
/// With [`deny_unmatched`](crate::gate::GateBuilder::deny_unmatched), the gate denies them.
///
/// Routes are written as the router writes them: axum's `{name}` and `{*rest}`, or actix-web's `{name:regex}`. A route
/// without a method is named if its requests have a rule whatever their method. A wider rule also names a route:
/// `/v1/*` names `GET /v1/quotes`. An invalid route is in the returned list.
///
/// # Example
///
/// ```
/// use tollgate::testing::{TestGate, unruled_routes};
///
/// let test = TestGate::from_toml(
///     r#"
///     sources = [{ header = "X-API-Key" }]
///     formats = [{ prefix = "acme_", body = 32 }]
///     rules = [{ route = "GET /v1/histroy/{city}", cost = 20 }]
///     "#,
/// )?;
/// assert_eq!(unruled_routes(test.gate(), ["GET /v1/history/{city}"]), ["GET /v1/history/{city}"]);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
pub fn unruled_routes(gate: &Gate, routes: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    let core = gate.core();
    let rules = &core.rules;
    let is_unruled = |route: &String| {
        let (method, path) = parts(route);
        let mut methods = asked(rules, method);
        methods.any(|method| rules.naming(method, &path).is_none())
    };
    routes.into_iter().map(|route| route.as_ref().to_owned()).filter(is_unruled).collect()
}

/// Returns the rules of the gate that apply to none of these routes, as they were written. Such a rule is misspelt, is
/// obsolete, or is shadowed by more specific rules. A rule for `HEAD` also applies to a route for `GET`.
///
/// Routes are written as for [`unruled_routes`].
///
/// # Example
///
/// ```
/// use tollgate::testing::{TestGate, unrouted_rules};
///
/// let test = TestGate::from_toml(
///     r#"
///     sources = [{ header = "X-API-Key" }]
///     formats = [{ prefix = "acme_", body = 32 }]
///     rules = [{ route = "GET /v1/histroy/{city}", cost = 20 }]
///     "#,
/// )?;
/// assert_eq!(unrouted_rules(test.gate(), ["GET /v1/history/{city}"]), ["GET /v1/histroy/{city}"]);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
pub fn unrouted_rules(gate: &Gate, routes: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    let core = gate.core();
    let mut landed = HashSet::new();
    for route in routes {
        let (method, path) = parts(route.as_ref());
        let head = (method == Some("GET")).then_some("HEAD");
        landed.extend(
            asked(&core.rules, method).chain(head).filter_map(|method| core.rules.naming(method, &path)),
        );
    }
    let is_own = |pattern: &str| core.mounted.as_ref().is_some_and(|mounted| mounted.takes(pattern));
    let rules = core.rules.named().iter().map(|compiled| &compiled.rule).enumerate();
    let unrouted = rules.filter(|(place, rule)| !landed.contains(place) && !is_own(rule.pattern()));
    unrouted.map(|(_, rule)| rule.route()).collect()
}

/// Returns a route's method, and a path that it matches. Parameters get a value that a rule is unlikely to name
/// literally.
fn parts(route: &str) -> (Option<&str>, String) {
    let (method, path) = route.split_once(' ').map_or((None, route), |(method, path)| (Some(method), path));
    (method, filled(path, "0~"))
}

/// Returns the methods with which a route is looked up. For a route without a method, these are all methods that select
/// different rules.
fn asked<'r>(rules: &'r RuleSet, method: Option<&'r str>) -> impl Iterator<Item = &'r str> {
    let every = method.is_none().then(|| rules.methods());
    method.into_iter().chain(every.into_iter().flatten())
}

/// Returns a route's path with a value in place of each parameter. A parameter may contain a regular expression with
/// braces.
pub(super) fn filled(path: &str, value: &str) -> String {
    let (mut filled, mut depth) = (String::with_capacity(path.len()), 0_usize);
    for letter in path.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    filled.push_str(value);
                }
            }
            letter if depth == 0 => filled.push(letter),
            _ => {}
        }
    }
    match filled.strip_suffix("/*") {
        Some(above) => format!("{above}/{value}"),
        None => filled,
    }
}

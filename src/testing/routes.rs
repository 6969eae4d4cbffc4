//! A service's routes beside a gate's rules.

use std::collections::HashSet;

use crate::gate::Gate;

/// Returns the routes that no rule of the gate names, such as `GET /v1/quotes`: they need a key, and are free and open to
/// every plan, or refused where [`deny_unmatched`](crate::gate::GateBuilder::deny_unmatched) is said.
///
/// Routes are written as the router writes them: axum's `{name}` and `{*rest}`, or actix-web's `{name:regex}`. One without a
/// method is named if its requests have a rule whatever their method. A wider rule names a route too: `/v1/*` names
/// `GET /v1/quotes`. What is no route at all is listed.
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
    let rules = &gate.0.rules;
    let is_unruled = |route: &String| {
        let (method, path) = parts(route);
        let mut methods = asked(gate, method);
        methods.any(|method| rules.naming(method, &path).is_none())
    };
    routes.into_iter().map(|route| route.as_ref().to_owned()).filter(is_unruled).collect()
}

/// Returns the rules of the gate, as they were written, that none of these routes has: misspelt, left over, or shadowed by
/// more specific ones. A route for `GET` has a rule for `HEAD` too.
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
    let core = &gate.0;
    let mut landed = HashSet::new();
    for route in routes {
        let (method, path) = parts(route.as_ref());
        let head = (method == Some("GET")).then_some("HEAD");
        landed.extend(asked(gate, method).chain(head).filter_map(|method| core.rules.naming(method, &path)));
    }
    let is_own = |pattern: &str| core.mounted.as_ref().is_some_and(|mounted| mounted.takes(pattern));
    let rules = core.rules.named().iter().map(|ruled| &ruled.rule).enumerate();
    let unrouted = rules.filter(|(place, rule)| !landed.contains(place) && !is_own(rule.pattern()));
    unrouted.map(|(_, rule)| rule.route()).collect()
}

/// Returns a route's method, and a path that it matches: not one that a rule is likely to name by itself.
fn parts(route: &str) -> (Option<&str>, String) {
    let (method, path) = route.split_once(' ').map_or((None, route), |(method, path)| (Some(method), path));
    (method, filled(path, "0~"))
}

/// Returns the methods that a route is asked for by: all that make a difference, where it names none.
fn asked<'r>(gate: &'r Gate, method: Option<&'r str>) -> impl Iterator<Item = &'r str> {
    let every = method.is_none().then(|| gate.0.rules.methods());
    method.into_iter().chain(every.into_iter().flatten())
}

/// Returns a route's path with a value for its parameters. Braces of a regular expression may stand within a parameter's.
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

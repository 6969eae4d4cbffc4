//! The rule of a request, compared with a matcher that tries every pattern segment by segment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use proptest::prelude::*;
use support::{World, with_key};
use tollgate::rule::Cost;
use tollgate::{Credits, Rule};

const KEY: &str = "kwery_live_0123456789";

fn settings() -> ProptestConfig {
    ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() }
}

/// A route as it is written: a method or none, and the segments of its pattern.
type Route = (&'static str, Vec<&'static str>);

fn route() -> impl Strategy<Value = Route> {
    let method = prop::sample::select(vec!["", "", "GET", "HEAD", "POST"]);
    let segments = prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "{x}"]), 0..4);
    (method, segments, prop::bool::weighted(0.3)).prop_map(|(method, mut segments, rest)| {
        if rest {
            segments.push("{*rest}");
        }
        (method, segments)
    })
}

fn written((method, segments): &Route) -> String {
    // Parameters of one pattern have names of their own.
    let named =
        segments.iter().enumerate().map(|(place, segment)| segment.replace("{x}", &format!("{{x{place}}}")));
    let path = format!("/{}", named.collect::<Vec<_>>().join("/"));
    if method.is_empty() { path } else { format!("{method} {path}") }
}

/// Returns the rank of a match, segment by segment (less is more specific); `None` if the pattern does not match.
fn matched(segments: &[&str], path: &str) -> Option<Vec<u8>> {
    let mut rest = path.strip_prefix('/')?;
    let mut ranks = Vec::new();
    for (place, segment) in segments.iter().enumerate() {
        let last = place + 1 == segments.len();
        let (here, behind) = rest.split_once('/').map_or((rest, None), |(here, behind)| (here, Some(behind)));
        match *segment {
            "{*rest}" => {
                ranks.push(2);
                return (!rest.is_empty()).then_some(ranks);
            }
            "{x}" if here.is_empty() => return None,
            "{x}" => ranks.push(1),
            text if text == here => ranks.push(0),
            _ => return None,
        }
        match behind {
            Some(behind) if !last => rest = behind,
            None if last => return Some(ranks),
            _ => return None,
        }
    }
    rest.is_empty().then_some(ranks)
}

/// Returns the rank of a rule for the method; `None` if the rule is for others: a rule for GET covers HEAD.
fn names(rule: &str, method: &str) -> Option<u8> {
    match rule {
        "" => Some(2),
        rule if rule == method => Some(0),
        "GET" if method == "HEAD" => Some(1),
        _ => None,
    }
}

/// The patterns of paths that a router may take for one of this pattern's: it differs by a slash at the end, or a catch-all
/// hangs from it.
fn twins(segments: &[&'static str]) -> Vec<Vec<&'static str>> {
    let (bare, is_rest) = match segments {
        [above @ .., "{*rest}"] => (above, true),
        segments => (segments, false),
    };
    let slashed = (!bare.is_empty()).then(|| [bare, &[""]].concat());
    is_rest.then(|| bare.to_vec()).into_iter().chain(slashed).collect()
}

/// The expected rule of a request.
#[derive(Debug, PartialEq)]
enum Expected {
    /// This rule, or none.
    Rule(Option<usize>),
    /// This rule alone may be meant, and no router is sure.
    Beside(usize),
    /// Several rules may be meant.
    Refused,
}

/// Returns the expected rule of the request.
fn expected(routes: &[Route], method: &str, path: &str) -> Expected {
    let for_method = || routes.iter().enumerate().filter(|(_, route)| names(route.0, method).is_some());
    let fits =
        |(place, route): (usize, &Route)| Some(((matched(&route.1, path)?, names(route.0, method)?), place));
    let exact = for_method().filter_map(fits).min();
    // Of two rules for the same path the one that names the method better is asked.
    let is_asked = |(place, route): &(usize, &Route)| {
        let better = |(other, rival): (usize, &Route)| {
            other != *place && rival.1 == route.1 && names(rival.0, method) < names(route.0, method)
        };
        !for_method().any(better)
    };
    let rank = |route: &Route| twins(&route.1).iter().filter_map(|twin| matched(twin, path)).min();
    let beside: Vec<_> = for_method()
        .filter(is_asked)
        .filter_map(|(place, route)| Some((rank(route)?, place)))
        .filter(|(rank, _)| exact.as_ref().is_none_or(|((exact, _), _)| rank < exact))
        .collect();
    match (beside.as_slice(), exact) {
        ([], exact) => Expected::Rule(exact.map(|(_, place)| place)),
        ([(_, place)], None) => Expected::Beside(*place),
        _ => Expected::Refused,
    }
}

/// Returns true if one has `{name}` where the other has `{*rest}`: refused at start-up.
fn clash((_, one): &Route, (_, other): &Route) -> bool {
    let parting = one.iter().zip(other).find(|(a, b)| a != b);
    parting.is_some_and(|(a, b)| (*a, *b) == ("{x}", "{*rest}"))
}

fn distinct(routes: Vec<Route>) -> Vec<Route> {
    let mut kept: Vec<Route> = Vec::new();
    for route in routes {
        if !kept.contains(&route) {
            kept.push(route);
        }
    }
    kept
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn most_specific_rule_sets_the_cost(
        routes in prop::collection::vec(route(), 1..8).prop_map(distinct),
        requests in prop::collection::vec(
            (prop::sample::select(vec!["GET", "HEAD", "POST", "PUT"]), "(/(a|b|ab|c)){0,4}/?"),
            1..12,
        ),
    ) {
        let world = World::new();
        let id = world.plain_key(KEY);
        let mut builder = world.kwery();
        for (place, route) in routes.iter().enumerate() {
            let mut rule = Rule::new(&written(route)).unwrap();
            rule.cost = Cost::Fixed(Credits::new(place as u64 + 1));
            builder = builder.rule(rule);
        }
        let gate = match builder.build() {
            Ok(gate) => gate,
            Err(error) => {
                prop_assert!(routes.iter().any(|one| routes.iter().any(|other| clash(one, other))), "{}", error);
                return Ok(());
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (method, path) in requests {
            let path = if path.is_empty() { "/".to_owned() } else { path };
            world.set_balance(id, 100);
            let answer = runtime.block_on(world.send(&gate, with_key(&format!("{method} {path}"), KEY)));
            let refused = answer.status == 403;
            let expected = expected(&routes, method, &path);
            let about = format!("{method} {path}: {expected:?} among {routes:?}");
            let place = match expected {
                Expected::Rule(place) => {
                    prop_assert!(!refused, "{}", about);
                    place
                }
                Expected::Refused => {
                    prop_assert!(refused, "{}", about);
                    None
                }
                // Another path that the same pattern matches may be another rule's.
                Expected::Beside(place) if refused => {
                    prop_assert!(routes[place].1.contains(&"{x}"), "{}", about);
                    None
                }
                Expected::Beside(place) => Some(place),
            };
            let cost = place.map_or(0, |place| place as u64 + 1);
            let charged = 100 - world.balance(id);
            prop_assert_eq!(charged, cost, "{}", about);
        }
    }
}

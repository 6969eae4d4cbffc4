//! A set of routes behind a gate, and what was paid for which handler.

use std::cmp::Reverse;
use std::collections::HashMap;

use tollgate::rule::Cost;
use tollgate::{Credits, Gate, KeyId, Rule};

use crate::routing::paths::{self, Rng, target};
use crate::support::World;
use crate::support::providers::KWERY;

const BALANCE: u64 = 1_000_000;

/// The handler's name for paths without a route.
pub(crate) const FALLBACK: &str = "fallback";
/// The name of the handler that has no gate in front.
pub(crate) const OUTSIDE: &str = "outside";
/// The cost of paths without a rule, in some sets.
const OTHERWISE: u64 = 7_777;

/// The methods that are asked for.
pub(crate) const METHODS: [&str; 6] = ["GET", "GET", "GET", "HEAD", "POST", "get"];

/// The routes that sets are drawn from, as rules write them.
const ROUTES: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/{x}",
    "/a/{x}/",
    "/a/{x}/b",
    "/a/{x}/{y}",
    "/a/{x}/b/{z}",
    "/a/b/{*rest}",
    "/a/b/c/d",
    "/c",
    "/c/{*rest}",
    "/c/a",
    "/c/a/{x}",
    "/c/a/{x}/b",
    "/d/p-{x}",
    "/d/p-{x}/b",
    "/d/p-{x}/q-{y}/b",
    "/d/p-a/b",
    "/d/{x}/b",
    "/d/{x}/{y}",
    "/f/{x}.js",
    "/f/{x}.min.js",
    "/f/{x}.js/b",
    "/f/{x}.min.js/{y}",
    "/f/{x}/{y}",
    "/f/{x}/{y}.js/c",
    "/f/{x}",
    "/g/{x}/{y}",
    "/g/p-{x}.js",
    "/g/p-{x}/{y}",
    "/g/p-a.js/b",
    "/{x}",
    "/{x}/b",
    "/{x}/{y}/c",
    "/{x}/e/{*rest}",
    "/caf\u{e9}",
    "/caf\u{e9}/{x}",
    "/caf%C3%A9",
    "/caf%C3%A9/b",
];

/// A route.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) pattern: String,
    /// True if the route is for `GET` only.
    pub(crate) get: bool,
    pub(crate) public: bool,
}

/// Gives the fallback of what is nested at a prefix a rule of its own: a route for all that lies below.
pub(crate) fn with_fallback_below(prefix: &str, routes: &mut Vec<Route>) -> String {
    let pattern = format!("{prefix}/{{*rest}}");
    // A parameter in its place would be refused beside it.
    let has_place = |other: &str| other.starts_with(&format!("{prefix}/{{"));
    routes.retain(|route| !has_place(&route.pattern));
    routes.push(Route { pattern: pattern.clone(), get: false, public: false });
    pattern
}

/// Draws a set of routes that a router can have.
pub(crate) fn routes(rng: &mut Rng, fits: impl Fn(&str) -> bool) -> Vec<Route> {
    let mut routes = Vec::new();
    for pattern in ROUTES.iter().filter(|pattern| fits(pattern)) {
        if rng.one_in(2) {
            let public = rng.one_in(8);
            routes.push(Route { pattern: (*pattern).to_owned(), get: rng.one_in(3), public });
        }
    }
    routes
}

/// Returns the generality of a pattern, segment by segment. More text beside a parameter is more specific.
pub(crate) fn rank(pattern: &str) -> Vec<(u8, Reverse<usize>, Reverse<usize>)> {
    let of = |segment: &str| match (segment.find('{'), segment.find('}')) {
        (Some(0), _) if segment.starts_with("{*") => (3, Reverse(0), Reverse(0)),
        (Some(from), Some(to)) if to - from + 1 < segment.len() => {
            (1, Reverse(from), Reverse(segment.len() - to))
        }
        (Some(_), _) => (2, Reverse(0), Reverse(0)),
        (None, _) => (0, Reverse(0), Reverse(0)),
    };
    pattern.split('/').map(of).collect()
}

/// The name of the handler that was reached, if one was.
pub(crate) struct Reached(pub(crate) Option<String>);

/// A gate with a rule for each route, and what was paid.
pub(crate) struct Site {
    pub(crate) gate: Gate,
    prices: HashMap<String, u64>,
    public: Vec<String>,
    world: World,
    key: KeyId,
    patterns: Vec<String>,
}

impl Site {
    /// `None` for rules that contradict one another.
    pub(crate) fn of(routes: &[Route]) -> Option<Self> {
        let world = World::new();
        let key = world.plain_key(KWERY);
        world.set_balance(key, BALANCE);
        let mut builder = world.kwery();
        // With it the paths beside a rule's are refused.
        let unruled = if routes.len().is_multiple_of(4) { OTHERWISE } else { 0 };
        let mut otherwise = Rule::otherwise();
        otherwise.cost = Cost::Fixed(Credits::new(unruled));
        builder = builder.otherwise(otherwise);
        let mut prices = HashMap::from([(FALLBACK.to_owned(), unruled), (OUTSIDE.to_owned(), 0)]);
        let mut public = vec![OUTSIDE.to_owned()];
        for (place, route) in routes.iter().enumerate() {
            let method = if route.get { "GET " } else { "" };
            let mut rule = Rule::new(&format!("{method}{}", route.pattern)).unwrap();
            let price = if route.public { 0 } else { place as u64 + 1 };
            rule.cost = Cost::Fixed(Credits::new(price));
            rule.public = route.public;
            prices.insert(route.pattern.clone(), price);
            if route.public {
                public.push(route.pattern.clone());
            }
            builder = builder.rule(rule);
        }
        let patterns = routes.iter().map(|route| route.pattern.clone()).collect();
        Some(Self { gate: builder.build().ok()?, prices, public, world, key, patterns })
    }

    /// Returns whether the path is that of a route with this price, but for a slash at its end or what is empty.
    fn is_beside(&self, price: u64, target: &str) -> bool {
        let routes = self.prices.iter().filter(|(_, other)| **other == price);
        routes.into_iter().any(|(pattern, _)| paths::is_beside(pattern, target))
    }

    /// Sends generated requests. `send` answers which handler was reached; `None` for a target that cannot be sent.
    pub(crate) fn ask(
        &self,
        rng: &mut Rng,
        paths: usize,
        mut send: impl FnMut(&str, &str, Option<&str>) -> Option<Reached>,
    ) -> QuotaScope {
        let mut counts = QuotaScope::default();
        for _ in 0..paths {
            let (method, target) = (*rng.pick(&METHODS), target(&self.patterns, rng));
            let key = (!rng.one_in(8)).then_some(KWERY);
            let Some(Reached(reached)) = send(method, &target, key) else {
                counts.unsendable += 1;
                continue;
            };
            let paid = BALANCE - self.world.balance(self.key);
            if paid != 0 {
                self.world.set_balance(self.key, BALANCE);
            }
            let place = || {
                let shown: String = target.chars().take(200).collect();
                format!("{method} {shown} among {:?}, key {}", self.patterns, key.is_some())
            };
            match reached {
                // Or a router that answers by itself, as with 405, what a rule is for.
                None => counts.refused += 1,
                Some(name) => {
                    counts.reached += usize::from(name != FALLBACK && name != OUTSIDE);
                    if key.is_none() {
                        let is_open =
                            name == OUTSIDE || (self.public.contains(&name) && !paths::is_odd(&target));
                        assert!(is_open, "{name} was reached without a key: {}", place());
                    }
                    // A path beside a rule's is judged under that rule, also where the service has no route for it.
                    let is_beside = name == FALLBACK && self.is_beside(paid, &target);
                    assert!(
                        paid == self.prices[&name] || is_beside,
                        "{name} was reached for {paid} under another rule: {}",
                        place()
                    );
                    counts.beside += usize::from(is_beside && paid != 0);
                }
            }
        }
        counts
    }
}

#[derive(Debug, Default)]
pub(crate) struct QuotaScope {
    reached: usize,
    refused: usize,
    /// Those that reached the fallback under the rule that their path is beside.
    beside: usize,
    unsendable: usize,
}

/// The counts of requests by outcome, on one router.
#[derive(Debug)]
pub(crate) struct Tally {
    name: String,
    asked: usize,
    sites: usize,
    counts: QuotaScope,
}

impl Tally {
    pub(crate) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), asked: 0, sites: 0, counts: QuotaScope::default() }
    }

    /// Asks sites of different routes, a hundred paths or more each; a site that cannot be is left out.
    pub(crate) fn run(&mut self, paths: usize, mut site: impl FnMut(u64, usize) -> Option<QuotaScope>) {
        let first = std::env::var("TOLLGATE_ROUTING_SEED").map_or(1, |seed| seed.parse::<u64>().unwrap());
        let each = (paths / 100).clamp(100, 1_000);
        let mut seed = first * 1_000_000;
        while self.asked < paths {
            seed += 1;
            let Some(counts) = site(seed, each) else { continue };
            self.asked += each;
            self.sites += 1;
            self.counts.reached += counts.reached;
            self.counts.refused += counts.refused;
            self.counts.beside += counts.beside;
            self.counts.unsendable += counts.unsendable;
        }
    }

    /// The requests that mean something are not few.
    pub(crate) fn check(&self) {
        println!("{}: {} paths on {} sites, {:?}", self.name, self.asked, self.sites, self.counts);
        assert!(self.counts.reached * 10 > self.asked, "{self:?}");
        assert!(self.counts.refused * 50 > self.asked, "{self:?}");
        assert!(self.counts.unsendable * 2 < self.asked, "{self:?}");
    }
}

//! One rule: which requests it is for, and what it asks of them.

use http::uri::PathAndQuery;

use crate::account::number;
use crate::amount::Credits;
use crate::error::ConfigError;
use crate::error::shortened;
use crate::name::{Agreement, PlanName, Scope};
use crate::rule::{foreign, twins};

/// The longest path that a request can have: `http` reads no longer one.
const LONGEST: usize = 65_534;

/// What a request costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cost {
    /// The same for each; zero is free, and no ledger is asked.
    Fixed(Credits),
    /// By the number that a query parameter asks for, which must be one plain decimal number.
    PerUnit {
        /// The parameter, compared as it reads percent-decoded once.
        parameter: String,
        /// What one of the number costs.
        each: Credits,
        /// The lowest number that may be asked for; a lower one is refused. With zero, a request may choose to cost nothing.
        least: u64,
        /// The number where the parameter is absent: what the handler takes then.
        default: u64,
        /// The highest number; a higher one is refused.
        most: u64,
    },
}

/// What a rule asks of the scopes of a restricted key. A key without restriction passes all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ScopeRule {
    /// Nothing is said: no restricted key is let in.
    #[default]
    Unnamed,
    /// Any key is let in, whatever its scopes.
    Everyone,
    /// A key with one of these.
    AnyOf(Vec<Scope>),
    /// A key with all of these.
    AllOf(Vec<Scope>),
}

impl ScopeRule {
    /// Whether a key with these scopes is let in.
    pub(crate) fn admits(&self, held: &[Scope]) -> bool {
        match self {
            Self::Unnamed => false,
            Self::Everyone => true,
            Self::AnyOf(named) => named.iter().any(|scope| held.contains(scope)),
            Self::AllOf(named) => named.iter().all(|scope| held.contains(scope)),
        }
    }

    /// The scopes that it names.
    #[cfg(feature = "keygen")]
    pub(crate) fn named(&self) -> &[Scope] {
        match self {
            Self::Unnamed | Self::Everyone => &[],
            Self::AnyOf(named) | Self::AllOf(named) => named,
        }
    }

    /// The scopes that it names, as an error tells them.
    pub(crate) fn wording(&self) -> Option<String> {
        let join =
            |named: &[Scope], word| Some(named.iter().map(Scope::as_str).collect::<Vec<_>>().join(word));
        match self {
            Self::Unnamed | Self::Everyone => None,
            Self::AnyOf(named) => join(named, " or "),
            Self::AllOf(named) => join(named, " and "),
        }
    }
}

/// What a route asks: a method, a path pattern, and what a request that matches them needs and costs.
///
/// # Which rule is a request's
///
/// Patterns are compared with the path byte for byte, as the router compares it: `{name}` stands for one segment that is
/// not empty, `{*rest}` at the end, or `*` for short, for all that lies below, which is not empty either. Write a pattern
/// as the router's route is written; actix-web compares decoded paths, so that `/café` stands there for `/caf%C3%A9`.
///
/// Among the rules for a request's method (those that name no method are for all of them), the most specific pattern wins,
/// segment by segment: text before `{name}` before `{*rest}`. Where two rules have the same pattern, the one that names
/// the method wins. A rule for `GET` covers `HEAD`, cost included, unless one names `HEAD`. Two rules that say the same
/// are refused at start-up, and so is a `{name}` beside a `{*rest}` in the same place, and a rule that no path can match.
///
/// # Requests without a rule
///
/// A request that no rule matches needs a key, costs nothing, and is open to every plan, unless
/// [`otherwise`](crate::gate::GateBuilder::otherwise) says more. A misspelt rule thus leaves its route free. Refuse such
/// requests with [`deny_unmatched`](crate::gate::GateBuilder::deny_unmatched), or `[default] deny = true` in the file: that is
/// recommended for every service that has rules.
///
/// # Paths that routers read differently
///
/// Some routers take a path for a route that others do not take it for. Such a path is judged under the rule whose handler
/// it may reach, or refused for every key as [`RouteDenied`](crate::denial::DenialKind::RouteDenied):
///
/// | a path that no rule names | such as | beside the rule | because |
/// |---|---|---|---|
/// | a slash more or less at the end | `/v1/quotes/` | `/v1/quotes` | axum's `nest_service` answers both |
/// | what a `{*rest}` hangs from, with and without a slash | `/files`, `/files/` | `/files/*` | axum's `nest_service` and actix-web's `{rest:.*}` match it |
/// | nothing where a `{name}` stands beside text | `/img-/full` | `/img-{id}/full` | axum lets the parameter be empty |
/// | the decoded form of a percent-encoded pattern | `/café` | `/caf%C3%A9` | actix-web compares decoded paths |
///
/// Such a path costs what the rule says, and needs its plan, agreements and subscription, also if the service has a route of
/// its own there or answers 404. It is never public, and a key that is restricted to scopes is let in only where
/// [`otherwise`](crate::gate::GateBuilder::otherwise) is for [`Everyone`](ScopeRule::Everyone). It is refused if
///
/// - another rule that asks for something else may be meant too, as for `/v1/quotes/` beside `/v1/quotes` and `/v1/*`;
/// - `otherwise` asks for credits, a plan, an agreement or a subscription, and not for the same ones as the rule;
/// - [`deny_unmatched`](crate::gate::GateBuilder::deny_unmatched) is set.
///
/// A rule for the path itself decides in every case.
///
/// A path with an empty segment, such as `/reports//export`, is refused, unless all of these find the same rule with a
/// `{*rest}`: the path as it is, the path with something in the empty segment, and the path without it. Thus
/// `/proxy/https://example.com` has the rule `/proxy/*`.
///
/// A path with dot segments, with empty segments, with a segment that is empty before a `;`, with an encoded slash or a
/// backslash, is granted nothing: it is never public, and no restricted key is let in.
///
/// # Nested services
///
/// A service that is nested, by axum's `nest_service` or as actix-web's `Scope`, answers every path below its prefix, by its
/// own fallback what it does not know. A wider rule beside it holds for these paths as well: with a rule for `/{page}/{part}`
/// and a service nested at `/shop`, `/shop/nothing` has that rule and reaches the fallback of the shop. Give a fallback that
/// does more than answer 404 a rule of its own: `/shop/*`.
///
/// # Example
///
/// ```
/// use tollgate::rule::{Cost, ScopeRule};
/// use tollgate::{Credits, Rule};
///
/// let mut rule = Rule::new("GET /v1/quotes/{*rest}")?;
/// rule.cost = Cost::Fixed(Credits::new(2));
/// rule.scopes = ScopeRule::AnyOf(vec!["quotes:read".into()]);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    method: Option<http::Method>,
    pattern: String,
    /// Whether it asks for no key: a key that is sent all the same is not even read.
    pub public: bool,
    /// What it costs.
    pub cost: Cost,
    /// Which restricted keys it lets in.
    pub scopes: ScopeRule,
    /// The lowest plan that it is for, by rank.
    pub min_plan: Option<PlanName>,
    /// Plans that it is for whatever their rank.
    pub open_to: Vec<PlanName>,
    /// Plans that it is not for.
    pub closed_to: Vec<PlanName>,
    /// What the account must have signed, in the order in which it is asked for.
    pub agreements: Vec<Agreement>,
    /// Whether the account must have an active subscription.
    pub subscription: bool,
    pub(crate) purpose: Purpose,
}

/// The use of a rule, as far as the gate treats its requests in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Purpose {
    /// Any other.
    #[default]
    Service,
    /// Tells a key what is left for it: no restriction of the key is asked.
    Standing,
    /// Revokes a key: a window without room does not refuse it.
    Revocation,
}

impl Rule {
    /// A rule for a route such as `GET /v1/candles`, or `/v1/candles` for any method. It asks for a key and costs
    /// nothing.
    ///
    /// # Errors
    ///
    /// What is no method, no path, or a path that no request can have.
    pub fn new(route: &str) -> Result<Self, ConfigError> {
        let refuse_for = |problem: &str, expected: &str| {
            let value = if route.len() > LONGEST { shortened(route) } else { route.to_owned() };
            ConfigError::new(value, problem, expected).in_member("route")
        };
        let refuse = |problem: &str| {
            let expected = "write a method and a path, as in `GET /v1/candles/{symbol}`, or a path alone";
            refuse_for(problem, expected)
        };
        let (method, pattern) = match route.split_once(' ') {
            Some((method, pattern)) => (Some(method), pattern),
            None => (None, route),
        };
        let known =
            |method: &str| method.parse().ok().filter(|_| method.bytes().all(|b| b.is_ascii_uppercase()));
        let method = match method {
            Some(method) => Some(known(method).ok_or_else(|| refuse("the route names no method"))?),
            None => None,
        };
        if let Some((spelling, right)) = foreign::segment(pattern) {
            let problem =
                format!("other routers write `{spelling}` for a parameter, and here it is plain text");
            return Err(refuse_for(&problem, &format!("write `{right}`")));
        }
        // As a key's paths are written.
        let below = pattern.strip_suffix("/*").map(|service| format!("{service}/{{*rest}}"));
        let pattern = below.as_deref().unwrap_or(pattern);
        unmatched(pattern).map_or(Ok(()), |problem| Err(refuse(problem)))?;
        Ok(Self { method, ..Self::of(pattern) })
    }

    /// What holds for requests that no rule matches: they need a key, and cost nothing.
    pub fn otherwise() -> Self {
        Self::of("")
    }

    fn of(pattern: &str) -> Self {
        Self {
            method: None,
            pattern: pattern.to_owned(),
            public: false,
            cost: Cost::Fixed(Credits::ZERO),
            scopes: ScopeRule::Unnamed,
            min_plan: None,
            open_to: Vec::new(),
            closed_to: Vec::new(),
            agreements: Vec::new(),
            subscription: false,
            purpose: Purpose::Service,
        }
    }

    /// The method that it is for; `None` for all.
    pub fn method(&self) -> Option<&http::Method> {
        self.method.as_ref()
    }

    /// The path pattern; empty for what no rule matches.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// What it asks of a key that is not restricted, whatever requests it is for.
    pub(super) fn demands(&self) -> Self {
        Self {
            method: None,
            pattern: String::new(),
            public: false,
            scopes: ScopeRule::Unnamed,
            ..self.clone()
        }
    }

    /// Returns whether it asks for what the other asks for, whatever requests they are for.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        (self.public, &self.scopes) == (other.public, &other.scopes) && self.demands() == other.demands()
    }

    /// The route as it was written.
    pub fn route(&self) -> String {
        self.method
            .as_ref()
            .map_or_else(|| self.pattern.clone(), |method| format!("{method} {}", self.pattern))
    }
}

/// Why no path of a request can match a pattern.
fn unmatched(pattern: &str) -> Option<&'static str> {
    // Letters beyond ASCII are sent as they are by few clients, but actix-web compares decoded paths.
    let is_sent = |byte: u8| !byte.is_ascii() || (byte.is_ascii_graphic() && byte != b'?' && byte != b'#');
    if !pattern.starts_with('/') {
        return Some("a path begins with `/`");
    }
    if pattern.len() > LONGEST {
        return Some("no request can have so long a path");
    }
    if !pattern.bytes().all(is_sent) || pattern.parse::<PathAndQuery>().is_err() {
        return Some("no path of a request can match this");
    }
    if super::is_odd(pattern) {
        return Some("a path with dot segments, empty segments or an encoded slash matches no rule");
    }
    if pattern.split('/').any(|segment| segment == "*") {
        return Some("`*` stands at the end alone, for all that lies below: one segment is `{name}`");
    }
    twins::too_many(pattern).then_some("at most four segments can hold a parameter beside text")
}

/// Why a cost could not be told.
#[derive(Debug)]
pub(crate) enum Uncountable {
    /// The number is above the highest, or is none.
    Asked(crate::account::BreachKind),
    /// The product does not fit.
    TooMuch,
}

impl Cost {
    /// Whether a request never costs anything.
    pub(crate) fn is_free(&self) -> bool {
        *self == Self::Fixed(Credits::ZERO)
    }

    /// What a request with this query costs.
    #[inline]
    pub(crate) fn of(&self, query: Option<&str>) -> Result<Credits, Uncountable> {
        use crate::account::BreachKind;

        let (parameter, each, least, default, most) = match self {
            Self::Fixed(cost) => return Ok(*cost),
            Self::PerUnit { parameter, each, least, default, most } => {
                (parameter, each, least, default, most)
            }
        };
        let asked = query.map_or(Ok(None), |query| number(query, parameter)).map_err(Uncountable::Asked)?;
        let units = asked.unwrap_or(*default);
        if units > *most {
            return Err(Uncountable::Asked(BreachKind::Above(*most)));
        }
        if asked.is_some_and(|asked| asked < *least) {
            return Err(Uncountable::Asked(BreachKind::Unreadable));
        }
        each.checked_mul(units).ok_or(Uncountable::TooMuch)
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn a_star_at_the_end_is_for_all_that_lies_below() {
        let pattern = |route: &str| Rule::new(route).unwrap().pattern().to_owned();
        assert_eq!(pattern("/acme.quotes.v1.Quotes/*"), "/acme.quotes.v1.Quotes/{*rest}");
        assert_eq!(pattern("POST /*"), "/{*rest}");
        assert!(Rule::new("/a/*/b").is_err());
    }

    #[test]
    fn other_routers_parameters_are_refused() {
        let rows = [
            ("GET /v1/history/:city", "`{city}`"),
            ("/:id?/x", "`{id}`"),
            ("/a/:path*", "`{*path}`"),
            ("/a/:id(\\d+)", "`{id}`"),
            ("/<id>", "`{id}`"),
            ("/a/<int:id>/b", "`{id}`"),
            ("/a/<id:num>", "`{id}`"),
            ("/a/<path..>", "`{*path}`"),
            ("/a/<path:file>", "`{*file}`"),
            ("/a/<**rest>", "`{*rest}`"),
            ("/a/p<id>", "`p{id}`"),
            ("/a/*name", "`{*name}`"),
            ("/a/**", "`{*rest}`"),
            ("/a/**/b", "`{*rest}`"),
            ("/a/{id}*", "`{*id}`"),
            ("/{id:\\d+}/x", "`{id}`"),
            ("/{id:[0-9]{3}}", "`{id}`"),
            ("/{tail:.*}", "`{*tail}`"),
            ("/a/{tail:[^/]+}", "`{tail}`"),
            ("/a/{**rest}", "`{*rest}`"),
            ("/a/{rest...}", "`{*rest}`"),
            ("/a/{+rest}", "`{*rest}`"),
            ("/a/{id?}", "`{id}`"),
            ("/a/{*}", "`{*rest}`"),
            ("/a/{{id}}", "`{id}`"),
            ("/a/[id]", "`{id}`"),
            ("/a/[...slug]", "`{*slug}`"),
            ("/a/${id}", "`{id}`"),
        ];
        for (route, right) in rows {
            let error = Rule::new(route).expect_err(route).to_string();
            assert!(error.contains(&format!("write {right}")), "{route}: {error}");
        }
        for route in [
            "/v1/items:batchGet",
            "/{a}/{b-c}/{*d_e}",
            "/$metadata",
            "/@me",
            "/a*",
            "/a/{x}.json",
            "/caf\u{e9}",
            "/a:",
        ] {
            assert!(Rule::new(route).is_ok(), "{route}");
        }
    }
}

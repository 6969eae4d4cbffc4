//! A rule: the requests that it applies to, their requirements and their cost.

use std::sync::Arc;

use http::uri::PathAndQuery;

use crate::account::{BreachKind, InFlightLimit, Plan, PlanRule, QuotaRef, ShadowChecks};
use crate::amount::{Credits, Currency};
use crate::error::ConfigError;
use crate::error::shortened;
use crate::name::{Agreement, PlanName, Scope};
use crate::rule::weight::{Bounds, in_parameter};
use crate::rule::{Weight, foreign, twins};
use crate::words;

/// The longest path that a request can have, which is the limit of `http`.
const LONGEST: usize = 65_534;

/// The maximum number of parameters of a pattern.
const MOST_PARAMETERS: usize = 25;

/// The cost of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cost {
    /// The same cost for each request. A request that costs zero is free and does not use the ledger.
    Fixed(Credits),
    /// A cost per unit. A query parameter gives the number of units, as one plain decimal number.
    PerUnit {
        /// The parameter. It is compared after one percent-decoding.
        parameter: String,
        /// The cost of one unit.
        each: Credits,
        /// The minimum number of units. A lower number is refused. With zero, a request may choose to cost nothing.
        least: u64,
        /// The number of units if the parameter is absent. It must be the handler's own default.
        default: u64,
        /// The maximum number of units. A higher number is refused.
        most: u64,
    },
}

/// The scopes that a rule requires of a restricted key. A key without restriction passes every variant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ScopeRule {
    /// The rule sets no scopes: it admits no restricted key.
    #[default]
    Unnamed,
    /// The rule admits any key, whatever its scopes.
    Everyone,
    /// The rule admits a key with at least one of these scopes.
    AnyOf(Vec<Scope>),
    /// The rule admits a key with all of these scopes.
    AllOf(Vec<Scope>),
}

impl ScopeRule {
    /// Returns true if a key with these scopes is admitted.
    pub(crate) fn admits(&self, held: &[Scope]) -> bool {
        match self {
            Self::Unnamed => false,
            Self::Everyone => true,
            Self::AnyOf(named) => named.iter().any(|scope| held.contains(scope)),
            Self::AllOf(named) => named.iter().all(|scope| held.contains(scope)),
        }
    }

    /// Returns the scopes that it names.
    pub(crate) fn named(&self) -> &[Scope] {
        match self {
            Self::Unnamed | Self::Everyone => &[],
            Self::AnyOf(named) | Self::AllOf(named) => named,
        }
    }

    /// Returns the scopes that it names, in the wording of an error.
    pub(crate) fn as_text(&self) -> Option<String> {
        let join =
            |named: &[Scope], word| Some(named.iter().map(Scope::as_str).collect::<Vec<_>>().join(word));
        match self {
            Self::Unnamed | Self::Everyone => None,
            Self::AnyOf(named) => join(named, " or "),
            Self::AllOf(named) => join(named, " and "),
        }
    }
}

/// A rule for a route: a method, a path pattern, and the requirements and cost of the requests that match them.
///
/// # How a request's rule is found
///
/// Patterns are compared with the path byte for byte, as the router compares it. `{name}` matches one segment that is
/// not empty. `{*rest}` at the end, or `*` for short, matches the remaining path, which is not empty either. Write a
/// pattern like the router's route. actix-web compares decoded paths, so there the pattern is `/café` and not
/// `/caf%C3%A9`.
///
/// Among the rules for a request's method, the most specific pattern that matches wins, segment by segment: text before
/// a parameter with text, such as `{name}.json`, before `{name}` before `{*rest}`. Of two parameters with text, the one
/// with more text wins. A rule without a method applies to all methods. If two rules have the same pattern, the one that
/// names the method wins. A rule for `GET` covers `HEAD`, including the cost, unless a rule names `HEAD`. These are
/// refused at start-up: two rules for the same requests, a `{name}` beside a `{*rest}` in the same place, a `{*rest}`
/// with text in its segment, a rule for `TRACE`, and a rule that no path can match.
///
/// # Requests without a rule
///
/// A request that no rule matches needs a key, costs nothing, and is open to every plan, unless
/// [`otherwise`](crate::gate::GateBuilder::otherwise) requires more. A misspelt rule thus makes its route free. For
/// every service that has rules, we recommend to refuse such requests with
/// [`deny_unmatched`](crate::gate::GateBuilder::deny_unmatched), or `[default] deny = true` in the file.
///
/// # Paths that routers read differently
///
/// Some routers match a path with a route that other routers do not match it with. The gate checks such a path under
/// the rule whose handler it may reach, or refuses it for every key as
/// [`RouteDenied`](crate::denial::DenialKind::RouteDenied):
///
/// | path that no rule names | example | rule | reason |
/// |---|---|---|---|
/// | an added or missing slash at the end | `/v1/quotes/` | `/v1/quotes` | axum's `nest_service` answers both |
/// | the path before a `{*rest}`, with and without a slash | `/files`, `/files/` | `/files/*` | axum's `nest_service` and actix-web's `{rest:.*}` match it |
/// | an empty `{name}` beside text | `/img-/full` | `/img-{id}/full` | axum lets the parameter be empty |
/// | the decoded form of a percent-encoded pattern | `/café` | `/caf%C3%A9` | actix-web compares decoded paths |
/// | a percent-encoded form of a path | `/v1/%71uotes` | `/v1/quotes` | tower-http's `ServeDir` decodes paths |
///
/// Such a path has the rule's cost, and requires its plan, agreements and subscription. This also applies if the
/// service has a separate route for the path or answers 404. The path is never public. A key that is restricted to
/// scopes is admitted only if [`otherwise`](crate::gate::GateBuilder::otherwise) is for
/// [`Everyone`](ScopeRule::Everyone). The path is refused if
///
/// - another rule with different requirements may be meant too, as for `/v1/quotes/` beside `/v1/quotes` and `/v1/*`;
/// - `otherwise` requires credits, a plan, an agreement or a subscription, and not the same ones as the rule;
/// - [`deny_unmatched`](crate::gate::GateBuilder::deny_unmatched) is set.
///
/// A rule for the path itself always takes precedence, except over the rule for a decoded path: with the rules
/// `/files/secret` and `/files/*`, the path `/files/%73ecret` is refused, unless the two rules have the same
/// requirements. Paths are decoded once, without `%2F`, `%25` and `%2B`.
///
/// A path with an empty segment, such as `/reports//export`, is refused, unless all of these find the same rule with a
/// `{*rest}`: the path as it is, the path with a text in the empty segment, and the path without the empty segment. For
/// example, `/proxy/https://example.com` has the rule `/proxy/*`.
///
/// A path with dot segments, empty segments, a segment that is empty before a `;`, an encoded slash, or a backslash is
/// granted nothing: it is never public, and no restricted key is admitted.
///
/// # Nested services
///
/// A service that is nested, by axum's `nest_service` or as actix-web's `Scope`, answers every path below its prefix.
/// It answers unknown paths with its own fallback. A wider rule beside the service applies to these paths as well: with
/// a rule for `/{page}/{part}` and a service nested at `/shop`, `/shop/nothing` has that rule and reaches the fallback
/// of the shop. If a fallback does more than answer 404, give it a rule of its own: `/shop/*`.
///
/// A nested service may read paths in another way than the router. tower-http's `ServeDir` decodes an encoded slash
/// too, and leaves dot segments out: it serves `/files/a%2Fsecret` and `/files/a/./secret` as `/files/a/secret`. The
/// gate requires an unrestricted key for such a path, and otherwise the rule of the path as it was sent. A key can
/// therefore circumvent the cost or the plan of a part of such a service. Give the whole service one rule: `/files/*`.
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
    /// The method and the pattern, shared by all counts of requests for the rule.
    route: Arc<str>,
    /// True if the rule requires no key. A key that is sent anyway is not read.
    pub public: bool,
    /// True if a request without a key is served under the plan that
    /// [`GateBuilder::anonymous`](crate::GateBuilder::anonymous) names. A request with an invalid key is denied.
    pub anonymous: bool,
    /// The cost of a request. If the cost is known only afterwards, it is the reservation: see
    /// [`most_cost`](Self::most_cost).
    pub cost: Cost,
    /// The highest final cost of a request, if the cost is known only afterwards. The gate then charges
    /// [`cost`](Self::cost) as a reservation, and the handler or the stream of its response reports the final cost by a
    /// [`CostMeter`](crate::gate::CostMeter). `None` if the cost is known before.
    pub most_cost: Option<Credits>,
    /// The currency of the cost. Defaults to [`Currency::CREDITS`].
    pub currency: Currency,
    /// The scopes that the rule requires of a restricted key.
    pub scopes: ScopeRule,
    /// The lowest plan, by rank, that the rule admits.
    pub min_plan: Option<PlanName>,
    /// Plans that the rule admits whatever their rank.
    pub open_to: Vec<PlanName>,
    /// Plans that the rule does not admit.
    pub closed_to: Vec<PlanName>,
    /// The agreements that the account must have signed, in the order in which they are checked.
    pub agreements: Vec<Agreement>,
    /// True if the account must have an active subscription.
    pub subscription: bool,
    /// The quotas of the rule, in addition to those of the key. A public rule has only these, and they count networks or
    /// pools. A request draws from all windows, or from none. A plan may
    /// replace them and add others: see [`Plan::rules`](crate::Plan::rules).
    ///
    /// All rules that refer to a quota by its name share its windows. A quota that is written out has windows that only
    /// this rule uses.
    pub quotas: Vec<QuotaRef>,
    /// The weight of a request: the number of units that it takes from each window, those of the key and those of the rule.
    /// The default is one.
    pub weight: Weight,
    /// The limit on requests in flight to the rule, in addition to that of the key. `None` means no limit. A public rule has no
    /// key: its limit counts a network or a pool.
    pub in_flight: Option<InFlightLimit>,
    /// The routes of the rule's table in the configuration file, if it has several. They share the windows of its quotas, the
    /// slots of its limit on requests in flight, and the terms that plans have for one of them.
    pub(crate) routes: Option<Arc<[Arc<str>]>>,
    /// The checks that are made in shadow: they are judged and told, and refuse nothing. With [`ShadowChecks::ALL`], a request
    /// without a valid key is served too, without a [`Principal`](crate::Principal).
    pub shadow: ShadowChecks,
    pub(crate) purpose: Purpose,
}

/// The purpose of a rule, for requests that the gate treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Purpose {
    /// Any other purpose.
    #[default]
    Service,
    /// Manages keys. Its checks are never made in shadow.
    Management,
    /// Reports the remaining limits and credits of a key. The key's restrictions are not checked.
    Usage,
    /// Revokes a key. An exceeded quota does not refuse the request.
    Revocation,
}

/// The methods of RFC 9110 and RFC 5789.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// Parses the method of a route. A misspelt one would leave its route without a rule. The error is the remedy, if there is a
/// similar method.
fn parse_method(method: &str) -> Result<http::Method, Option<String>> {
    if !METHODS.contains(&method)
        && let Some(meant) = words::nearest(method, METHODS)
    {
        return Err(Some(format!("did you mean `{meant}`? methods are written in capital letters")));
    }
    method.parse().ok().filter(|_| method.bytes().all(|byte| byte.is_ascii_uppercase())).ok_or(None)
}

impl Rule {
    /// Creates a rule for a route such as `GET /v1/candles`, or `/v1/candles` for any method. The rule requires a key
    /// and costs nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if the route has an invalid method, an invalid path, or a path that no request can have.
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
        let method = match method {
            Some(method) => Some(parse_method(method).map_err(|expected| {
                let problem = "unknown method";
                expected.map_or_else(|| refuse(problem), |expected| refuse_for(problem, &expected))
            })?),
            None => None,
        };
        if method == Some(http::Method::TRACE) {
            return Err(refuse_for("TRACE requests are not supported", "leave the rule out"));
        }
        if pattern.starts_with(' ') {
            return Err(refuse("more than one space between the method and the path"));
        }
        if let Some((spelling, right)) = foreign::segment(pattern) {
            let problem = format!("`{spelling}` is not the syntax of a parameter");
            return Err(refuse_for(&problem, &format!("write `{right}`")));
        }
        if let Some(segment) = twins::partial_rest(pattern) {
            // Routers differ in the paths that they match with it, so that the gate could not tell which are meant.
            let problem = format!("`{segment}` combines text with a parameter for the rest of the path");
            return Err(refuse_for(
                &problem,
                "write `{*rest}` as a separate segment, as in `/files/{*rest}`",
            ));
        }
        // This is the form in which the paths of a key are written.
        let below = pattern.strip_suffix("/*").map(|service| format!("{service}/{{*rest}}"));
        let pattern = below.as_deref().unwrap_or(pattern);
        unmatched(pattern).map_or(Ok(()), |problem| Err(refuse(problem)))?;
        let route =
            method.as_ref().map_or_else(|| pattern.into(), |method| format!("{method} {pattern}").into());
        Ok(Self { method, route, ..Self::of(pattern) })
    }

    /// Creates the rule for requests that no rule matches. It requires a key and costs nothing.
    pub fn otherwise() -> Self {
        Self::of("")
    }

    fn of(pattern: &str) -> Self {
        Self {
            method: None,
            pattern: pattern.to_owned(),
            route: pattern.into(),
            public: false,
            anonymous: false,
            cost: Cost::Fixed(Credits::ZERO),
            most_cost: None,
            currency: Currency::CREDITS,
            scopes: ScopeRule::Unnamed,
            min_plan: None,
            open_to: Vec::new(),
            closed_to: Vec::new(),
            agreements: Vec::new(),
            subscription: false,
            quotas: Vec::new(),
            weight: Weight::default(),
            in_flight: None,
            routes: None,
            purpose: Purpose::Service,
            shadow: ShadowChecks::NONE,
        }
    }

    /// Returns the method that the rule applies to, or `None` for all methods.
    pub fn method(&self) -> Option<&http::Method> {
        self.method.as_ref()
    }

    /// Returns the path pattern. It is empty for the rule for requests that no rule matches.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Returns the requirements for a key that is not restricted, without the method and the pattern.
    pub(super) fn demands(&self) -> Self {
        Self {
            method: None,
            pattern: String::new(),
            route: "".into(),
            public: false,
            anonymous: false,
            scopes: ScopeRule::Unnamed,
            // Equal limits of two rules count separately, except for quotas that have names.
            routes: self.has_own_counts().then(|| [self.limit_label()].into()),
            ..self.clone()
        }
    }

    /// Returns true if the rule has windows or slots that no other rule shares.
    fn has_own_counts(&self) -> bool {
        self.in_flight.is_some() || self.quotas.iter().any(|quota| matches!(quota, QuotaRef::Policy(_)))
    }

    /// Returns the route by which the windows and the slots of the rule are identified.
    pub(crate) fn limit_label(&self) -> Arc<str> {
        let first = self.routes.as_ref().and_then(|routes| routes.first());
        Arc::clone(first.unwrap_or(&self.route))
    }

    /// Returns the plan's terms for this rule, with the route under which the plan has them.
    pub(crate) fn terms_of<'p>(&self, plan: &'p Plan) -> Option<(&'p str, &'p PlanRule)> {
        let mut terms = plan.rules.iter().filter(|(route, _)| self.has_route(route));
        terms.next().map(|(route, terms)| (route.as_str(), terms))
    }

    /// Returns true if a text names a route of this rule, in any spelling.
    pub(crate) fn has_route(&self, route: &str) -> bool {
        let routes = self.routes.as_deref().unwrap_or(std::slice::from_ref(&self.route));
        let has = |text: &str| routes.iter().any(|own| **own == *text);
        has(route) || Self::new(route).is_ok_and(|named| has(&named.route))
    }

    /// Returns true if both rules have the same requirements, whatever requests they apply to.
    pub(super) fn asks_as(&self, other: &Self) -> bool {
        (self.public, self.anonymous, &self.scopes, self.shadow)
            == (other.public, other.anonymous, &other.scopes, other.shadow)
            && self.demands() == other.demands()
    }

    /// Returns the route as it was written.
    pub fn route(&self) -> String {
        self.route.as_ref().to_owned()
    }

    /// Returns the shared text of the route.
    pub(crate) fn shared_route(&self) -> &Arc<str> {
        &self.route
    }
}

/// Returns the reason that no request path can match a pattern, if there is one.
fn unmatched(pattern: &str) -> Option<&'static str> {
    // Few clients send letters beyond ASCII unencoded, but actix-web compares decoded paths.
    let is_sent = |byte: u8| !byte.is_ascii() || (byte.is_ascii_graphic() && byte != b'?' && byte != b'#');
    if !pattern.starts_with('/') {
        return Some("a path must begin with `/`");
    }
    if pattern.len() > LONGEST {
        return Some("the path is too long");
    }
    if !pattern.bytes().all(is_sent) || pattern.parse::<PathAndQuery>().is_err() {
        return Some("no request path can match this");
    }
    if super::is_odd(pattern) {
        return Some("a path with dot segments, empty segments or an encoded slash matches no rule");
    }
    if pattern.split('/').any(|segment| segment == "*") {
        return Some("`*` is only valid at the end, for the rest of the path; use `{name}` for one segment");
    }
    // matchit, which routes for axum and for the gate, panics above that.
    if pattern.replace("{{", "").matches('{').count() > MOST_PARAMETERS {
        return Some("a path can have at most 25 parameters");
    }
    twins::too_many(pattern).then_some("at most four segments can combine a parameter with text")
}

/// The reason that a cost could not be determined.
#[derive(Debug)]
pub(crate) enum CostError {
    /// The number of units is too high, or is not a number.
    Asked(BreachKind),
    /// The product does not fit.
    TooMuch,
}

impl Cost {
    /// Returns true if a request never costs anything.
    pub(crate) fn is_free(&self) -> bool {
        *self == Self::Fixed(Credits::ZERO)
    }

    /// Returns the number of units of an admitted request, if the cost is per unit. `None` for a number outside the bounds,
    /// which a request may have whose charge an outer gate took.
    pub(crate) fn units(&self, query: Option<&str>) -> Option<u64> {
        let Self::PerUnit { parameter, least, default, most, .. } = self else { return None };
        let bounds = Bounds { least: *least, default: *default, most: *most };
        bounds.units(in_parameter(query, parameter)).ok()
    }

    /// Returns the cost of a request with this query.
    #[inline]
    pub(crate) fn of(&self, query: Option<&str>) -> Result<Credits, CostError> {
        let (parameter, each, bounds) = match self {
            Self::Fixed(cost) => return Ok(*cost),
            Self::PerUnit { parameter, each, least, default, most } => {
                (parameter, each, Bounds { least: *least, default: *default, most: *most })
            }
        };
        let units = bounds.units(in_parameter(query, parameter)).map_err(CostError::Asked)?;
        each.checked_mul(units).ok_or(CostError::TooMuch)
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_PARAMETERS, Rule};

    #[test]
    fn trailing_star_covers_everything_below() {
        let pattern = |route: &str| Rule::new(route).unwrap().pattern().to_owned();
        assert_eq!(pattern("/acme.quotes.v1.Quotes/*"), "/acme.quotes.v1.Quotes/{*rest}");
        assert_eq!(pattern("POST /*"), "/{*rest}");
        assert!(Rule::new("/a/*/b").is_err());
    }

    #[test]
    fn parameters_of_a_pattern_are_limited() {
        let segments = |count| (0..count).map(|number| format!("{{p{number}}}")).collect::<Vec<_>>();
        let pattern = |count| format!("/{}", segments(count).join("/"));
        assert!(Rule::new(&pattern(MOST_PARAMETERS)).is_ok());
        assert!(matchit::Router::new().insert(pattern(MOST_PARAMETERS), ()).is_ok());
        let error = Rule::new(&pattern(MOST_PARAMETERS + 1)).unwrap_err();
        assert_eq!(error.problem(), "a path can have at most 25 parameters");
    }

    #[test]
    fn foreign_parameter_syntax_is_refused() {
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

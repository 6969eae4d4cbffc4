//! The rules of a gate, found by method and path.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use matchit::Router;

use crate::account::{LimitIndex, Plan};
use crate::error::ConfigError;
use crate::name::PlanName;
use crate::rule::literal_routes::LiteralRouteIndex;
use crate::rule::path::{has_empty_segment, is_doubtful, is_odd};
use crate::rule::segment_tree::SegmentTree;
use crate::rule::{Cost, Purpose, Rule, ScopeRule, twins};
use crate::words;

/// A rule, with values computed from it and from its plans.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    pub(crate) rule: Rule,
    /// The index of the named rule. `None` for requests that no rule matches.
    pub(crate) index: Option<usize>,
    /// The length of the pattern's text before the first segment with a parameter.
    said: usize,
    /// The rank of the plan in `min_plan`.
    pub(crate) min_rank: Option<u32>,
    /// The rule's scopes, in the wording of an error.
    pub(crate) required_scope: Option<String>,
    /// The parameter that determines the cost, as a refusal names it.
    pub(crate) unit: Option<Arc<str>>,
    /// The parameter or the header that determines the weight, as a refusal names it.
    pub(crate) weighed_by: Option<Arc<str>>,
    /// True if the rule admits no key.
    pub(crate) refuses: bool,
    /// The index of the rule among those that have limits of their own, for any plan.
    pub(crate) limits: Option<LimitIndex>,
    /// True if a plan has terms of its own for the rule.
    has_terms: bool,
    /// True if this is a twin rule: it applies to paths that some routers match with the pattern of another rule.
    pub(crate) beside: bool,
}

impl CompiledRule {
    /// Returns true if both rules have the same requirements and the same windows, whatever requests they apply to.
    fn asks_as(&self, other: &Self) -> bool {
        let have_terms = self.has_terms || other.has_terms;
        self.rule.asks_as(&other.rule) && (!have_terms || self.rule.limit_label() == other.rule.limit_label())
    }

    fn new(rule: Rule, plans: &HashMap<PlanName, Plan>) -> Result<Self, ConfigError> {
        for plan in rule.open_to.iter().chain(&rule.closed_to) {
            let member = if rule.open_to.contains(plan) { "open_to" } else { "closed_to" };
            find_plan(plan, plans).map_err(|error| error.in_member(member))?;
        }
        let within = |error: ConfigError| error.in_member("min_plan");
        let min_rank = match &rule.min_plan {
            None => None,
            Some(name) => Some(find_plan(name, plans).map_err(within)?.rank.ok_or_else(|| {
                let problem = "the plan is the `min_plan` of a rule, and has no `rank`";
                within(ConfigError::new(name.as_str(), problem, "give the plan a `rank`"))
            })?),
        };
        let required_scope = rule.scopes.as_text();
        let unit = if let Cost::PerUnit { parameter, .. } = &rule.cost {
            Some(parameter.as_str().into())
        } else {
            None
        };
        let weighed_by = rule.weight.source().map(Into::into);
        let (pattern, gap) = (rule.pattern(), rule.pattern().find(['{', '}']));
        let said = gap.map_or(pattern.len(), |gap| pattern[..gap].rfind('/').unwrap_or_default());
        Ok(Self {
            rule,
            index: None,
            said,
            min_rank,
            required_scope,
            unit,
            weighed_by,
            refuses: false,
            limits: None,
            has_terms: false,
            beside: false,
        })
    }

    /// Creates the rule for requests that are refused for every key.
    fn refusing() -> Self {
        let rule = Rule::otherwise();
        Self {
            rule,
            index: None,
            said: 0,
            min_rank: None,
            required_scope: None,
            unit: None,
            weighed_by: None,
            refuses: true,
            limits: None,
            has_terms: false,
            beside: false,
        }
    }

    /// Returns the rule for a path that some routers match with this rule, and others leave to `otherwise`. Neither of
    /// the two rules can be circumvented. Returns `None` if `otherwise` has requirements that are not the same as the
    /// rule's, or if the rule has a special purpose.
    fn beside(&self, otherwise: &Rule, plans: &HashMap<PlanName, Plan>) -> Result<Option<Self>, ConfigError> {
        let asked = otherwise.demands();
        let asks_less = asked == Rule::otherwise().demands() || asked == self.rule.demands();
        if !asks_less || !matches!(self.rule.purpose, Purpose::Service | Purpose::Management) {
            return Ok(None);
        }
        let mut rule = self.rule.clone();
        (rule.public, rule.anonymous) = (false, false);
        if otherwise.scopes != ScopeRule::Everyone {
            rule.scopes = ScopeRule::Unnamed;
        }
        let compiled = Self::new(rule, plans)?;
        Ok(Some(Self { index: self.index, said: 0, limits: self.limits, beside: true, ..compiled }))
    }
}

fn find_plan<'p>(name: &PlanName, plans: &'p HashMap<PlanName, Plan>) -> Result<&'p Plan, ConfigError> {
    plans.get(name).ok_or_else(|| {
        let mut known: Vec<_> = plans.keys().map(PlanName::as_str).collect();
        known.sort_unstable();
        let expected = match known.as_slice() {
            [] => "define it under `[plans]`".to_owned(),
            known => {
                let known = words::one_of(name.as_str(), known.iter().copied());
                format!("{known}, or define it under `[plans]`")
            }
        };
        ConfigError::new(name.as_str(), "the plan is not defined", expected)
    })
}

/// All rules, with one matcher per method.
#[derive(Debug)]
pub(crate) struct RuleSet {
    /// The named rules; then the rule for requests that no rule matches; then the rule that refuses every key; then,
    /// for each named rule, the rule for the paths beside its own.
    rules: Vec<Arc<CompiledRule>>,
    /// The number of named rules.
    named: usize,
    /// The index of the rule for requests that no rule matches. If they are denied, it is the index of the refusing
    /// rule.
    unmatched: usize,
    /// True if a request to some rule may take more than one unit.
    weighs: bool,
    /// The rules for GET, the most frequent method.
    get: Matcher,
    /// The rules for each other method that a rule names.
    by_method: Vec<(String, Matcher)>,
    /// The rules that name no method.
    any_method: Matcher,
}

/// The rules for one method, by their patterns.
#[derive(Debug, Default)]
struct Matcher {
    /// All patterns. It refuses ambiguous ones.
    tree: Router<usize>,
    /// All patterns again, if one of them has text behind a parameter. Then `tree` does not find every pattern.
    segments: Option<SegmentTree>,
    straight: LiteralRouteIndex,
}

impl Matcher {
    fn insert(&mut self, pattern: &str, place: usize) -> Result<(), matchit::InsertError> {
        self.tree.insert(pattern, place)?;
        self.straight.insert(pattern, place);
        self.segments.get_or_insert_default().insert(pattern, place);
        Ok(())
    }

    fn without_unused_tree(mut self) -> Self {
        self.segments = self.segments.filter(SegmentTree::has_suffix);
        self
    }

    #[inline]
    fn at(&self, path: &str) -> Option<usize> {
        self.straight.at(path).or_else(|| self.in_tree(path))
    }

    fn in_tree(&self, path: &str) -> Option<usize> {
        if let Some(segments) = &self.segments {
            return segments.at(path);
        }
        self.tree.at(path).ok().map(|found| *found.value)
    }
}

impl RuleSet {
    pub(crate) fn new(
        rules: Vec<Rule>,
        otherwise: Rule,
        denies_unmatched: bool,
        plans: &HashMap<PlanName, Plan>,
    ) -> Result<Self, ConfigError> {
        let refused = rules.len() + 1;
        let mut methods = vec!["HEAD".to_owned()];
        for method in rules.iter().filter_map(Rule::method) {
            if method != http::Method::GET && !methods.iter().any(|known| known == method.as_str()) {
                methods.push(method.to_string());
            }
        }
        let get = matcher(&rules, Some("GET"), refused)?;
        let by_method =
            methods.into_iter().map(|method| Ok((method.clone(), matcher(&rules, Some(&method), refused)?)));
        let by_method = by_method.collect::<Result<_, ConfigError>>()?;
        let any_method = matcher(&rules, None, refused)?;
        let otherwise = CompiledRule::new(otherwise, plans).map_err(|error| error.in_member("default"))?;
        let named = rules.len();
        let mut compiled = Vec::with_capacity(2 * named + 2);
        let mut limited = 0;
        for (place, rule) in rules.into_iter().enumerate() {
            let has_terms = plans.values().any(|plan| rule.terms_of(plan).is_some());
            let is_limited =
                !rule.quotas.is_empty() || rule.in_flight.is_some() || has_terms || !rule.shadow.is_empty();
            let limits = is_limited.then_some(LimitIndex(limited));
            limited += u32::from(is_limited);
            let rule = CompiledRule::new(rule, plans).map_err(|error| error.in_member(member(place)))?;
            compiled.push(Arc::new(CompiledRule { index: Some(place), limits, has_terms, ..rule }));
        }
        let refusing = Arc::new(CompiledRule::refusing());
        let beside = |compiled: &Arc<CompiledRule>| {
            let beside = if denies_unmatched { None } else { compiled.beside(&otherwise.rule, plans)? };
            Ok(beside.map_or_else(|| Arc::clone(&refusing), Arc::new))
        };
        let beside = compiled.iter().map(beside).collect::<Result<Vec<_>, ConfigError>>()?;
        compiled.extend([Arc::new(otherwise), refusing]);
        compiled.extend(beside);
        let unmatched = if denies_unmatched { refused } else { refused - 1 };
        let weighs = compiled.iter().any(|compiled| !compiled.rule.weight.is_one());
        Ok(Self { rules: compiled, named, unmatched, weighs, get, by_method, any_method })
    }

    /// Returns the index of the rule for a request, and true if its path is odd.
    pub(crate) fn find(&self, method: &str, path: &str) -> (usize, bool) {
        let place = self.of_method(method).at(path).unwrap_or(self.unmatched);
        // The text of a pattern is not odd. A path can be odd only after the pattern's text.
        let said = self.rules[place].said;
        if path.get(said..).is_none_or(is_doubtful) {
            self.doubt(method, place, path)
        } else {
            (place, false)
        }
    }

    /// Returns the same as [`find`](Self::find) for a path that may be odd.
    #[cold]
    fn doubt(&self, method: &str, place: usize, path: &str) -> (usize, bool) {
        let place = self.of_every_reading(method, place, path);
        // A file server, for example, decodes the path that the router matched as it was sent.
        let decoded = twins::decoded(path).and_then(|decoded| {
            let place = self.of_method(method).at(&decoded)?;
            Some(self.of_every_reading(method, place, &decoded))
        });
        (decoded.map_or(place, |decoded| self.of_both(place, decoded)), is_odd(path))
    }

    /// Returns the index of the rule for a path that matches the rule at `place`. A path with an empty segment has a
    /// rule only if every router reading gives that rule.
    fn of_every_reading(&self, method: &str, place: usize, path: &str) -> usize {
        if has_empty_segment(path) && !self.is_certain(method, place, path) { self.named + 1 } else { place }
    }

    /// Returns the index of the rule for a path that matches one rule as it was sent and another rule decoded. If no
    /// rule names the path as it was sent, it is beside the other rule. If the two rules have different requirements,
    /// the path is refused.
    fn of_both(&self, sent: usize, decoded: usize) -> usize {
        let refused = self.named + 1;
        if sent == refused || decoded == refused {
            return refused;
        }
        // The rule for the paths beside a rule stands for that rule.
        let named = |place: usize| {
            let place = if place > refused { place - refused - 1 } else { place };
            (place < self.named).then_some(place)
        };
        match (named(sent), named(decoded)) {
            (None, Some(other)) => refused + 1 + other,
            (Some(one), Some(other)) if one != other && !self.rules[one].asks_as(&self.rules[other]) => {
                refused
            }
            _ => sent,
        }
    }

    /// Returns true if a path with empty segments matches a `{*rest}`, and has the same rule if a router matches an
    /// empty segment with a `{name}` or leaves it out.
    fn is_certain(&self, method: &str, place: usize, path: &str) -> bool {
        let is_rest = |compiled: &Arc<CompiledRule>| compiled.rule.pattern().contains("{*");
        let has_place = |read: String| self.of_method(method).at(&read) == Some(place);
        self.named().get(place).is_some_and(is_rest)
            && has_place(with_empty_segments(path, Some("\0")))
            && has_place(with_empty_segments(path, None))
    }

    #[inline]
    fn of_method(&self, method: &str) -> &Matcher {
        if method == "GET" {
            return &self.get;
        }
        let named = self.by_method.iter().find(|(named, _)| named == method);
        named.map_or(&self.any_method, |(_, rules)| rules)
    }

    /// Returns the index of the rule for requests that no rule matches, used if they are not denied.
    pub(crate) fn otherwise(&self) -> usize {
        self.named
    }

    /// Returns the scopes that rules name.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &crate::name::Scope> {
        self.rules.iter().flat_map(|compiled| compiled.rule.scopes.named())
    }

    /// Returns the agreements that rules name.
    pub(crate) fn agreements(&self) -> impl Iterator<Item = &crate::name::Agreement> {
        self.rules.iter().flat_map(|compiled| &compiled.rule.agreements)
    }

    /// Returns the named rules, without the rule for requests that none matches.
    pub(crate) fn named(&self) -> &[Arc<CompiledRule>] {
        &self.rules[..self.named]
    }

    /// Returns true if a request to some rule may take more than one unit.
    #[inline]
    pub(crate) fn weighs(&self) -> bool {
        self.weighs
    }

    /// Returns the headers that contain weights.
    pub(crate) fn weight_headers(&self) -> impl Iterator<Item = &http::HeaderName> {
        self.rules.iter().filter_map(|compiled| compiled.rule.weight.header())
    }

    /// Returns the rules that have limits of their own, for any plan, in the order of their [`LimitIndex`].
    pub(crate) fn limited(&self) -> impl Iterator<Item = &Rule> {
        self.named().iter().filter(|compiled| compiled.limits.is_some()).map(|compiled| &compiled.rule)
    }

    /// Returns the methods whose requests have rules of their own, and an empty text for all other methods.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &str> {
        ["GET", ""].into_iter().chain(self.by_method.iter().map(|(method, _)| method.as_str()))
    }

    /// Returns the index of the rule that names a request's path, if there is one.
    pub(crate) fn naming(&self, method: &str, path: &str) -> Option<usize> {
        Some(self.find(method, path).0).filter(|place| *place < self.named)
    }

    /// Returns the rule at an index that this set has returned.
    #[inline]
    pub(crate) fn at(&self, place: usize) -> &Arc<CompiledRule> {
        &self.rules[place]
    }
}

/// Returns the name of a rule in errors.
fn member(place: usize) -> String {
    format!("rules[{place}]")
}

/// Creates the matcher for one method. It contains the rules that name the method, then for HEAD those that name GET,
/// then those that name no method. A path that no rule names, but that a router may match with a rule, gets the index
/// `refused + 1` plus that rule's index. If several rules with different requirements may be meant, it gets the index
/// `refused`.
fn matcher<'r>(rules: &'r [Rule], method: Option<&str>, refused: usize) -> Result<Matcher, ConfigError> {
    let named = |name: Option<&str>| {
        let name = name.map(str::to_owned);
        move |rule: &Rule| rule.method().map(http::Method::as_str) == name.as_deref()
    };
    let mut ranks = vec![];
    if let Some(method) = method {
        ranks.push(named(Some(method)));
        if method == "HEAD" {
            ranks.push(named(Some("GET")));
        }
    }
    ranks.push(named(None));

    let (mut matcher, mut shapes, mut taken) = (Matcher::default(), HashMap::new(), Vec::new());
    for (rank, of_rank) in ranks.iter().enumerate() {
        for (place, rule) in rules.iter().enumerate().filter(|(_, rule)| of_rank(rule)) {
            match shapes.insert(shape(rule.pattern()), (rank, place)) {
                // A rule that names the method more closely is already present.
                Some((better, _)) if better < rank => {}
                Some((_, other)) => {
                    return Err(said_twice(rule).in_member(member(place)).beside(member(other) + ".route"));
                }
                None => {
                    let unusable = |error: matchit::InsertError| {
                        let fault = unusable(rule, &error).in_member(member(place));
                        let matchit::InsertError::Conflict { with } = &error else { return fault };
                        let other = rules.iter().position(|rule| rule.pattern() == with);
                        other.into_iter().fold(fault, |fault, other| fault.beside(member(other) + ".route"))
                    };
                    matcher.insert(rule.pattern(), place).map_err(unusable)?;
                    taken.push((place, rule));
                }
            }
        }
    }
    let with_twins = |(place, rule): (usize, &'r Rule)| {
        let own = Cow::Borrowed(rule.pattern());
        let twins = twins::of(rule.pattern()).into_iter().map(Cow::Owned);
        (place, rule, [own].into_iter().chain(twins).collect::<Vec<_>>())
    };
    let taken: Vec<(usize, &Rule, Vec<Cow<'r, str>>)> = taken.into_iter().map(with_twins).collect();
    // A thousand rules are not compared with one another.
    let mut by_text: BTreeMap<&str, Vec<(&Rule, &str)>> = BTreeMap::new();
    for (_, rule, patterns) in &taken {
        for pattern in patterns {
            by_text.entry(twins::text(pattern)).or_default().push((rule, pattern));
        }
    }
    for (place, rule, patterns) in &taken {
        for twin in &patterns[1..] {
            if shapes.contains_key(&shape(twin)) {
                continue;
            }
            shapes.insert(shape(twin), (ranks.len(), *place));
            let text = twins::text(twin);
            let longer = by_text.range(text..).take_while(|(longer, _)| longer.starts_with(text));
            let shorter = (0..text.len()).filter_map(|end| by_text.get(text.get(..end)?));
            let mut near = longer.map(|(_, near)| near).chain(shorter).flatten();
            let is_rival =
                |(other, pattern): &(&Rule, &str)| twins::compete(twin, pattern) && !rule.asks_as(other);
            let place_beside = if near.any(is_rival) { refused } else { refused + 1 + place };
            let unusable = |error| unusable(rule, &error).in_member(member(*place));
            matcher.insert(twin, place_beside).map_err(unusable)?;
        }
    }
    Ok(matcher.without_unused_tree())
}

/// Returns the path with `value` in place of each empty segment except the last, or without these segments if `value`
/// is `None`.
fn with_empty_segments(path: &str, value: Option<&str>) -> String {
    let segments: Vec<_> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let before_last = segments.len().saturating_sub(1);
    let read =
        |(nth, segment)| if nth < before_last && str::is_empty(segment) { value } else { Some(segment) };
    segments
        .into_iter()
        .enumerate()
        .filter_map(read)
        .fold(String::new(), |path, segment| path + "/" + segment)
}

/// Returns the pattern without the names of its parameters. Two rules of one shape match the same paths.
fn shape(pattern: &str) -> String {
    let nameless = |segment: &str| match twins::gap(segment) {
        Some((from, to)) => {
            let star = if segment[from..].starts_with("{*") { "*" } else { "" };
            format!("{}{{{star}}}{}", &segment[..from], &segment[to..])
        }
        None => segment.to_owned(),
    };
    pattern.split('/').map(nameless).collect::<Vec<_>>().join("/")
}

fn said_twice(rule: &Rule) -> ConfigError {
    let expected = "remove one of them, or use different methods";
    ConfigError::new(rule.route(), "two rules have the same method and path", expected).in_member("route")
}

fn unusable(rule: &Rule, error: &matchit::InsertError) -> ConfigError {
    let problem = format!("the pattern cannot be used: {error}");
    let expected = "write parameters as whole segments, `{name}`, or `{*rest}` at the end";
    ConfigError::new(rule.route(), problem, expected).in_member("route")
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::collections::HashMap;

    use super::RuleSet;
    use crate::amount::Credits;
    use crate::error::ConfigError;
    use crate::rule::{Cost, Rule};

    const NOTHING: &str = "";

    /// Creates a set of rules with different costs, or returns the error of the patterns.
    fn set<S: AsRef<str>>(patterns: &[S]) -> Result<RuleSet, ConfigError> {
        let rule = |(place, pattern): (usize, &S)| {
            let mut rule = Rule::new(pattern.as_ref()).unwrap();
            rule.cost = Cost::Fixed(Credits::new(place as u64 + 1));
            rule
        };
        let rules = patterns.iter().enumerate().map(rule).collect();
        RuleSet::new(rules, Rule::otherwise(), false, &HashMap::new())
    }

    fn found<'p, S: AsRef<str>>(set: &RuleSet, patterns: &'p [S], path: &str) -> &'p str {
        set.naming("GET", path).map_or(NOTHING, |place| patterns[place].as_ref())
    }

    /// The generality of a segment of a pattern, and the number of bytes of its text, if it matches.
    fn generality(segment: &str, text: &str) -> Option<(u8, usize, usize)> {
        let Some((prefix, rest)) = segment.split_once('{') else {
            return (segment == text).then_some((0, 0, 0));
        };
        let (_, suffix) = rest.split_once('}').unwrap();
        let is_longer = text.len() > prefix.len() + suffix.len();
        let fits = is_longer && text.starts_with(prefix) && text.ends_with(suffix);
        let whole = prefix.is_empty() && suffix.is_empty();
        fits.then_some((if whole { 2 } else { 1 }, usize::MAX - prefix.len(), usize::MAX - suffix.len()))
    }

    /// Returns true if a router that is not exact may match the path: a parameter may be empty, and a slash at the end
    /// may be missing or added.
    fn matches_nearly(pattern: &str, path: &str) -> bool {
        let (above, has_rest) =
            pattern.split_once("/{*").map_or((pattern, false), |(above, _)| (above, true));
        let (mut segments, mut texts) = (above.split('/'), path.trim_end_matches('/').split('/'));
        let fits = segments.all(|segment| {
            let text = texts.next();
            let Some((prefix, rest)) = segment.split_once('{') else { return text == Some(segment) };
            let (_, suffix) = rest.split_once('}').unwrap();
            text.and_then(|text| text.strip_prefix(prefix)).is_some_and(|rest| rest.ends_with(suffix))
        });
        fits && (has_rest || texts.next().is_none())
    }

    /// The generality of each segment of a pattern that matches a path.
    fn matching(pattern: &str, path: &str) -> Option<Vec<(u8, usize, usize)>> {
        let (mut texts, mut general) = (path.split('/'), vec![]);
        for segment in pattern.split('/') {
            if segment.starts_with("{*") {
                general.push((3, 0, 0));
                return texts.any(|text| !text.is_empty()).then_some(general);
            }
            general.push(generality(segment, texts.next()?)?);
        }
        texts.next().is_none().then_some(general)
    }

    /// Returns the most specific of the matching patterns, or an empty text if none matches.
    fn expected<'p>(patterns: &'p [String], path: &str) -> &'p str {
        let matching = patterns.iter().filter_map(|pattern| Some((matching(pattern, path)?, pattern)));
        let by_generality = |one: &(Vec<_>, _), other: &(Vec<_>, _)| -> Ordering { one.0.cmp(&other.0) };
        matching.min_by(by_generality).map_or(NOTHING, |(_, pattern)| pattern)
    }

    #[test]
    fn suffixes_do_not_hide_other_patterns() {
        let rows: [(&[&str], &str, &str); 12] = [
            (&["/v1/{file}.json", "/v1/{dir}/{id}"], "/v1/x.json/5", "/v1/{dir}/{id}"),
            (&["/v1/{file}.json", "/v1/{dir}/secret"], "/v1/x.json/secret", "/v1/{dir}/secret"),
            (&["/v1/{file}.json/meta", "/v1/{dir}/{id}"], "/v1/x.json/5", "/v1/{dir}/{id}"),
            (&["/v1/{file}.json/meta", "/v1/{dir}/{id}"], "/v1/x.json/meta", "/v1/{file}.json/meta"),
            (&["/v1/p-{f}.json", "/v1/p-{dir}/{id}"], "/v1/p-x.json/5", "/v1/p-{dir}/{id}"),
            (&["/v1/{dir}/{id}", "/v1/p-{f}.json"], "/v1/p-x.json/5", "/v1/{dir}/{id}"),
            // Only the names of the parameters differ.
            (&["GET /v1/p-{x}/a", "/v1/p-{y}/a"], "/v1/p-x/a", "GET /v1/p-{x}/a"),
            (&["/{f}.js", "/{f}.min.js", "/{a}.js/x"], "/q.min.js/x", "/{a}.js/x"),
            (&["/{f}.js", "/{f}.min.js", "/{a}.js/x"], "/q.min.js", "/{f}.min.js"),
            (&["/{f}.js", "/{f}"], "/.js", "/{f}"),
            (&["/{f}}}.js", "/{dir}/x"], "/a}.js", "/{f}}}.js"),
            (&["/{f}}}.js", "/{dir}/x"], "/a}.js/x", "/{dir}/x"),
        ];
        for (patterns, path, expected) in rows {
            let set = set(patterns).unwrap();
            assert_eq!(found(&set, patterns, path), expected, "{path} of {patterns:?}");
        }
    }

    #[test]
    fn most_specific_matching_pattern_applies() {
        const SEGMENTS: [&str; 14] = [
            "a",
            "b",
            "q.js",
            "p-a",
            "p-a.js",
            "{}",
            "{}",
            "p-{}",
            "p-a{}",
            "{}.js",
            "{}.min.js",
            "{}s",
            "p-{}.js",
            "{*rest}",
        ];
        const TEXTS: [&str; 15] = [
            "a",
            "b",
            "c",
            "q.js",
            "q.min.js",
            ".js",
            ".min.js",
            "p-",
            "p-a",
            "p-ab",
            "p-.js",
            "p-a.js",
            "p-b.min.js",
            "s",
            "",
        ];
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut below = |end: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % end
        };
        let (mut sets, mut named, mut with_suffix) = (0, 0, 0);
        for _ in 0..500 {
            let mut patterns: Vec<String> = vec![];
            for _ in 0..=1 + below(6) {
                let mut pattern = String::new();
                for depth in 0..=below(5) {
                    let segment = SEGMENTS[below(SEGMENTS.len())];
                    pattern += "/";
                    pattern += &segment.replace("{}", &format!("{{x{depth}}}"));
                    if segment.starts_with("{*") {
                        break;
                    }
                }
                // A part of the patterns is refused beside others.
                patterns.push(pattern);
                if Rule::new(patterns.last().unwrap()).is_err() || set(&patterns).is_err() {
                    patterns.pop();
                }
            }
            if patterns.len() < 2 {
                continue;
            }
            let set = set(&patterns).unwrap();
            sets += 1;
            for _ in 0..200 {
                let segments = 1 + below(6);
                let path =
                    (0..segments).fold(String::new(), |path, _| path + "/" + TEXTS[below(TEXTS.len())]);
                let expected = expected(&patterns, &path);
                // A path with an empty segment can be refused.
                if expected == NOTHING || path.contains("//") {
                    continue;
                }
                let found = found(&set, &patterns, &path);
                let is_rival =
                    |pattern: &String| matching(pattern, &path).is_none() && matches_nearly(pattern, &path);
                // It is refused if a router may match another pattern.
                if found == NOTHING && patterns.iter().any(is_rival) {
                    continue;
                }
                named += 1;
                with_suffix += usize::from(expected.contains("}.") || expected.contains("}s"));
                assert_eq!(found, expected, "{path} of {patterns:?}");
            }
        }
        assert!(sets > 400 && named > 10_000 && with_suffix > 2_000, "{sets} {named} {with_suffix}");
    }
}

//! The answers to queries, as values, as JSON and as CSV.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::denial::DenialKind;
use crate::telemetry::DecisionOutcome;
use crate::usage::{TopKey, TopOrder, UsageCounts, UsagePart, UsageRange};

/// The usage of a key, an account or a rule over time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageReport {
    /// The range of time.
    pub range: UsageRange,
    /// The steps with requests, in the order of time.
    pub points: Vec<UsagePoint>,
}

/// The requests of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsagePoint {
    /// The start of the step.
    pub start: Timestamp,
    /// The sums over all requests.
    pub counts: UsageCounts,
    /// The number of admitted requests.
    pub admitted: u64,
    /// The number of requests whose client left before the decision.
    pub abandoned: u64,
    /// The number of denied requests of each kind.
    pub refused: Vec<(DenialKind, u64)>,
    /// The number of requests that were denied for a reason that only a newer version of this crate knows.
    pub unknown: u64,
}

impl UsagePoint {
    fn new(start: Timestamp, last_seen: Timestamp) -> Self {
        let counts = UsageCounts::none(last_seen);
        Self { start, counts, admitted: 0, abandoned: 0, refused: Vec::new(), unknown: 0 }
    }

    fn add(&mut self, part: &UsagePart) {
        self.counts.add(&part.counts);
        let requests = part.counts.requests;
        match part.outcome {
            Some(DecisionOutcome::Admitted) => self.admitted += requests,
            Some(DecisionOutcome::Abandoned) => self.abandoned += requests,
            Some(DecisionOutcome::Denied(kind)) => self.refused.push((kind, requests)),
            None => self.unknown += requests,
        }
    }

    /// Returns the number of denied requests.
    pub fn refusals(&self) -> u64 {
        self.refused.iter().fold(self.unknown, |sum, (_, requests)| sum.saturating_add(*requests))
    }

    fn json(&self) -> Value {
        let refused: Map<String, Value> =
            self.refused.iter().map(|(kind, requests)| (kind.name().to_owned(), json!(requests))).collect();
        json!({
            "start": self.start.to_string(),
            "requests": self.counts.requests,
            "admitted": self.admitted,
            "abandoned": self.abandoned,
            "refused": refused,
            "credits": self.counts.credits,
            "units": self.counts.units,
            "bytes": self.counts.bytes,
            "lastSeen": self.counts.last_seen.to_string(),
        })
    }
}

impl UsageReport {
    pub(super) fn of(range: UsageRange, parts: &[UsagePart]) -> Self {
        let mut points: Vec<UsagePoint> = Vec::new();
        for part in parts {
            if points.last().is_none_or(|point| point.start != part.start) {
                points.push(UsagePoint::new(part.start, part.counts.last_seen));
            }
            if let Some(point) = points.last_mut() {
                point.add(part);
            }
        }
        Self { range, points }
    }

    /// Returns the report as JSON: `step`, `from`, `to`, and `points` with the steps that have requests.
    pub fn to_json(&self) -> Value {
        let mut value = json_of(self.range);
        value["points"] = self.points.iter().map(UsagePoint::json).collect();
        value
    }

    /// Returns the report as CSV with a header line (RFC 4180). Steps without requests are left out.
    pub fn to_csv(&self) -> String {
        let mut text =
            "start,requests,admitted,refused,abandoned,credits,units,bytes,last_seen\r\n".to_owned();
        for point in &self.points {
            let UsageCounts { requests, credits, units, bytes, last_seen } = point.counts;
            let (start, admitted, refused) = (point.start, point.admitted, point.refusals());
            let abandoned = point.abandoned;
            let _ = write!(
                text,
                "{start},{requests},{admitted},{refused},{abandoned},{credits},{units},{bytes},{last_seen}\r\n"
            );
        }
        text
    }
}

/// The keys with the most usage in a range of time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopReport {
    /// The range of time.
    pub range: UsageRange,
    /// The order of the keys.
    pub order: TopOrder,
    /// The keys, in descending order.
    pub keys: Vec<TopKey>,
}

impl TopReport {
    pub(super) fn new(range: UsageRange, order: TopOrder, keys: Vec<TopKey>) -> Self {
        Self { range, order, keys }
    }

    /// Returns the report as JSON: `step`, `from`, `to`, `order` and `keys`.
    pub fn to_json(&self) -> Value {
        let key = |top: &TopKey| {
            json!({
                "key": top.key.to_string(),
                "account": top.account.as_str(),
                "requests": top.counts.requests,
                "refused": top.refusals,
                "credits": top.counts.credits,
                "units": top.counts.units,
                "bytes": top.counts.bytes,
                "lastSeen": top.counts.last_seen.to_string(),
            })
        };
        let mut value = json_of(self.range);
        value["order"] = self.order.name().into();
        value["keys"] = self.keys.iter().map(key).collect();
        value
    }

    /// Returns the report as CSV with a header line (RFC 4180).
    pub fn to_csv(&self) -> String {
        let mut text = "key,account,requests,refused,credits,units,bytes,last_seen\r\n".to_owned();
        for top in &self.keys {
            let UsageCounts { requests, credits, units, bytes, last_seen } = top.counts;
            let (key, account, refused) = (top.key, quoted(top.account.as_str()), top.refusals);
            let _ = write!(
                text,
                "{key},{account},{requests},{refused},{credits},{units},{bytes},{last_seen}\r\n"
            );
        }
        text
    }
}

fn json_of(range: UsageRange) -> Value {
    json!({
        "step": range.step().name(),
        "from": range.from().to_string(),
        "to": range.to().to_string(),
    })
}

/// Returns a field of CSV, in quotes if it requires them.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        assert_eq!(quoted("acme"), "acme");
        assert_eq!(quoted("acme, \"inc\""), "\"acme, \"\"inc\"\"\"");
    }
}

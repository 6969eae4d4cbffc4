//! Suggestions for quotas that are not written in the text form.

use std::time::Duration;

use crate::account::QuotaPolicy;

/// The words between the number and the window that have no meaning of their own.
const LINKS: [&str; 11] =
    ["per", "a", "an", "each", "every", "in", "any", "request", "requests", "call", "calls"];

const DAY: u64 = 86_400;

impl QuotaPolicy {
    /// Returns the question that an error asks if a text is probably a quota in another spelling, such as `60/min` or
    /// `20 per 30d`. Otherwise returns an empty text.
    pub(crate) fn meant(text: &str) -> String {
        let Some((policy, days)) = read(text) else { return String::new() };
        match days {
            Some(days) => format!("did you mean `{policy}`, which is {days} days? "),
            None => format!("did you mean `{policy}`? "),
        }
    }
}

/// Reads a quota in any of several spellings. Also returns the number of days for a unit whose length varies.
fn read(text: &str) -> Option<(QuotaPolicy, Option<u64>)> {
    let text = text.trim().to_lowercase().replace('/', " per ");
    let (quota, rest) = number(&text)?;
    let mut words: Vec<&str> = rest.split_whitespace().collect();
    let strict = words.contains(&"in");
    words.retain(|word| !LINKS.contains(word));
    let window = words.concat();
    let (count, unit) = number(&window).unwrap_or((1, &window));
    let (seconds, varies) = unit_of(unit)?;
    let seconds = seconds.checked_mul(u64::from(count))?;
    let policy = QuotaPolicy::new(quota, Duration::from_secs(seconds)).ok()?;
    let policy = if strict { policy.in_any_window() } else { policy };
    Some((policy, varies.then_some(seconds / DAY)))
}

/// Splits a number off the start of a text. Its digits may be grouped.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && !matches!(letter, ',' | '_'));
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    Some((digits.replace([',', '_'], "").parse().ok()?, rest))
}

/// Returns the seconds of a unit of time, and true if they are those of an average unit.
fn unit_of(unit: &str) -> Option<(u64, bool)> {
    Some(match unit {
        "s" | "sec" | "secs" | "second" | "seconds" | "rps" => (1, false),
        "m" | "min" | "mins" | "minute" | "minutes" | "rpm" => (60, false),
        "h" | "hr" | "hrs" | "hour" | "hours" | "rph" => (3_600, false),
        "d" | "day" | "days" | "rpd" => (DAY, false),
        "w" | "wk" | "week" | "weeks" => (7 * DAY, false),
        "mo" | "month" | "months" => (30 * DAY, true),
        "y" | "yr" | "year" | "years" => (365 * DAY, true),
        _ => return None,
    })
}

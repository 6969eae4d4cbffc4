//! The `usage` commands, which need a database.

use tollgate::KeyId;
use tollgate::clock::{Clock, Timestamp};
use tollgate::name::AccountId;
use tollgate::usage::{
    TopKey, TopOrder, TopReport, UsageFilter, UsagePoint, UsageRange, UsageReport, UsageStep,
};

use crate::Fault;
use crate::arguments::{self, Arguments, read};
use crate::commands::Operator;
use crate::print::Answer;

/// The width of the longest bar of a chart, in characters.
const WIDTH: u64 = 40;

/// The number of keys that `usage top` prints without `--limit`.
const TOP: usize = 10;

/// Runs a `usage` command.
pub(crate) async fn run(verb: &str, arguments: &mut Arguments, operator: &Operator) -> Result<Answer, Fault> {
    // The usage of a file would be empty: the command itself makes no decisions.
    let usage = operator.gate.usage().filter(|_| operator.store.database().is_some());
    let Some(usage) = usage else {
        return Err("this store does not support usage; use `sqlite:PATH` or `postgres://…`".into());
    };
    let now = operator.gate.clock().now().wall();
    let mut filter = match verb {
        "key" => UsageFilter::key(read::<KeyId>("id", &arguments.word("the key's id")?)?),
        "account" => UsageFilter::account(AccountId::from(arguments.word("the account's id")?)),
        "rule" => UsageFilter::rule(&arguments.word("the rule's route")?),
        _ => UsageFilter::all(),
    };
    if verb == "key" || verb == "account" || verb == "top" {
        filter = arguments.option("rule").map_or(filter.clone(), |rule| filter.with_rule(&rule));
    }
    if verb == "top" {
        filter.account = arguments.option("account").map(Into::into);
    }
    let usual = if verb == "top" { UsageStep::Day } else { UsageStep::Hour };
    let step = arguments.read("step")?.unwrap_or(usual);
    let (from, to) = (arguments.read::<Timestamp>("from")?, arguments.read::<Timestamp>("to")?);
    let range = UsageRange::between(step, from, to, now)
        .map_err(|error| arguments::Usage(format!("`--{}` {}", error.member(), error.problem())))?;
    let is_csv = arguments.flag("csv");
    if verb != "top" {
        arguments.end()?;
        return Ok(Answer::Usage(usage.report(filter, range).await?, is_csv));
    }
    let order = arguments.read::<TopOrder>("by")?.unwrap_or_default();
    let limit = arguments.limit()?.unwrap_or(TOP);
    if limit == 0 {
        return Err(arguments::Usage("`--limit` is 0; write at least 1".into()).into());
    }
    arguments.end()?;
    Ok(Answer::Top(usage.top(filter, range, order, limit).await?, is_csv))
}

/// Returns a chart with a bar for each step, and the sums.
pub(crate) fn chart(report: &UsageReport) -> Vec<String> {
    let most = report.points.iter().map(|point| point.counts.requests).max().unwrap_or(0);
    let mut points = report.points.iter().peekable();
    let mut lines: Vec<String> = Vec::new();
    for start in report.range.starts() {
        let label = label(report.range.step(), start);
        lines.push(match points.next_if(|point| point.start == start) {
            Some(point) => format!("{label}  {}  {}", bar(point.counts.requests, most), sums([point])),
            None => format!("{label}  {}  0", bar(0, most)),
        });
    }
    lines.push(format!("in total: {}", sums(&report.points)));
    lines
}

/// Returns a line for each key, with a bar.
pub(crate) fn top_lines(report: &TopReport) -> Vec<String> {
    let most = report.keys.iter().map(|top| top.rank(report.order)).max().unwrap_or(0);
    let line = |top: &TopKey| {
        let (requests, refusals, credits) = (top.counts.requests, top.refusals, top.counts.credits);
        let (key, account) = (top.key, top.account.as_str().escape_debug());
        let bar = bar(top.rank(report.order), most);
        format!("{key}  {bar}  {requests} requests, {refusals} refused, {credits} credits  {account}")
    };
    let mut lines: Vec<_> = report.keys.iter().map(line).collect();
    if lines.is_empty() {
        lines.push("no usage".to_owned());
    }
    lines
}

/// Returns the start of a step without the parts that are zero.
fn label(step: UsageStep, start: Timestamp) -> String {
    let text = start.to_string();
    let length = match step {
        UsageStep::Minute | UsageStep::Hour => 16,
        UsageStep::Day => 10,
        UsageStep::Month => 7,
    };
    text.get(..length).unwrap_or(&text).to_owned()
}

/// Returns a bar whose length is the ratio of a number to the largest one, in eighths of a character. A number that is not
/// zero has at least one eighth.
fn bar(number: u64, most: u64) -> String {
    const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = u128::from(number) * u128::from(WIDTH) * 8 / u128::from(most.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).max(usize::from(number > 0));
    let mut bar = "█".repeat(eighths / 8);
    bar.extend((eighths % 8).checked_sub(1).map(|rest| EIGHTHS[rest]));
    let blank = usize::try_from(WIDTH).unwrap_or_default().saturating_sub(bar.chars().count());
    bar + &" ".repeat(blank)
}

/// Returns the sums of points as text.
fn sums<'p>(points: impl IntoIterator<Item = &'p UsagePoint>) -> String {
    let (mut requests, mut refusals, mut credits) = (0_u64, 0_u64, 0_u64);
    for point in points {
        requests = requests.saturating_add(point.counts.requests);
        refusals = refusals.saturating_add(point.refusals());
        credits = credits.saturating_add(point.counts.credits);
    }
    format!("{requests} requests, {refusals} refused, {credits} credits")
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars_are_proportional() {
        assert_eq!(bar(0, 0).trim(), "");
        assert_eq!(bar(8, 8), "█".repeat(40));
        assert_eq!(bar(4, 8).trim(), "█".repeat(20));
        assert_eq!(bar(1, 1_000_000).trim(), "▏");
        assert_eq!(bar(1, 64).trim(), "▋");
        assert_eq!(bar(u64::MAX, u64::MAX).chars().count(), 40);
    }
}

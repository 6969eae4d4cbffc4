//! Checks of queries.

use std::time::Duration;

use super::{DAY, HOUR, MINUTE, Store, TestKey, range, requests};
use crate::conformance::suite::{Check, Fault, Verdict, same};
use crate::denial::DenialKind;
use crate::key::KeyId;
use crate::telemetry::DecisionOutcome;
use crate::usage::{
    TopOrder, TopQuery, UsageCounts, UsageFilter, UsagePart, UsageQuery, UsageRow, UsageStep,
};

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        a_range_excludes_its_end,
        a_range_excludes_earlier_steps,
        parts_are_in_the_order_of_time,
        an_unknown_key_has_no_usage,
        an_account_has_the_usage_of_its_keys,
        a_rule_has_the_usage_of_all_keys,
        a_key_and_a_rule_restrict_together,
        top_keys_are_ordered,
        top_keys_are_limited,
        top_keys_are_of_the_range,
        top_keys_add_up_their_rules,
    ]
}

async fn a_range_excludes_its_end(store: Store) -> Verdict {
    let key = TestKey::new(store);
    key.write(vec![key.admitted(Duration::ZERO, 1), key.admitted(HOUR, 2), key.admitted(2 * HOUR, 4)])
        .await?;
    let query = UsageQuery::new(UsageFilter::key(key.key), range(key.day, UsageStep::Hour, 2 * HOUR)?);
    same("the hours", requests(&key.store.read(&query).await?), vec![1, 2])
}

async fn a_range_excludes_earlier_steps(store: Store) -> Verdict {
    let key = TestKey::new(store);
    key.write(vec![key.admitted(Duration::ZERO, 1), key.admitted(HOUR, 2), key.admitted(2 * HOUR, 4)])
        .await?;
    let from = key.day.saturating_add(HOUR + 30 * MINUTE);
    let query = UsageQuery::new(UsageFilter::key(key.key), range(from, UsageStep::Hour, 2 * HOUR)?);
    same("the hours", requests(&key.store.read(&query).await?), vec![2, 4])
}

async fn parts_are_in_the_order_of_time(store: Store) -> Verdict {
    let key = TestKey::new(store);
    for hour in [3, 1, 2, 0] {
        key.write(vec![key.admitted(hour * HOUR, u64::from(hour) + 1)]).await?;
    }
    same("the hours", key.requests(UsageStep::Hour).await?, vec![1, 2, 3, 4])
}

async fn an_unknown_key_has_no_usage(store: Store) -> Verdict {
    let key = TestKey::new(store);
    key.write(vec![key.admitted(MINUTE, 1)]).await?;
    same("the usage", key.read_by(UsageFilter::key(KeyId::generate()), UsageStep::Day).await?, vec![])
}

async fn an_account_has_the_usage_of_its_keys(store: Store) -> Verdict {
    let (one, stranger) = (TestKey::new(store.clone()), TestKey::new(store));
    let other = one.sibling();
    one.write(vec![one.admitted(MINUTE, 1), other.admitted(MINUTE, 2), stranger.admitted(MINUTE, 4)]).await?;
    let parts = one.read_by(UsageFilter::account(one.account.clone()), UsageStep::Minute).await?;
    same("the requests of the account", requests(&parts), vec![3])
}

async fn a_rule_has_the_usage_of_all_keys(store: Store) -> Verdict {
    let (one, mut stranger) = (TestKey::new(store.clone()), TestKey::new(store));
    let elsewhere = stranger.admitted(MINUTE, 4);
    stranger.rule.clone_from(&one.rule);
    one.write(vec![one.admitted(MINUTE, 1), stranger.admitted(MINUTE, 2), elsewhere]).await?;
    let parts = one.read_by(UsageFilter::rule(&one.rule), UsageStep::Minute).await?;
    same("the requests for the rule", requests(&parts), vec![3])
}

async fn a_key_and_a_rule_restrict_together(store: Store) -> Verdict {
    let one = TestKey::new(store.clone());
    let other = one.sibling();
    let elsewhere = TestKey { rule: format!("{}/more", one.rule), ..one.clone() };
    one.write(vec![one.admitted(MINUTE, 1), other.admitted(MINUTE, 2), elsewhere.admitted(MINUTE, 4)])
        .await?;
    let parts = one.read_by(UsageFilter::key(one.key).with_rule(&one.rule), UsageStep::Minute).await?;
    same("the requests of the key for the rule", requests(&parts), vec![1])
}

/// Writes the usage of three keys of an account, each of which is the first in one order.
async fn three_keys(store: Store) -> Result<[TestKey; 3], Fault> {
    let one = TestKey::new(store);
    let keys = [one.clone(), one.sibling(), one.sibling()];
    let mut costly = keys[1].admitted(MINUTE, 2);
    costly.counts.credits = 1_000;
    let denied = DecisionOutcome::Denied(DenialKind::RateLimited);
    let refused = keys[2].row(MINUTE, denied, 3);
    let left = keys[2].row(MINUTE, DecisionOutcome::Abandoned, 1);
    let mut nobody = UsageRow::new(None, &*one.rule, denied, one.day, UsageCounts::none(one.day));
    nobody.counts.requests = 1_000_000;
    one.write(vec![keys[0].admitted(MINUTE, 50), costly, refused, left, nobody]).await?;
    Ok(keys)
}

async fn top(key: &TestKey, order: TopOrder, limit: usize) -> Result<Vec<(KeyId, u64)>, Fault> {
    let filter = UsageFilter::account(key.account.clone());
    let query = TopQuery::new(filter, range(key.day, UsageStep::Day, DAY)?, order, limit);
    let top = key.store.top(&query).await?;
    if let Some(other) = top.iter().find(|top| top.account != key.account) {
        return Err(Fault::new(format!(
            "the account of a key: expected {}, found {}",
            key.account, other.account
        )));
    }
    Ok(top.iter().map(|top| (top.key, top.rank(order))).collect())
}

async fn top_keys_are_ordered(store: Store) -> Verdict {
    let keys = three_keys(store).await?;
    let ids = [keys[0].key, keys[1].key, keys[2].key];
    let by_requests = top(&keys[0], TopOrder::Requests, 10).await?;
    same("by requests", by_requests, vec![(ids[0], 50), (ids[2], 4), (ids[1], 2)])?;
    let by_credits = top(&keys[0], TopOrder::Credits, 10).await?;
    same("by credits", by_credits, vec![(ids[1], 1_000), (ids[0], 100), (ids[2], 8)])?;
    let by_refusals = top(&keys[0], TopOrder::Refusals, 1).await?;
    same("by refusals", by_refusals, vec![(ids[2], 3)])
}

async fn top_keys_are_limited(store: Store) -> Verdict {
    let keys = three_keys(store).await?;
    same("two keys", top(&keys[0], TopOrder::Requests, 2).await?.len(), 2)?;
    same("no key", top(&keys[0], TopOrder::Requests, 0).await?.len(), 0)
}

async fn top_keys_are_of_the_range(store: Store) -> Verdict {
    let one = TestKey::new(store);
    let other = one.sibling();
    one.write(vec![one.admitted(MINUTE, 1), one.admitted(25 * HOUR, 9), other.admitted(MINUTE, 2)]).await?;
    let found = top(&one, TopOrder::Requests, 10).await?;
    same("the keys", found, vec![(other.key, 2), (one.key, 1)])
}

async fn top_keys_add_up_their_rules(store: Store) -> Verdict {
    let one = TestKey::new(store);
    let elsewhere = TestKey { rule: format!("{}/more", one.rule), ..one.clone() };
    one.write(vec![one.admitted(MINUTE, 1), elsewhere.admitted(HOUR, 2)]).await?;
    same("the key", top(&one, TopOrder::Requests, 10).await?, vec![(one.key, 3)])?;
    let parts: Vec<UsagePart> = one.read(UsageStep::Day).await?;
    same("the requests of the key", requests(&parts), vec![3])
}

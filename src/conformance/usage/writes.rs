//! Checks of written batches.

use std::time::Duration;

use super::{HOUR, MINUTE, Store, TestKey, batch, counts};
use crate::conformance::fresh::{RACERS, race};
use crate::conformance::suite::{Check, Verdict, same};
use crate::denial::DenialKind;
use crate::telemetry::DecisionOutcome;
use crate::usage::{BatchId, UsageBatch, UsageFilter, UsagePart, UsageRow, UsageStep, Written};

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        a_batch_is_added_to_every_step,
        a_repeated_batch_changes_nothing,
        overlapping_writes_of_a_batch_count_once,
        the_same_number_of_two_nodes_is_two_batches,
        batches_add_up,
        rows_of_one_place_add_up,
        large_batches_are_added_whole,
        outcomes_are_kept_apart,
        the_last_time_is_the_latest,
        requests_without_a_key_are_counted,
    ]
}

async fn a_batch_is_added_to_every_step(store: Store) -> Verdict {
    let key = TestKey::new(store);
    let later = 23 * HOUR + 59 * MINUTE;
    key.write(vec![key.admitted(MINUTE, 5), key.admitted(3 * MINUTE, 7), key.admitted(later, 11)]).await?;
    let last = key.day.saturating_add(later);
    let part = |start, requests, last| {
        let start = key.day.saturating_add(start);
        UsagePart::new(start, Some(DecisionOutcome::Admitted), counts(last, requests))
    };
    let minute = |after, requests| part(after, requests, key.day.saturating_add(after));
    let minutes = vec![minute(MINUTE, 5), minute(3 * MINUTE, 7), minute(later, 11)];
    same("the minutes", key.read(UsageStep::Minute).await?, minutes)?;
    let hours = vec![part(Duration::ZERO, 12, key.day.saturating_add(3 * MINUTE)), part(23 * HOUR, 11, last)];
    same("the hours", key.read(UsageStep::Hour).await?, hours)?;
    same("the days", key.read(UsageStep::Day).await?, vec![part(Duration::ZERO, 23, last)])?;
    let months = key.read(UsageStep::Month).await?;
    let month = UsageStep::Month.start_of(key.day);
    let sum = UsagePart::new(month, Some(DecisionOutcome::Admitted), counts(last, 23));
    same("the months", months, vec![sum])
}

async fn a_repeated_batch_changes_nothing(store: Store) -> Verdict {
    let key = TestKey::new(store);
    let batch = batch(vec![key.admitted(MINUTE, 5)]);
    same("the first write", key.store.write(&batch).await?, Written::Added)?;
    same("the second write", key.store.write(&batch).await?, Written::Repeated)?;
    for step in UsageStep::ALL {
        same(step.name(), key.requests(*step).await?, vec![5])?;
    }
    Ok(())
}

async fn overlapping_writes_of_a_batch_count_once(store: Store) -> Verdict {
    let key = TestKey::new(store);
    let batch = batch(vec![key.admitted(MINUTE, 5)]);
    let answers = race((0..RACERS).map(|_| {
        let (store, batch) = (key.store.clone(), batch.clone());
        move || store.write(&batch)
    }));
    let added = answers.await?.into_iter().filter(|written| *written == Written::Added).count();
    same("the number of writes that added the batch", added, 1)?;
    same("the requests", key.requests(UsageStep::Day).await?, vec![5])
}

async fn the_same_number_of_two_nodes_is_two_batches(store: Store) -> Verdict {
    let key = TestKey::new(store);
    let batch = batch(vec![key.admitted(MINUTE, 5)]);
    for number in [7, 8] {
        let id = BatchId { number, ..batch.id() };
        let written = key.store.write(&UsageBatch::new(id, batch.rows().to_vec())).await?;
        same("another number", written, Written::Added)?;
    }
    let node = super::batch(Vec::new()).id().node;
    let other = UsageBatch::new(BatchId { node, number: 7 }, batch.rows().to_vec());
    same("another node", key.store.write(&other).await?, Written::Added)?;
    same("the requests", key.requests(UsageStep::Day).await?, vec![15])
}

async fn batches_add_up(store: Store) -> Verdict {
    let key = TestKey::new(store);
    let batches = (0..RACERS).map(|_| {
        let (store, batch) = (key.store.clone(), batch(vec![key.admitted(MINUTE, 1), key.admitted(HOUR, 2)]));
        move || store.write(&batch)
    });
    race(batches).await?;
    for (step, expected) in [(UsageStep::Minute, vec![16, 32]), (UsageStep::Month, vec![48])] {
        same(step.name(), key.requests(step).await?, expected)?;
    }
    Ok(())
}

async fn rows_of_one_place_add_up(store: Store) -> Verdict {
    let key = TestKey::new(store);
    key.write(vec![key.admitted(MINUTE, 5), key.admitted(MINUTE, 7)]).await?;
    same("the requests", key.requests(UsageStep::Minute).await?, vec![12])
}

async fn large_batches_are_added_whole(store: Store) -> Verdict {
    let key = TestKey::new(store);
    let rows = (0..1_300).map(|minute| key.admitted(minute * MINUTE, 1)).collect();
    key.write(rows).await?;
    same("the minutes", key.requests(UsageStep::Minute).await?.len(), 1_300)?;
    same("the requests of the day", key.requests(UsageStep::Day).await?, vec![1_300])
}

async fn outcomes_are_kept_apart(store: Store) -> Verdict {
    let key = TestKey::new(store);
    let kinds = DenialKind::ALL.iter().map(|kind| DecisionOutcome::Denied(*kind));
    let mut outcomes: Vec<_> = kinds.chain([DecisionOutcome::Admitted, DecisionOutcome::Abandoned]).collect();
    key.write(outcomes.iter().map(|outcome| key.row(MINUTE, *outcome, 1)).collect()).await?;
    let parts = key.read(UsageStep::Day).await?;
    same("the number of outcomes", parts.len(), outcomes.len())?;
    outcomes.retain(|outcome| !parts.iter().any(|part| part.outcome == Some(*outcome)));
    same("the outcomes that are missing", outcomes, vec![])
}

async fn the_last_time_is_the_latest(store: Store) -> Verdict {
    let key = TestKey::new(store);
    let at = |seconds| std::time::Duration::from_secs(seconds);
    key.write(vec![key.admitted(at(30), 1)]).await?;
    key.write(vec![key.admitted(at(10), 1)]).await?;
    let last = |parts: Vec<UsagePart>| parts.first().map(|part| part.counts.last_seen);
    let expected = Some(key.day.saturating_add(at(30)));
    same("the last time", last(key.read(UsageStep::Minute).await?), expected)?;
    key.write(vec![key.admitted(at(40), 1)]).await?;
    let expected = Some(key.day.saturating_add(at(40)));
    same("the later time", last(key.read(UsageStep::Hour).await?), expected)
}

async fn requests_without_a_key_are_counted(store: Store) -> Verdict {
    let key = TestKey::new(store);
    let outcome = DecisionOutcome::Denied(DenialKind::Unknown);
    let row = |requests| UsageRow::new(None, &*key.rule, outcome, key.day, counts(key.day, requests));
    key.write(vec![row(3)]).await?;
    key.write(vec![row(4)]).await?;
    let parts = key.read_by(UsageFilter::rule(&key.rule), UsageStep::Hour).await?;
    let expected = UsagePart::new(key.day, Some(outcome), counts(key.day, 7));
    same("the requests for the rule", parts, vec![expected])
}

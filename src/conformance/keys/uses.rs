//! Checks of the times at which keys were last used.

use std::sync::Arc;
use std::time::Duration;

use super::{Store, key, stored};
use crate::clock::Timestamp;
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Verdict, same};
use crate::future::StoreFuture;
use crate::key::{KeyId, KeyStatus};
use crate::store::Replaced;

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        a_use_is_noted needs PromptUses,
        uses_of_several_keys_are_noted_together needs PromptUses,
        the_later_use_stays needs PromptUses,
        the_latest_of_racing_uses_stays needs PromptUses,
        the_later_of_two_uses_in_one_call_stays needs PromptUses,
        a_use_is_no_change,
        a_use_of_no_key_is_nothing,
        a_use_does_not_undo_a_racing_revocation,
    ]
}

fn after(millis: u64) -> impl Fn(Timestamp) -> Timestamp {
    move |now| now.saturating_add(Duration::from_millis(millis))
}

async fn a_use_is_noted(store: Store) -> Verdict {
    let (record, now) = (key(&store).await?, fresh::now());
    store.touch(&[(record.id, now)]).await?;
    same("when it was used, as it is got", stored(&store, record.id).await?.last_used_at, Some(now))?;
    let found = store.find(&record.hash).await?.and_then(|found| found.last_used_at);
    same("when it was used, as it is found", found, Some(now))
}

async fn uses_of_several_keys_are_noted_together(store: Store) -> Verdict {
    let (one, other, idle, now) = (key(&store).await?, key(&store).await?, key(&store).await?, fresh::now());
    store.touch(&[(one.id, now), (KeyId::generate(), now), (other.id, after(5)(now))]).await?;
    for (which, id, expected) in [
        ("the one", one.id, Some(now)),
        ("the other", other.id, Some(after(5)(now))),
        ("one that was not used", idle.id, None),
    ] {
        same(which, stored(&store, id).await?.last_used_at, expected)?;
    }
    Ok(())
}

async fn the_later_use_stays(store: Store) -> Verdict {
    let (record, now) = (key(&store).await?, fresh::now());
    for (used, expected) in [(5, 5), (1, 5), (5, 5), (6, 6)] {
        store.touch(&[(record.id, after(used)(now))]).await?;
        let noted = stored(&store, record.id).await?.last_used_at;
        same("when it was used", noted, Some(after(expected)(now)))?;
    }
    Ok(())
}

async fn the_latest_of_racing_uses_stays(store: Store) -> Verdict {
    let (record, now) = (key(&store).await?, fresh::now());
    let touches = (0..RACERS).map(|racer| {
        let (store, id, used) = (Arc::clone(&store), record.id, after(racer as u64)(now));
        move || store.touch(&[(id, used)])
    });
    race(touches).await?;
    let latest = after(RACERS as u64 - 1)(now);
    same("when it was used", stored(&store, record.id).await?.last_used_at, Some(latest))
}

async fn the_later_of_two_uses_in_one_call_stays(store: Store) -> Verdict {
    let (record, now) = (key(&store).await?, fresh::now());
    store.touch(&[(record.id, after(9)(now)), (record.id, now)]).await?;
    same("when it was used", stored(&store, record.id).await?.last_used_at, Some(after(9)(now)))
}

async fn a_use_is_no_change(store: Store) -> Verdict {
    let mut record = key(&store).await?;
    store.touch(&[(record.id, fresh::now())]).await?;
    same("the version", stored(&store, record.id).await?.version, record.version)?;
    record.name = "renamed".into();
    same("a change to what was read before a use", store.replace(&record).await?, Replaced::Done)
}

async fn a_use_of_no_key_is_nothing(store: Store) -> Verdict {
    let record = key(&store).await?;
    same("an erased key was there", store.erase(record.id).await?, true)?;
    store.touch(&[(record.id, fresh::now()), (KeyId::generate(), fresh::now())]).await?;
    store.touch(&[]).await?;
    same(
        "an erased key that was used",
        (store.get(record.id).await?, store.find(&record.hash).await?),
        (None, None),
    )
}

/// The number of races between a use and a revocation. Each race revokes at another moment.
const MEETINGS: u64 = 8;

async fn a_use_does_not_undo_a_racing_revocation(store: Store) -> Verdict {
    for meeting in 0..MEETINGS {
        let (record, now) = (key(&store).await?, fresh::now());
        let touches: Vec<_> = (0..RACERS)
            .map(|racer| {
                let (store, id, used) = (Arc::clone(&store), record.id, after(racer as u64)(now));
                move || store.touch(&[(id, used)])
            })
            .collect();
        let mut revoked = record.clone();
        revoked.status = KeyStatus::Revoked;
        let revoking = Arc::clone(&store);
        let revoke = move || {
            StoreFuture::boxed(async move {
                tokio::time::sleep(Duration::from_millis(2 * meeting)).await;
                revoking.replace(&revoked).await
            })
        };
        let (noted, replaced) = tokio::join!(race(touches), race([revoke]));
        noted?;
        same("the revocation", replaced?, vec![Replaced::Done])?;
        same("the status", stored(&store, record.id).await?.status, KeyStatus::Revoked)?;
    }
    Ok(())
}

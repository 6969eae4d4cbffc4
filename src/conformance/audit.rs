//! The conformance checks for audit stores.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::{Action, Actor, AuditEntry, AuditEvent, AuditId, AuditQuery, AuditStore};
use crate::clock::Timestamp;
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Fault, Suite, Verdict, holds, same};
use crate::key::KeyId;
use crate::name::AccountId;

type Store = Arc<dyn AuditStore>;

pub(super) fn suite(store: &Store) -> Suite {
    Suite::new("audit", [checks(store)])
}

fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        an_entry_is_listed_as_it_was_appended,
        the_newest_entry_comes_first,
        entries_of_a_millisecond_go_by_sequence,
        an_entry_that_is_appended_again_counts_once,
        no_entries_are_appended_without_effect,
        many_entries_are_appended_at_once,
        concurrent_entries_are_all_stored,
        a_page_ends_at_its_limit,
        pages_have_every_entry_once,
        a_query_can_be_of_one_account,
        a_query_can_be_of_one_key,
        a_query_can_be_of_one_actor,
        a_query_can_be_of_one_action,
        a_query_can_be_of_a_time,
        conditions_hold_together,
        old_entries_are_forgotten,
    ]
}

/// An account that no other check uses, and the time of its first event.
struct Subject {
    account: AccountId,
    start: Timestamp,
}

impl Subject {
    fn new() -> Self {
        Self { account: fresh::name().into(), start: fresh::now() }
    }

    /// Returns the time that is this number of milliseconds after the start.
    fn at(&self, millis: u64) -> Timestamp {
        self.start.saturating_add(Duration::from_millis(millis))
    }

    /// Returns an event of the account.
    fn event(&self, millis: u64) -> AuditEvent {
        let mut event = AuditEvent::new(self.at(millis), Action::AccountChanged, Actor::operator("alice"));
        event.account = Some(self.account.clone());
        event
    }

    fn entry(&self, millis: u64) -> AuditEntry {
        AuditEntry::new(self.event(millis), 0)
    }

    fn query(&self) -> AuditQuery {
        AuditQuery { account: Some(self.account.clone()), ..AuditQuery::default() }
    }
}

async fn listed(store: &Store, query: &AuditQuery) -> Result<Vec<AuditEntry>, Fault> {
    Ok(store.query(query).await?.entries)
}

async fn ids(store: &Store, query: &AuditQuery) -> Result<Vec<AuditId>, Fault> {
    Ok(listed(store, query).await?.iter().map(|entry| entry.id).collect())
}

fn newest_first<'e>(entries: impl IntoIterator<Item = &'e AuditEntry>) -> Vec<AuditId> {
    let mut ids: Vec<_> = entries.into_iter().map(|entry| entry.id).collect();
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids
}

async fn an_entry_is_listed_as_it_was_appended(store: Store) -> Verdict {
    let subject = Subject::new();
    let actors = [
        Actor::default(),
        Actor::operator("alice: \"Ä\" 世界 🗝").at([203, 0, 113, 9].into()),
        Actor::user("user-17"),
        Actor::key(KeyId::generate()).at([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
    ];
    for (millis, actor) in (0..).zip(actors) {
        let event = AuditEvent {
            actor,
            key: (millis > 0).then(KeyId::generate),
            detail: (millis > 0).then(|| "plan `pro` → \"free\"\n'; --".to_owned()),
            ..subject.event(millis)
        };
        let entry = AuditEntry::new(event, 7);
        store.append(std::slice::from_ref(&entry)).await?;
        same("the newest entry", listed(&store, &subject.query()).await?.first(), Some(&entry))?;
    }
    Ok(())
}

async fn the_newest_entry_comes_first(store: Store) -> Verdict {
    let subject = Subject::new();
    let entries = [5, 1, 9, 3, 7].map(|millis| subject.entry(millis));
    store.append(&entries[..2]).await?;
    store.append(&entries[2..]).await?;
    same("the entries", ids(&store, &subject.query()).await?, newest_first(&entries))
}

async fn entries_of_a_millisecond_go_by_sequence(store: Store) -> Verdict {
    let subject = Subject::new();
    let sequences = [0, 1, 2, 300, 70_000, 5_000_000];
    let entries = sequences.map(|sequence| AuditEntry::new(subject.event(0), sequence));
    store.append(&entries).await?;
    let expected: Vec<_> = entries.iter().rev().map(|entry| entry.id).collect();
    same("the entries", ids(&store, &subject.query()).await?, expected)
}

async fn an_entry_that_is_appended_again_counts_once(store: Store) -> Verdict {
    let subject = Subject::new();
    let (first, second) = (subject.entry(0), subject.entry(1));
    let mut changed = first.clone();
    changed.event.detail = Some("changed".into());
    store.append(std::slice::from_ref(&first)).await?;
    store.append(&[changed, second.clone(), second.clone()]).await?;
    same("the entries", listed(&store, &subject.query()).await?, vec![second, first])
}

async fn no_entries_are_appended_without_effect(store: Store) -> Verdict {
    let subject = Subject::new();
    store.append(&[]).await?;
    same("the entries", ids(&store, &subject.query()).await?, Vec::new())
}

async fn many_entries_are_appended_at_once(store: Store) -> Verdict {
    let subject = Subject::new();
    let entries: Vec<_> = (0..700).map(|millis| subject.entry(millis)).collect();
    store.append(&entries).await?;
    let query = AuditQuery { limit: 1_000, ..subject.query() };
    same("the entries", ids(&store, &query).await?, newest_first(&entries))
}

async fn concurrent_entries_are_all_stored(store: Store) -> Verdict {
    let subject = Subject::new();
    let entries: Vec<_> = (0..RACERS).map(|_| subject.entry(0)).collect();
    let calls = entries.iter().cloned().map(|entry| {
        let store = Arc::clone(&store);
        move || store.append(&[entry])
    });
    race(calls).await?;
    same("the entries", ids(&store, &subject.query()).await?, newest_first(&entries))
}

async fn a_page_ends_at_its_limit(store: Store) -> Verdict {
    let subject = Subject::new();
    let entries: Vec<_> = (0..5).map(|millis| subject.entry(millis)).collect();
    store.append(&entries).await?;
    let expected = newest_first(&entries);
    for limit in [0, 1, 4, 5, 6] {
        let page = store.query(&AuditQuery { limit, ..subject.query() }).await?;
        let found: Vec<_> = page.entries.iter().map(|entry| entry.id).collect();
        same("the page", found, expected[..limit.min(5)].to_vec())?;
        let next = expected.get(limit.wrapping_sub(1)).filter(|_| limit < 5);
        same("the cursor", page.next.as_ref(), next)?;
    }
    Ok(())
}

async fn pages_have_every_entry_once(store: Store) -> Verdict {
    let subject = Subject::new();
    let entries: Vec<_> = (0..7).map(|number| subject.entry(number / 3)).collect();
    store.append(&entries).await?;
    let mut query = AuditQuery { limit: 2, ..subject.query() };
    let mut found = Vec::new();
    for _ in 0..4 {
        let page = store.query(&query).await?;
        found.extend(page.entries.iter().map(|entry| entry.id));
        query.cursor = page.next;
    }
    same("the last cursor", query.cursor, None)?;
    same("the pages", found, newest_first(&entries))
}

/// Appends one entry for each combination of two keys, three actors and two actions.
async fn twelve(store: &Store) -> Result<(Subject, Vec<AuditEntry>), Fault> {
    let subject = Subject::new();
    let mut entries = Vec::new();
    for key in [Some(KeyId::generate()), None] {
        // The same name in two roles is two actors.
        for actor in [
            Actor::operator(subject.account.as_str()),
            Actor::user(subject.account.as_str()),
            Actor::default(),
        ] {
            for action in [Action::Updated, Action::Revoked] {
                let millis = u64::try_from(entries.len()).unwrap_or_default();
                let event = AuditEvent { key, actor: actor.clone(), action, ..subject.event(millis) };
                entries.push(AuditEntry::new(event, 0));
            }
        }
    }
    store.append(&entries).await?;
    Ok((subject, entries))
}

async fn selects(store: &Store, query: AuditQuery, entries: &[AuditEntry], most: usize) -> Verdict {
    let expected = newest_first(entries.iter().filter(|entry| query.admits(entry)));
    same("the number of entries", expected.len(), most)?;
    same("the entries", ids(store, &query).await?, expected)
}

async fn a_query_can_be_of_one_account(store: Store) -> Verdict {
    let ((one, of_one), (other, of_other)) = (twelve(&store).await?, twelve(&store).await?);
    selects(&store, one.query(), &of_one, 12).await?;
    selects(&store, other.query(), &of_other, 12).await?;
    same("an unknown account", ids(&store, &Subject::new().query()).await?, Vec::new())
}

async fn a_query_can_be_of_one_key(store: Store) -> Verdict {
    let (_, entries) = twelve(&store).await?;
    let query = AuditQuery { key: entries[0].event.key, ..AuditQuery::default() };
    selects(&store, query, &entries, 6).await
}

async fn a_query_can_be_of_one_actor(store: Store) -> Verdict {
    let (subject, entries) = twelve(&store).await?;
    for actor in [Actor::operator(subject.account.as_str()), Actor::user(subject.account.as_str())] {
        let elsewhere = actor.at([203, 0, 113, 9].into());
        selects(&store, AuditQuery { actor: Some(elsewhere), ..AuditQuery::default() }, &entries, 4).await?;
    }
    let unknown = AuditQuery { actor: Some(Actor::default()), ..subject.query() };
    selects(&store, unknown, &entries, 4).await
}

async fn a_query_can_be_of_one_action(store: Store) -> Verdict {
    let (subject, entries) = twelve(&store).await?;
    for (action, expected) in [(Action::Updated, 6), (Action::Revoked, 6), (Action::Leaked, 0)] {
        let query = AuditQuery { action: Some(action), ..subject.query() };
        selects(&store, query, &entries, expected).await?;
    }
    Ok(())
}

async fn a_query_can_be_of_a_time(store: Store) -> Verdict {
    let (subject, entries) = twelve(&store).await?;
    let time = |from: Option<u64>, to: Option<u64>| AuditQuery {
        from: from.map(|millis| subject.at(millis)),
        to: to.map(|millis| subject.at(millis)),
        ..subject.query()
    };
    for (from, to, expected) in [
        (Some(3), None, 9),
        (None, Some(3), 3),
        (Some(3), Some(5), 2),
        (Some(3), Some(3), 0),
        (Some(5), Some(3), 0),
        (Some(12), None, 0),
    ] {
        let query = time(from, to);
        same("the number of entries", ids(&store, &query).await?.len(), expected)?;
        selects(&store, query, &entries, expected).await?;
    }
    Ok(())
}

async fn conditions_hold_together(store: Store) -> Verdict {
    let (subject, entries) = twelve(&store).await?;
    let mut query = subject.query();
    query.key = entries[0].event.key;
    query.action = Some(Action::Revoked);
    query.from = Some(subject.at(1));
    query.to = Some(subject.at(5));
    query.limit = 1;
    same("the first page", ids(&store, &query).await?, vec![entries[3].id])?;
    query.cursor = Some(entries[3].id);
    same("the second page", ids(&store, &query).await?, vec![entries[1].id])?;
    query.actor = Some(Actor::user(subject.account.as_str()));
    same("the page of another actor", ids(&store, &query).await?, Vec::new())
}

/// The store may be in use: only entries of the year 1970 are forgotten.
async fn old_entries_are_forgotten(store: Store) -> Verdict {
    let (old, later) = (Timestamp::from_millis(1_000), Timestamp::from_millis(1_001));
    let mut forgotten = 0;
    // Another run on the same store may forget the old entry first. Then the next turn is tried.
    for _ in 0..10 {
        let subject = Subject::new();
        let entries = [AuditEntry::new(AuditEvent { at: old, ..subject.event(0) }, 0), subject.entry(0)];
        store.append(&entries).await?;
        store.forget(old).await?;
        let kept = ids(&store, &subject.query()).await?.len();
        forgotten = store.forget(later).await?;
        same("the entries", listed(&store, &subject.query()).await?, entries[1..].to_vec())?;
        if kept == 2 && forgotten > 0 {
            return Ok(());
        }
    }
    holds("the forgotten entries are counted", forgotten > 0)?;
    holds("an entry of the time itself stays", false)
}

//! Checks of accounts, and of the effects of their changes on their keys.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Store, account, change_account, insert, key, put, put_account, stored};
use crate::account::{Account, AccountStatus, ParamLimit, QuotaPolicy, QuotaRef, Subscription};
use crate::conformance::fresh::{self, RACERS, race};
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};
use crate::key::KeyRecord;
use crate::store::{Inserted, KeyQuery, Replaced};

pub(super) fn checks(store: &Store) -> Vec<Check> {
    checks![store:
        an_unknown_account_is_absent,
        an_account_comes_back_as_it_was_put_in,
        an_accounts_empty_lists_are_kept,
        account_ids_are_compared_to_the_letter,
        an_account_of_a_taken_id_is_refused,
        racing_accounts_of_one_id_are_created_once,
        a_changed_account_shows_on_all_its_keys,
        a_changed_account_shows_on_no_other_key,
        a_change_counts_the_accounts_version_up_by_one,
        a_change_to_an_account_is_no_change_to_its_keys,
        a_change_to_an_older_account_is_stale,
        a_change_to_no_account_is_told,
        racing_changes_to_one_account_are_made_once,
        an_erased_account_is_gone_with_its_keys,
        an_erased_account_takes_no_other_with_it,
        an_erased_account_takes_no_keys,
        an_account_of_an_erased_id_begins_anew,
        no_key_outlives_its_account_in_a_race,
    ]
}

async fn got(store: &Store, account: &Account) -> Result<Account, Fault> {
    let found = store.account_of(&account.id).await?;
    Ok(Account::clone(&*found.ok_or_else(|| Fault::new("an account that was put in is absent"))?))
}

async fn an_unknown_account_is_absent(store: Store) -> Verdict {
    let _another = account(&store).await?;
    same("an unknown account", store.account_of(&fresh::account().id).await?, None)
}

async fn an_account_comes_back_as_it_was_put_in(store: Store) -> Verdict {
    let wrong = |error: crate::error::ConfigError| Fault::new(error.to_string());
    let mut account = fresh::account();
    (account.status, account.subscription) = (AccountStatus::Suspended, Some(Subscription::Lapsed));
    account.version = 7;
    account.agreements = BTreeSet::from(["opra".into(), "nasdaq".into()]);
    let minutely = QuotaPolicy::new(60, Duration::from_mins(1)).map_err(wrong)?;
    account.quotas = Some(vec![QuotaRef::Policy(minutely), "bulk".parse().map_err(wrong)?]);
    account.caps = Some(
        [("limit".to_owned(), ParamLimit::AtMost(3)), ("cursor".to_owned(), ParamLimit::Forbidden)].into(),
    );
    let account = put_account(&store, account).await?;
    same("the account", got(&store, &account).await?, Account::clone(&account))?;
    let record = put(&store, fresh::key(&account)).await?;
    same("the account of its key", &*stored(&store, record.id).await?.account, &*account)
}

async fn an_accounts_empty_lists_are_kept(store: Store) -> Verdict {
    let mut account = fresh::account();
    (account.quotas, account.caps) = (Some(Vec::new()), Some(crate::account::ParamLimits::default()));
    let account = put_account(&store, account).await?;
    same("an account with empty lists", got(&store, &account).await?, Account::clone(&account))?;
    let open = put_account(&store, fresh::account()).await?;
    same("an account without", got(&store, &open).await?, Account::clone(&open))
}

async fn account_ids_are_compared_to_the_letter(store: Store) -> Verdict {
    let name = fresh::name();
    let names = [
        name.clone(),
        name.to_uppercase(),
        format!("{name} "),
        format!(" {name}"),
        format!("{name}\u{e9}"),
        format!("{name}e\u{301}"),
        format!("{name}'; --"),
        format!("{name}%"),
        format!("{name}{{x}}:*"),
    ];
    for name in &names {
        put_account(&store, Account::new(name.as_str(), name.as_str())).await?;
    }
    for name in &names {
        let found =
            store.account_of(&name.as_str().into()).await?.map(|found| found.plan.as_str().to_owned());
        same("the account of this very id", found.as_deref(), Some(name.as_str()))?;
    }
    Ok(())
}

async fn an_account_of_a_taken_id_is_refused(store: Store) -> Verdict {
    let there = account(&store).await?;
    let other = Account::new(there.id.clone(), "another");
    same("whether the id was free", store.create_account(&other).await?, false)?;
    same("the account that was there", got(&store, &there).await?, Account::clone(&there))
}

async fn racing_accounts_of_one_id_are_created_once(store: Store) -> Verdict {
    let account = fresh::account();
    let creations = (0..RACERS).map(|_| {
        let (store, account) = (Arc::clone(&store), account.clone());
        move || store.create_account(&account)
    });
    let answers = race(creations).await?;
    same("how often the id was free", answers.into_iter().filter(|free| *free).count(), 1)
}

async fn a_changed_account_shows_on_all_its_keys(store: Store) -> Verdict {
    let one = key(&store).await?;
    let other = put(&store, fresh::key(&one.account)).await?;
    store.find(&one.hash).await?;
    change_account(&store, &one.account, |account| account.status = AccountStatus::Suspended).await?;
    for record in [&one, &other] {
        let found = store.find(&record.hash).await?.map(|found| found.account.status);
        same("as its key is found", found, Some(AccountStatus::Suspended))?;
        let got = stored(&store, record.id).await?.account.status;
        same("as its key is got", got, AccountStatus::Suspended)?;
    }
    let query = KeyQuery { account: Some(one.account.id.clone()), ..KeyQuery::first(9) };
    let listed = store.list(&query).await?;
    let suspended = |listed: &Arc<KeyRecord>| listed.account.status == AccountStatus::Suspended;
    same("how many of its keys show it in a list", listed.iter().filter(|key| suspended(key)).count(), 2)
}

async fn a_changed_account_shows_on_no_other_key(store: Store) -> Verdict {
    let (one, other) = (key(&store).await?, key(&store).await?);
    change_account(&store, &one.account, |account| account.plan = "another".into()).await?;
    same("a key of another account", stored(&store, other.id).await?, other)
}

async fn a_change_counts_the_accounts_version_up_by_one(store: Store) -> Verdict {
    let account = account(&store).await?;
    for version in 1..4 {
        change_account(&store, &account, |account| account.plan = "another".into()).await?;
        same("the version", got(&store, &account).await?.version, version)?;
    }
    Ok(())
}

async fn a_change_to_an_account_is_no_change_to_its_keys(store: Store) -> Verdict {
    let mut record = key(&store).await?;
    change_account(&store, &record.account, |account| account.plan = "another".into()).await?;
    same("the key's version", stored(&store, record.id).await?.version, record.version)?;
    record.name = "renamed".into();
    same("a change to the key as it was read before", store.replace(&record).await?, Replaced::Done)
}

async fn a_change_to_an_older_account_is_stale(store: Store) -> Verdict {
    let mut read = Account::clone(&*account(&store).await?);
    change_account(&store, &read, |account| account.status = AccountStatus::Deleted).await?;
    let there = got(&store, &read).await?;
    read.plan = "late".into();
    same("a change to what was read before", store.replace_account(&read).await?, Replaced::Stale)?;
    same("the account", got(&store, &read).await?, there)
}

async fn a_change_to_no_account_is_told(store: Store) -> Verdict {
    let account = fresh::account();
    same("a change to no account", store.replace_account(&account).await?, Replaced::Gone)?;
    same("the account", store.account_of(&account.id).await?, None)
}

async fn racing_changes_to_one_account_are_made_once(store: Store) -> Verdict {
    let account = account(&store).await?;
    let changes = (0..RACERS).map(|racer| {
        let (store, mut changed) = (Arc::clone(&store), Account::clone(&account));
        changed.plan = format!("racer-{racer}").into();
        move || store.replace_account(&changed)
    });
    let answers = race(changes).await?;
    let made = answers.iter().filter(|answer| **answer == Replaced::Done).count();
    let stale = answers.iter().filter(|answer| **answer == Replaced::Stale).count();
    same("how many were made, and how many were stale", (made, stale), (1, RACERS - 1))
}

async fn an_erased_account_is_gone_with_its_keys(store: Store) -> Verdict {
    let one = key(&store).await?;
    let other = put(&store, fresh::key(&one.account)).await?;
    store.find(&one.hash).await?;
    same("that it was there", store.erase_account(&one.account.id).await?, true)?;
    same("that it was there again", store.erase_account(&one.account.id).await?, false)?;
    same("the account", store.account_of(&one.account.id).await?, None)?;
    for record in [&one, &other] {
        same("its key", (store.get(record.id).await?, store.find(&record.hash).await?), (None, None))?;
    }
    let query = KeyQuery { account: Some(one.account.id.clone()), ..KeyQuery::first(9) };
    same("its keys", store.list(&query).await?, Vec::new())
}

async fn an_erased_account_takes_no_other_with_it(store: Store) -> Verdict {
    let (one, other) = (key(&store).await?, key(&store).await?);
    same("that it was there", store.erase_account(&one.account.id).await?, true)?;
    same("another account's key", stored(&store, other.id).await?, other)
}

async fn an_erased_account_takes_no_keys(store: Store) -> Verdict {
    let account = account(&store).await?;
    same("that it was there", store.erase_account(&account.id).await?, true)?;
    same("a key of it", insert(&store, &fresh::key(&account), None).await?, Inserted::NoAccount)
}

async fn an_account_of_an_erased_id_begins_anew(store: Store) -> Verdict {
    let record = key(&store).await?;
    same("that it was there", store.erase_account(&record.account.id).await?, true)?;
    let anew = put_account(&store, Account::new(record.account.id.clone(), "anew")).await?;
    let query = KeyQuery { account: Some(anew.id.clone()), ..KeyQuery::first(9) };
    same("its keys", store.list(&query).await?, Vec::new())?;
    same("a key that it had before", store.find(&record.hash).await?, None)?;
    same("the account", got(&store, &anew).await?, Account::clone(&anew))
}

async fn no_key_outlives_its_account_in_a_race(store: Store) -> Verdict {
    let account = account(&store).await?;
    let records: Vec<_> = (0..RACERS).map(|_| fresh::key(&account)).collect();
    let calls: Vec<_> = records
        .iter()
        .map(|record| {
            let (store, record) = (Arc::clone(&store), record.clone());
            move || insert(&store, &record, None)
        })
        .collect();
    let erase = {
        let (store, id) = (Arc::clone(&store), account.id.clone());
        move || store.erase_account(&id)
    };
    let (answers, erased) = tokio::join!(race(calls), race([erase]));
    same("that it was there", erased?, vec![true])?;
    let fits = |answer: &Inserted| matches!(answer, Inserted::Done | Inserted::NoAccount);
    holds("each key was put in or refused for want of its account", answers?.iter().all(fits))?;
    for record in &records {
        same(
            "a key of the erased account",
            (store.get(record.id).await?, store.find(&record.hash).await?),
            (None, None),
        )?;
    }
    Ok(())
}

//! Rows that cannot be read, and what is asked in vain: both are the fault of one account or one call alone.

use std::time::Duration;

use tollgate::credit::{Abandoned, CreditAdmin, EntryQuery, SqlLedger};
use tollgate::guard::Resilient;
use tollgate::store::{AccountAdmin, KeyAdmin, SqlStore};
use tollgate::{Account, CreditLedger};

use crate::database::{Place, both};
use crate::sql::ledger::{at, balance, charge, nodes, number, posted, top_up};

both!(
    unreadable_balance_fails_one_account,
    unreadable_charge_does_not_stop_a_sweep,
    charge_closed_early_opens_no_circuit,
    unstorable_text_opens_no_circuit,
);

async fn unreadable_balance_fails_one_account(place: Place) {
    let [ledger, _] = nodes(&place).await;
    let (ada, bob) = (Account::new("ada", "pro"), Account::new("bob", "pro"));
    for account in ["ada", "bob"] {
        let _ = top_up(&ledger, account, "a", 1_000).await;
    }
    assert_eq!(charge(&ledger, &ada, 1, 10).await.unwrap(), posted(990));
    let spoil = [
        (
            "UPDATE tollgate_balances SET entries = -5 WHERE account = 'ada'",
            "UPDATE tollgate_balances SET entries = 2 WHERE account = 'ada'",
        ),
        (
            "UPDATE tollgate_charges SET amount = -5 WHERE account = 'ada'",
            "UPDATE tollgate_charges SET amount = 10 WHERE account = 'ada'",
        ),
        (
            "UPDATE tollgate_adjustments SET kind = 'gift' WHERE account = 'ada'",
            "UPDATE tollgate_adjustments SET kind = 'top-up' WHERE account = 'ada'",
        ),
    ];
    for (round, (words, back)) in spoil.into_iter().enumerate() {
        place.say(words).await;
        // Asked for together: they go into few transactions.
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..64_u64 {
            let (ledger, ada, bob) = (ledger.clone(), ada.clone(), bob.clone());
            tasks.spawn(async move {
                if task % 2 == 0 {
                    let id = (round as u64 + 1) * 1_000 + task;
                    assert!(charge(&ledger, &bob, id, 1).await.is_ok(), "the other account is as it was");
                } else {
                    let told = match round {
                        0 => charge(&ledger, &ada, 5_000 + task, 1).await.map(drop),
                        1 => ledger.refund(&crate::support::refund(&ada, number(1))).await,
                        _ => return,
                    };
                    assert!(told.unwrap_err().is_corrupt());
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        place.say(back).await;
    }
    assert_eq!((balance(&ledger, "ada").await, balance(&ledger, "bob").await), (990, 1_000 - 96));
    ledger.refund(&crate::support::refund(&ada, number(1))).await.unwrap();
    assert_eq!(balance(&ledger, "ada").await, 1_000);
    assert_eq!(ledger.audit().await.unwrap(), []);
    assert_eq!(ledger.entries(&EntryQuery::newest("ada", 9)).await.unwrap().len(), 3);
}

async fn unreadable_charge_does_not_stop_a_sweep(place: Place) {
    let [ledger, _] = nodes(&place).await;
    let _ = top_up(&ledger, "ada", "a", 1_000).await;
    let _ = top_up(&ledger, "bob", "a", 1_000).await;
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..600 {
        let (ledger, account) = (ledger.clone(), if id < 300 { "ada" } else { "bob" });
        tasks.spawn(async move { charge(&ledger, &Account::new(account, "pro"), id, 1).await.unwrap() });
    }
    tasks.join_all().await;
    // More of them than are looked at in one go, and the oldest of all.
    place
        .say("UPDATE tollgate_charges SET amount = -5, opened_at = opened_at - 5 WHERE account = 'ada'")
        .await;
    let all = Duration::ZERO;
    assert!(ledger.close_abandoned(all, Abandoned::Settle).await.unwrap_err().is_corrupt(), "it is told");
    assert_eq!(place.say("SELECT count(*) FROM tollgate_charges WHERE closed_at IS NULL").await, "300");
    assert!(ledger.close_abandoned(all, Abandoned::Refund).await.unwrap_err().is_corrupt());
    assert_eq!((balance(&ledger, "ada").await, balance(&ledger, "bob").await), (700, 700));
    place.say("UPDATE tollgate_charges SET amount = 1 WHERE account = 'ada'").await;
    assert_eq!(ledger.close_abandoned(all, Abandoned::Refund).await.unwrap(), 300);
    assert_eq!(ledger.audit().await.unwrap(), []);
}

async fn charge_closed_early_opens_no_circuit(place: Place) {
    let ledger = SqlLedger::new(&place.open().await);
    let _ = top_up(&ledger, "ada", "a", 100).await;
    let (guarded, ada) = (Resilient::new(ledger), Account::new("ada", "pro"));
    for id in 0..20 {
        guarded.refund(&crate::support::refund(&ada, number(id))).await.unwrap();
    }
    for id in 0..20 {
        assert!(charge(&guarded, &ada, id, 1).await.unwrap_err().is_rejected());
    }
    assert!(!guarded.health().open, "the database is there");
    assert_eq!(charge(&guarded, &ada, 100, 1).await.unwrap(), posted(99));
}

async fn unstorable_text_opens_no_circuit(place: Place) {
    let database = place.open().await;
    let (store, ledger) =
        (Resilient::new(SqlStore::new(&database)), Resilient::new(SqlLedger::new(&database)));
    let nobody = Account::new("no\0body", "pro");
    for id in 0..20 {
        assert!(charge(&ledger, &nobody, id, 1).await.unwrap_err().is_rejected());
        // SQLite holds it, and PostgreSQL says that it cannot.
        let _ = store.account_of(&nobody.id).await;
        let _ = store.create_account(&nobody).await;
        let _ = ledger
            .balance_of(
                &nobody.id,
                &tollgate::credit::Currency::CREDITS,
                &tollgate::account::Allowance::None,
                at(0),
            )
            .await;
    }
    assert!(!ledger.health().open && !store.health().open, "the database is there");
    assert!(store.create_account(&Account::new("somebody", "pro")).await.unwrap());
}

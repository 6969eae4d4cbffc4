//! Charges that nobody closed, accounts that are gone, and balances recomputed.

use std::sync::Arc;
use std::time::Duration;

use tollgate::account::Allowance;
use tollgate::credit::{Abandoned, Adjusted, Charge, Charged, CreditAdmin, EntryQuery, SqlLedger};
use tollgate::{Account, CreditLedger, Credits};

use crate::database::{Place, both};
use crate::sql::ledger::{HOUR as HOUR_MILLIS, at, balance, charge, nodes, now, number, posted, top_up};

const HOUR: Duration = Duration::from_hours(1);

both!(
    charges_of_a_dead_node_are_closed_once,
    audit_finds_changed_rows,
    old_closed_charges_are_forgotten,
    old_entries_are_folded_in_small_steps,
    concurrent_folds_count_each_entry_once,
    audit_finds_changed_folded_entries,
    erased_balance_starts_anew,
    node_clock_closes_no_running_charge,
);

async fn charges_of_a_dead_node_are_closed_once(place: Place) {
    let [dead, alive] = nodes(&place).await;
    let (ada, bob) = (Account::new("ada", "pro"), Account::new("bob", "pro"));
    for account in ["ada", "bob"] {
        let _ = top_up(&dead, account, "a", 1_000).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..300 {
        let (ledger, account) = (dead.clone(), if id < 200 { ada.clone() } else { bob.clone() });
        tasks.spawn(async move { charge(&ledger, &account, id, 2).await.unwrap() });
    }
    tasks.join_all().await;
    dead.settle(&crate::support::settlement(&ada, number(7), Credits::new(1))).await.unwrap();
    drop(dead);
    assert_eq!(alive.close_abandoned(HOUR, Abandoned::Refund).await.unwrap(), 0, "they are still young");
    age(&place, "opened_at", "id IS NOT NULL", 3_599_000).await;
    assert_eq!(alive.close_abandoned(HOUR, Abandoned::Refund).await.unwrap(), 0, "not for an hour yet");
    age(&place, "opened_at", "id IS NOT NULL", 1_000).await;
    let other = SqlLedger::new(&place.open().await);
    let (one, two) = tokio::join!(
        alive.close_abandoned(HOUR, Abandoned::Refund),
        other.close_abandoned(HOUR, Abandoned::Refund)
    );
    assert_eq!(one.unwrap() + two.unwrap(), 299);
    assert_eq!((balance(&alive, "ada").await, balance(&alive, "bob").await), (999, 1_000));
    assert_eq!(charge(&alive, &ada, 1_000, 9).await.unwrap(), posted(990));
    assert_eq!(alive.close_abandoned(Duration::ZERO, Abandoned::Settle).await.unwrap(), 1);
    alive.refund(&crate::support::refund(&ada, number(1_000))).await.unwrap();
    assert_eq!(balance(&alive, "ada").await, 990, "it stands");
    assert_eq!(alive.audit().await.unwrap(), []);
}

async fn audit_finds_changed_rows(place: Place) {
    let [ledger, _] = nodes(&place).await;
    for account in 0..150 {
        let _ = top_up(&ledger, &format!("{account:03}"), "a", 10).await;
    }
    let ada = Account::new("149", "pro");
    assert_eq!(charge(&ledger, &ada, 1, 4).await.unwrap(), posted(6));
    assert_eq!(ledger.audit().await.unwrap(), []);
    let found = async |words: &str, back: &str| {
        place.say(words).await;
        let found = ledger.audit().await.unwrap();
        place.say(back).await;
        assert_eq!(ledger.audit().await.unwrap(), []);
        assert_eq!(found.len(), 1, "{words}: {found:?}");
        assert_eq!(found[0].account, ada.id);
        (found[0].balance, found[0].entries, found[0].held, found[0].open, found[0].broken)
    };
    let set = |what: &str| format!("UPDATE tollgate_balances SET {what} WHERE account = '149'");
    assert_eq!(found(&set("balance = 7"), &set("balance = 6")).await, (7, 6, 4, 4, 0));
    assert_eq!(found(&set("held = 0"), &set("held = 4")).await, (6, 6, 0, 4, 0));
    assert_eq!(found(&set("entries = 3"), &set("entries = 2")).await, (6, 6, 4, 4, 2));
    let entry =
        |what: &str| format!("UPDATE tollgate_entries SET {what} WHERE account = '149' AND kind = 'charge'");
    assert_eq!(found(&entry("amount = -5"), &entry("amount = -4")).await, (6, 5, 4, 4, 1));
    assert_eq!(found(&entry("balance = 5"), &entry("balance = 6")).await, (6, 6, 4, 4, 1));
    let charge = |what: &str| format!("UPDATE tollgate_charges SET {what} WHERE account = '149'");
    assert_eq!(found(&charge("amount = 5"), &charge("amount = 4")).await, (6, 6, 4, 5, 0));
}

async fn old_closed_charges_are_forgotten(place: Place) {
    let [ledger, _] = nodes(&place).await;
    let ada = Account::new("ada", "pro");
    let _ = top_up(&ledger, "ada", "a", 1_000).await;
    for id in 0..30 {
        let _ = charge(&ledger, &ada, id, 1).await.unwrap();
        if id >= 10 {
            ledger.settle(&crate::support::settlement(&ada, number(id), Credits::new(1))).await.unwrap();
        }
    }
    assert_eq!(ledger.forget_closed(HOUR).await.unwrap(), 0);
    age(&place, "closed_at", "amount > 0", 3_600_000).await;
    assert_eq!(ledger.forget_closed(HOUR).await.unwrap(), 20);
    assert_eq!(place.say("SELECT count(*) FROM tollgate_charges").await, "10", "open ones stay");
    assert_eq!(ledger.close_abandoned(Duration::ZERO, Abandoned::Refund).await.unwrap(), 10);
    assert_eq!(balance(&ledger, "ada").await, 980);
    assert_eq!(ledger.audit().await.unwrap(), []);
}

async fn old_entries_are_folded_in_small_steps(place: Place) {
    let [ledger, _] = nodes(&place).await;
    let ada = Account::new("ada", "pro");
    let _ = top_up(&ledger, "ada", "a", 10_000).await;
    let _ = top_up(&ledger, "bob", "a", 7).await;
    let mut tasks = tokio::task::JoinSet::new();
    // More than go into one transaction.
    for id in 0..2_500 {
        let (ledger, ada) = (ledger.clone(), ada.clone());
        tasks.spawn(async move { charge(&ledger, &ada, id, 1).await.unwrap() });
    }
    tasks.join_all().await;
    ledger.settle(&crate::support::settlement(&ada, number(1), Credits::ZERO)).await.unwrap();
    assert_eq!(ledger.forget_entries(at(0)).await.unwrap(), 0, "none is older than that");
    assert_eq!(ledger.forget_entries(at(1)).await.unwrap(), 2_501);
    assert_eq!(place.say("SELECT count(*) FROM tollgate_entries").await, "2");
    assert_eq!(ledger.audit().await.unwrap(), []);
    assert_eq!(ledger.forget_entries(at(1)).await.unwrap(), 0);
    let asked = Charge::new(number(9_999), &ada, Credits::new(1), &Allowance::None, now(HOUR_MILLIS));
    assert_eq!(ledger.charge(&asked).await.unwrap(), posted(7_500));
    ledger.settle(&crate::support::settlement(&ada, number(2), Credits::ZERO)).await.unwrap();
    assert_eq!(ledger.forget_entries(at(1)).await.unwrap(), 0, "what is newer stays");
    let entries = ledger.entries(&EntryQuery::newest("ada", 9)).await.unwrap();
    let told: Vec<_> = entries.iter().map(|entry| (entry.number, entry.kind.name(), entry.amount)).collect();
    assert_eq!(told, [(2_504, "settlement", 1), (2_503, "charge", -1), (2_502, "folded", 7_501)]);
    assert_eq!(ledger.audit().await.unwrap(), []);
}

async fn concurrent_folds_count_each_entry_once(place: Place) {
    let [one, two] = nodes(&place).await;
    for account in 0..300_u64 {
        for id in 0..account % 4 {
            let _ = top_up(&one, &format!("{account:03}"), &id.to_string(), 5).await;
        }
    }
    let busy = tokio::spawn({
        let two = two.clone();
        async move {
            for id in 0..50 {
                let _ = charge(&two, &Account::new("001", "pro"), id, 1).await.unwrap();
                let _ = top_up(&two, "002", &format!("late-{id}"), 1).await;
            }
        }
    });
    let (some, others) = tokio::join!(one.forget_entries(at(1)), two.forget_entries(at(1)));
    busy.await.unwrap();
    let counted = some.unwrap() + others.unwrap() + one.forget_entries(at(1)).await.unwrap();
    // Of each account one entry is left.
    let gone = place.say("SELECT sum(entries) - count(*) FROM tollgate_balances WHERE entries > 0").await;
    assert_eq!(counted.to_string(), gone);
    assert_eq!(place.say("SELECT count(*) FROM tollgate_entries").await, "225");
    assert_eq!(one.audit().await.unwrap(), []);
}

async fn audit_finds_changed_folded_entries(place: Place) {
    let [ledger, _] = nodes(&place).await;
    for id in 0..5 {
        let _ = top_up(&ledger, "ada", &id.to_string(), 10).await;
    }
    assert_eq!(ledger.forget_entries(at(1)).await.unwrap(), 4);
    let _ = top_up(&ledger, "ada", "last", 1).await;
    assert_eq!(ledger.audit().await.unwrap(), []);
    for (words, back) in [
        ("amount = 49 WHERE kind = 'folded'", "amount = 50 WHERE kind = 'folded'"),
        ("balance = 49 WHERE kind = 'folded'", "balance = 50 WHERE kind = 'folded'"),
        ("kind = 'grant' WHERE kind = 'folded'", "kind = 'folded' WHERE kind = 'grant'"),
        ("number = 4 WHERE kind = 'folded'", "number = 5 WHERE kind = 'folded'"),
    ] {
        place.say(&format!("UPDATE tollgate_entries SET {words}")).await;
        assert_eq!(ledger.audit().await.unwrap().len(), 1, "{words}");
        place.say(&format!("UPDATE tollgate_entries SET {back}")).await;
        assert_eq!(ledger.audit().await.unwrap(), []);
    }
}

async fn erased_balance_starts_anew(place: Place) {
    let [one, two] = nodes(&place).await;
    let ada = Arc::new(Account::new("ada", "pro"));
    let _ = top_up(&one, "ada", "a", 100).await;
    let _ = top_up(&one, "bob", "a", 5).await;
    assert_eq!(charge(&one, &ada, 1, 30).await.unwrap(), posted(70));
    assert!(two.erase_balance(&ada.id).await.unwrap());
    assert!(!two.erase_balance(&ada.id).await.unwrap());
    one.refund(&crate::support::refund(&ada, number(1))).await.unwrap();
    assert_eq!(balance(&one, "ada").await, 0);
    assert!(one.entries(&EntryQuery::newest("ada", 9)).await.unwrap().is_empty());
    assert!(matches!(top_up(&one, "ada", "a", 7).await, Adjusted::Done { .. }), "its ids are free again");
    assert_eq!((balance(&two, "ada").await, balance(&two, "bob").await), (7, 5));
    // Charges that race with the end of an account take nothing from the one that begins anew.
    let mut tasks = tokio::task::JoinSet::new();
    for id in 100..160 {
        let (ledger, ada) = (if id % 2 == 0 { one.clone() } else { two.clone() }, Arc::clone(&ada));
        tasks.spawn(async move {
            if id % 10 == 0 {
                ledger.erase_balance(&ada.id).await.unwrap();
                let _ = top_up(&ledger, "ada", &id.to_string(), 5).await;
            } else {
                let _ = charge(&ledger, &ada, id, 1).await;
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(one.audit().await.unwrap(), []);
}

/// A charge bears the time of the node that takes it, and that says nothing of how long it has been open.
async fn node_clock_closes_no_running_charge(place: Place) {
    let [ledger, _] = nodes(&place).await;
    let ada = Account::new("ada", "pro");
    let _ = top_up(&ledger, "ada", "a", 100).await;
    for (id, behind) in [(1, -20), (2, 0), (3, 20)] {
        // Years ago, and years from now.
        let now = tollgate::clock::Now::new(at(behind * 365 * 86_400_000), Duration::ZERO);
        let asked = Charge::new(number(id), &ada, Credits::new(10), &Allowance::None, now);
        assert!(matches!(ledger.charge(&asked).await.unwrap(), Charged::Posted { .. }));
    }
    let minute = Duration::from_mins(1);
    assert_eq!(ledger.close_abandoned(minute, Abandoned::Refund).await.unwrap(), 0);
    age(&place, "opened_at", "id IS NOT NULL", 60_000).await;
    assert_eq!(ledger.close_abandoned(minute, Abandoned::Refund).await.unwrap(), 3);
}

/// Makes charges so much older than they are.
async fn age(place: &Place, column: &str, which: &str, millis: i64) {
    place.say(&format!("UPDATE tollgate_charges SET {column} = {column} - {millis} WHERE {which}")).await;
}

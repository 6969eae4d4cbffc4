//! Charges that nobody closed, accounts that are gone, and balances recomputed.

use std::sync::Arc;
use std::time::Duration;

use tollgate::{
    Abandoned, Account, Adjusted, Allowance, Charge, Charged, CreditAdmin, CreditLedger, Credits, EntryQuery,
    SqlLedger,
};

use crate::ledger::{at, balance, charge, nodes, number, posted, top_up};
use crate::place::{Place, both};

const HOUR: Duration = Duration::from_hours(1);

both!(
    case_136_what_a_dead_node_left_open_is_closed_once,
    an_audit_finds_what_was_tampered_with,
    what_was_closed_long_ago_is_forgotten,
    an_erased_balance_begins_anew,
    no_clock_of_a_node_closes_a_charge_that_is_still_served,
);

async fn case_136_what_a_dead_node_left_open_is_closed_once(place: Place) {
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
    dead.settle(&ada, number(7), Credits::new(1)).await.unwrap();
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
    alive.refund(&ada, number(1_000)).await.unwrap();
    assert_eq!(balance(&alive, "ada").await, 990, "it stands");
    assert_eq!(alive.audit().await.unwrap(), []);
}

async fn an_audit_finds_what_was_tampered_with(place: Place) {
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

async fn what_was_closed_long_ago_is_forgotten(place: Place) {
    let [ledger, _] = nodes(&place).await;
    let ada = Account::new("ada", "pro");
    let _ = top_up(&ledger, "ada", "a", 1_000).await;
    for id in 0..30 {
        let _ = charge(&ledger, &ada, id, 1).await.unwrap();
        if id >= 10 {
            ledger.settle(&ada, number(id), Credits::new(1)).await.unwrap();
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

async fn an_erased_balance_begins_anew(place: Place) {
    let [one, two] = nodes(&place).await;
    let ada = Arc::new(Account::new("ada", "pro"));
    let _ = top_up(&one, "ada", "a", 100).await;
    let _ = top_up(&one, "bob", "a", 5).await;
    assert_eq!(charge(&one, &ada, 1, 30).await.unwrap(), posted(70));
    assert!(two.erase_balance(&ada.id).await.unwrap());
    assert!(!two.erase_balance(&ada.id).await.unwrap());
    one.refund(&ada, number(1)).await.unwrap();
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
async fn no_clock_of_a_node_closes_a_charge_that_is_still_served(place: Place) {
    let [ledger, _] = nodes(&place).await;
    let ada = Account::new("ada", "pro");
    let _ = top_up(&ledger, "ada", "a", 100).await;
    for (id, behind) in [(1, -20), (2, 0), (3, 20)] {
        // Years ago, and years from now.
        let now = tollgate::Now::new(at(behind * 365 * 86_400_000), Duration::ZERO);
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

//! A database of a version without buckets: its balances become buckets.

use std::time::Duration;

use tollgate::account::Allowance;
use tollgate::credit::{
    Abandoned, Adjusted, Adjustment, AdjustmentKind, Balance, BucketId, Charge, CreditAdmin, CreditLeasing,
    Currency, SqlLedger,
};
use tollgate::{Account, CreditLedger, Credits};

use crate::database::{Place, both};
use crate::sql::ledger::{HOUR, at, balance, charge, hourly, now, number, posted, top_up};

both!(balances_of_a_version_without_buckets_go_on);

/// Removes what the last version did not have.
async fn remove_buckets(place: &Place) {
    let columns = [
        ("balances", &["buckets", "beside", "moved"][..]),
        ("entries", &["bucket", "rest"]),
        ("charges", &["draws", "budget", "turn"]),
        ("adjustments", &["terms"]),
    ];
    for (table, columns) in columns {
        for column in columns {
            place.say(&format!("ALTER TABLE tollgate_{table} DROP COLUMN {column}")).await;
        }
    }
    place.say("DROP TABLE tollgate_budgets").await;
    place.say("DELETE FROM tollgate_schema WHERE version >= 10").await;
}

async fn balances_of_a_version_without_buckets_go_on(place: Place) {
    let (ada, bob, eve) =
        (Account::new("ada", "pro"), Account::new("bob", "pro"), Account::new("eve", "pro"));
    let none = Allowance::None;
    {
        let database = place.open().await;
        let old = SqlLedger::new(&database);
        // What such a version writes: a balance in the main bucket, with open charges and a block.
        let set = |id: &str, account: &Account, amount, allowance: &Allowance| {
            let kind = AdjustmentKind::Set(Credits::new(amount));
            let account = account.id.clone();
            let (id, old, allowance) = (id.parse().unwrap(), old.clone(), allowance.clone());
            async move { old.adjust(&Adjustment::new(id, &account, kind, &allowance, at(0))).await.unwrap() }
        };
        let _ = set("a", &ada, 100, &none).await;
        assert_eq!(charge(&old, &ada, 1, 30).await.unwrap(), posted(70));
        assert_eq!(charge(&old, &ada, 2, 30).await.unwrap(), posted(40));
        old.settle(&crate::support::settlement(&ada, number(2), Credits::new(10))).await.unwrap();
        let grant = hourly(50);
        let asked = Charge::new(number(3), &bob, Credits::new(20), &grant, now(0));
        assert_eq!(old.charge(&asked).await.unwrap(), posted(30));
        let asked = Charge::new(number(4), &bob, Credits::new(10), &grant, now(0));
        assert_eq!(old.lease(&asked, Credits::new(4)).await.unwrap(), posted(20));
        let kind = AdjustmentKind::MakeUnlimited;
        let made = old.adjust(&Adjustment::new("a".parse().unwrap(), &eve.id, kind, &none, at(0))).await;
        assert!(matches!(made, Ok(Adjusted::Done { .. })));
        assert_eq!(old.audit().await.unwrap(), []);
        database.close().await;
    }
    remove_buckets(&place).await;

    let ledger = SqlLedger::new(&place.open().await);
    assert_eq!(ledger.audit().await.unwrap(), []);
    assert_eq!(balance(&ledger, "ada").await, 60);
    let credits = Currency::CREDITS;
    let buckets = ledger.buckets_of(&ada.id, &credits, &none, at(0)).await.unwrap();
    let told: Vec<_> = buckets.iter().map(|bucket| (&bucket.id, bucket.left)).collect();
    assert_eq!(told, [(&BucketId::Main, Credits::new(60))]);
    assert_eq!(ledger.balance_of(&eve.id, &credits, &none, at(0)).await.unwrap(), Balance::Unlimited);
    // A repetition is recognized, and an open charge ends.
    assert_eq!(charge(&ledger, &ada, 1, 30).await.unwrap(), posted(60));
    ledger.settle(&crate::support::settlement(&ada, number(1), Credits::new(5))).await.unwrap();
    assert_eq!(balance(&ledger, "ada").await, 85);
    let kind = AdjustmentKind::Set(Credits::new(100));
    let again = Adjustment::new("a".parse().unwrap(), &ada.id, kind, &none, at(0));
    assert!(matches!(ledger.adjust(&again).await.unwrap(), Adjusted::Repeated { .. }));
    let _ = top_up(&ledger, "ada", "b", 7).await;
    let buckets = ledger.buckets_of(&ada.id, &credits, &none, at(0)).await.unwrap();
    assert_eq!(buckets.iter().map(|bucket| bucket.left.get()).collect::<Vec<_>>(), [85, 7]);
    // The next grant is given at its time, less what the block may return.
    let grant = hourly(50);
    let asked = Charge::new(number(5), &bob, Credits::new(1), &grant, now(HOUR));
    assert_eq!(ledger.charge(&asked).await.unwrap(), posted(43));
    assert_eq!(ledger.audit().await.unwrap(), []);
    assert_eq!(ledger.close_abandoned(Duration::ZERO, Abandoned::Refund).await.unwrap(), 3);
    assert_eq!(balance(&ledger, "bob").await, 43 + 20 + 6 + 1);
    assert_eq!(ledger.audit().await.unwrap(), []);
    ledger.forget_entries(at(2 * HOUR)).await.unwrap();
    assert_eq!(ledger.audit().await.unwrap(), []);
}

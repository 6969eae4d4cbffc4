//! Grants, budgets and currencies of the file.

use serde_json::json;
use tollgate::account::{Budget, CalendarUnit, GrantPeriod};
use tollgate::credit::{Balance, Currency};
use tollgate::name::AccountId;
use tollgate::{Account, Credits};

use super::fixture::{Stage, kinds};

const TOKENS: &str = r#"
[credit_headers]
cost = "X-Cost"
balance = "X-Balance"

[plans.pro]
credits = { amount = 100, every = "1h", priority = 10, rollover = { most = 20 } }
budget = { amount = 80, calendar = "day", zone = "UTC" }

[plans.pro.currencies.tokens]
credits = { amount = 1000, calendar = "month", zone = "UTC" }
budget = { amount = 700, every = "1day" }

[[rules]]
route = "/candles"
cost = { parameter = "n", each = 1, default = 1, most = 100 }

[[rules]]
route = "/chat"
cost = 300
currency = "tokens"
"#;

fn stage() -> Stage {
    let stage = Stage::of_file(TOKENS).unwrap();
    stage.put("acme_pro00000", "pro", |_, _| {});
    stage
}

async fn balance(stage: &Stage, currency: &str) -> Balance {
    let account = AccountId::from("account of acme_pro00000");
    let (plan, currency) = (stage.gate.plan("pro").unwrap(), currency.parse::<Currency>().unwrap());
    let (admin, now) = (stage.gate.credit_admin().unwrap(), stage.gate.clock().now().wall());
    admin.balance_of(&account, &currency, plan.credits_in(&currency), now).await.unwrap()
}

#[tokio::test]
async fn grant_has_the_priority_and_rollover_of_the_file() {
    let stage = stage();
    let script =
        ["GET /candles?n=70; x-api-key: acme_pro00000", "+3600s", "GET /candles; x-api-key: acme_pro00000"];
    let answers = stage.play(&script).await;
    let balances: Vec<_> = answers.iter().map(|answer| answer.header("x-balance")).collect();
    assert_eq!(balances, [Some("30"), Some("119")], "20 of the 30 credits are left to the next hour");
    let (account, plan) = (Account::new("account of acme_pro00000", "pro"), stage.gate.plan("pro").unwrap());
    let (admin, now) = (stage.gate.credit_admin().unwrap(), stage.gate.clock().now().wall());
    let buckets = admin.buckets_of(&account.id, &Currency::CREDITS, &plan.credits, now).await.unwrap();
    assert_eq!(buckets.iter().map(|bucket| bucket.terms.priority).collect::<Vec<_>>(), [10]);
}

#[tokio::test]
async fn budget_denies_until_its_next_period() {
    let stage = stage();
    let (most, one) =
        ("GET /candles?n=79; x-api-key: acme_pro00000", "GET /candles?n=2; x-api-key: acme_pro00000");
    let answers = stage.play(&[most, one, "+5400s", one]).await;
    assert_eq!(kinds(&answers), ["served", "budget_exceeded", "served"], "a day starts at 00:00");
    assert_eq!((answers[1].status, answers[1].header("retry-after")), (429, Some("5400")));
    assert_eq!(
        answers[1].json(),
        json!({
            "title": "Too Many Requests", "status": 429, "code": "budget_exceeded", "instance": "/candles",
            "detail": "The request costs 2 credits, and the budget of the API key has 1 left until 2026-03-29T00:00:00Z.",
        })
    );
    // The denied request cost nothing.
    assert_eq!(balance(&stage, "credits").await, Balance::Limited(Credits::new(118)));
}

#[tokio::test]
async fn currencies_have_their_own_credits_and_budgets() {
    let stage = stage();
    let chat = "GET /chat; x-api-key: acme_pro00000";
    let answers = stage.play(&[chat, chat, chat, "+86400s", chat, chat]).await;
    assert_eq!(
        kinds(&answers),
        ["served", "served", "budget_exceeded", "served", "credits_exhausted"],
        "700 tokens a day, and 1000 a month"
    );
    let told: Vec<_> =
        answers.iter().map(|answer| (answer.header("x-cost"), answer.header("x-balance"))).collect();
    let (cost, none) = (Some("300"), (None, None));
    assert_eq!(
        told,
        [(cost, Some("700")), (cost, Some("400")), none, (cost, Some("100")), (cost, Some("100"))]
    );
    let detail = answers[4].json()["detail"].clone();
    assert_eq!(detail, "The request costs 300 tokens, and the balance is 100.");
    assert_eq!(balance(&stage, "credits").await, Balance::Limited(Credits::new(100)));
}

#[tokio::test]
async fn own_budgets_of_a_key_replace_those_of_the_plan() {
    let stage = stage();
    stage.put("acme_own00000", "pro", |_, key| {
        key.budgets =
            Some(vec!["5 every 1h".parse().unwrap(), "300 tokens calendar day UTC".parse().unwrap()]);
    });
    stage.put("acme_free0000", "pro", |_, key| key.budgets = Some(Vec::new()));
    let script = [
        "GET /candles?n=6; x-api-key: acme_own00000",
        "GET /candles?n=5; x-api-key: acme_own00000",
        "GET /chat; x-api-key: acme_own00000",
        "GET /chat; x-api-key: acme_own00000",
        "GET /candles?n=90; x-api-key: acme_free0000",
    ];
    let answers = stage.play(&script).await;
    assert_eq!(kinds(&answers), ["budget_exceeded", "served", "served", "budget_exceeded", "served"]);
}

#[tokio::test]
async fn declared_currency_is_spent_from_top_ups() {
    let toml =
        "currencies = ['tokens']\n[[rules]]\nroute = '/chat'\ncost = 3\ncurrency = 'tokens'\n[plans.pro]\n";
    let stage = Stage::of_file(toml).unwrap();
    stage.put("acme_pro00000", "pro", |_, _| {});
    let answers = stage.play(&["GET /chat; x-api-key: acme_pro00000"]).await;
    assert_eq!(kinds(&answers), ["credits_exhausted"]);
}

#[test]
fn budgets_of_keys_are_read_as_written() {
    for text in ["5000 every 1day", "1 tokens every 1500ms", "7 calendar month Europe/Berlin"] {
        let budget: tollgate::account::KeyBudget = text.parse().unwrap();
        assert_eq!(budget.to_string(), text);
    }
    let daily = Budget::new(Credits::new(5), GrantPeriod::calendar(CalendarUnit::Day, "UTC").unwrap());
    assert_eq!("5 calendar day UTC".parse::<tollgate::account::KeyBudget>().unwrap().budget, daily);
    let wrong =
        ["", "5", "0 every 1day", "-1 every 1h", "5 every", "5 every 1", "5 tokens", "5 a b every 1h"];
    for text in wrong.into_iter().chain([
        "5 calendar day",
        "5 calendar day Mars",
        "5 every 0s",
        "99999999999999999999 every 1h",
    ]) {
        assert!(text.parse::<tollgate::account::KeyBudget>().is_err(), "{text}");
    }
}

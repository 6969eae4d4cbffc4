//! Grants, budgets and currencies of the file.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use serde_json::json;
use tollgate::account::{Allowance, Budget, CalendarUnit, GrantPeriod};
use tollgate::credit::{Adjustment, AdjustmentKind, Balance, Currency};
use tollgate::gate::CostMeter;
use tollgate::name::AccountId;
use tollgate::{Account, Credits, Principal, TollgateLayer};
use tower::{Layer, ServiceExt, service_fn};

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

/// A seller of a model: requests cost credits or tokens, and the tokens of an answer are known at its end.
const SELLER: &str = r#"
[plans.pro]
credits = { amount = 100000, calendar = "month", zone = "UTC", priority = 10, rollover = { most = 20000 } }
budget = { amount = 5000, every = "1day" }        # of each key
overage = "debt"                                  # or "cap"; what a commit above the reservation may do

[plans.pro.currencies.tokens]
credits = { amount = 9000, calendar = "month", zone = "UTC" }

[[rules]]
route = "POST /v1/chat"
cost = { reserve = 2000, most = 8000 }
currency = "tokens"                               # default: "credits"

[[rules]]
route = "POST /v1/drafts"
cost = { reserve = { parameter = "max_tokens", each = 1, default = 1000, most = 4000 }, most = 8000 }
currency = "tokens"

[[rules]]
route = "GET /v1/images"
cost = 2000
"#;

/// Sends a request to a handler that reports this many tokens. Returns the status and the reservation.
async fn chat(stage: &Stage, route: &str, tokens: u64) -> (u16, u64) {
    let (method, path) = route.split_once(' ').unwrap();
    let handler = service_fn(move |request: Request<Empty<Bytes>>| {
        let reserved = request.extensions().get::<Principal>().unwrap().cost();
        request.extensions().get::<CostMeter>().unwrap().add(Credits::new(tokens));
        async move { Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(reserved.to_string()))) }
    });
    let request = Request::builder().method(method).uri(path).header("X-API-Key", "acme_pro00000");
    let service = TollgateLayer::new(stage.gate.clone()).layer(handler);
    let response = service.oneshot(request.body(Empty::new()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, std::str::from_utf8(&body).unwrap().parse().unwrap_or(0))
}

#[tokio::test]
async fn seller_of_tokens_is_served_by_the_file() {
    let stage = Stage::of_file(SELLER).unwrap();
    stage.put("acme_pro00000", "pro", |_, _| {});
    assert_eq!(chat(&stage, "POST /v1/chat", 500).await, (200, 2_000));
    assert_eq!(balance(&stage, "tokens").await, Balance::Limited(Credits::new(8_500)));
    assert_eq!(chat(&stage, "POST /v1/drafts?max_tokens=3000", 3_100).await, (200, 3_000));
    assert_eq!(chat(&stage, "POST /v1/drafts?max_tokens=4001", 1).await.0, 400);
    assert_eq!(balance(&stage, "tokens").await, Balance::Limited(Credits::new(5_400)));
    // A report above `most` counts as `most`. The account owes what its tokens do not cover.
    assert_eq!(chat(&stage, "POST /v1/chat", 50_000).await, (200, 2_000));
    assert_eq!(balance(&stage, "tokens").await, Balance::Owed(Credits::new(2_600)));
    assert_eq!(chat(&stage, "POST /v1/chat", 1).await.0, 402);
    let (account, currency) = (AccountId::from("account of acme_pro00000"), "tokens".parse().unwrap());
    let (kind, now) = (AdjustmentKind::TopUp(Credits::new(4_600)), stage.gate.clock().now().wall());
    let mut paid = Adjustment::new("invoice".parse().unwrap(), &account, kind, &Allowance::None, now);
    paid.currency = &currency;
    let _paid = stage.gate.credit_admin().unwrap().adjust(&paid).await.unwrap();
    assert_eq!(chat(&stage, "POST /v1/chat", 1_999).await, (200, 2_000));
    assert_eq!(balance(&stage, "tokens").await, Balance::Limited(Credits::new(1)));
    // The budget is that of credits.
    let images = "GET /v1/images; x-api-key: acme_pro00000";
    let answers = stage.play(&[images, images, images, "+86400s", images]).await;
    assert_eq!(kinds(&answers), ["served", "served", "budget_exceeded", "served"]);
    assert_eq!(balance(&stage, "credits").await, Balance::Limited(Credits::new(94_000)));
}

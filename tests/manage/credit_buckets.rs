//! Buckets, budgets and currencies through the managers and over HTTP.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tollgate::clock::Timestamp;
use tollgate::credit::{Balance, BucketId, BucketKind, BucketTerms};
use tollgate::manage::{KeyChange, ListEntries, ManageError};
use tollgate::name::AccountId;
use tollgate::{
    Account, Config, CreditManager, Credits, Gate, KeyId, KeyManager, ManualClock, MemoryLedger, MemoryStore,
    NewKey, RequestView, TollgateService,
};
use tower::{ServiceExt, service_fn};

const FILE: &str = r#"
sources = [{ header = "X-API-Key" }]
formats = [{ prefix = "acme_", body = 32 }]
[management]
path = "/keys"
[plans.pro]
credits = { amount = 100, calendar = "month", zone = "UTC", priority = 50 }
budget = { amount = 60, every = "1h" }
[plans.pro.currencies.tokens]
credits = { amount = 9000, calendar = "month", zone = "UTC" }
[[rules]]
route = "/candles"
cost = { parameter = "n", each = 1, default = 1, most = 60 }
[[rules]]
route = "/chat"
cost = 300
currency = "tokens"
"#;

struct World {
    gate: Gate,
    credits: CreditManager,
    keys: KeyManager,
    secret: String,
    id: KeyId,
    ada: AccountId,
    clock: ManualClock,
}

async fn world() -> World {
    let clock = ManualClock::starting_at("2026-04-30T12:00:00Z".parse().unwrap());
    let store = Arc::new(MemoryStore::new());
    store.put_account(Account::new("ada", "pro"));
    let builder = Config::from_toml(FILE, "gate.toml").unwrap().builder().unwrap();
    let gate = builder.store(store).ledger(MemoryLedger::new()).clock(clock.clone()).build().unwrap();
    let keys = KeyManager::new(gate.clone()).unwrap();
    let issued = keys.issue(NewKey::new("ada", "bot")).await.unwrap();
    let (secret, id) = (issued.secret.expose_secret().to_owned(), issued.key.id);
    let credits = CreditManager::new(gate.clone()).unwrap();
    World { gate, credits, keys, secret, id, ada: "ada".into(), clock }
}

impl World {
    async fn send(&self, path: &str) -> (u16, Value) {
        let request = Request::get(path).header("X-API-Key", &self.secret);
        let service = service_fn(async |_: Request<Full<bytes::Bytes>>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(Full::from("{}")))
        });
        let service = TollgateService::new(service, self.gate.clone());
        let response = service.oneshot(request.body(Full::default()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn promotion(expires: &str) -> BucketTerms {
    let mut terms = BucketTerms::of(BucketKind::Promotion);
    (terms.priority, terms.expires) = (10, Some(moment(expires)));
    terms
}

#[tokio::test]
async fn managers_fill_move_and_expire_buckets() {
    let world = world().await;
    let (credits, ada) = (&world.credits, &world.ada);
    let (spring, gift) = ("spring".parse().unwrap(), "gift".parse().unwrap());
    let until = promotion("2026-05-15T00:00:00Z");
    let limited = |amount| Balance::Limited(Credits::new(amount));
    assert_eq!(credits.top_up_into(ada, Credits::new(40), until, &spring).await.unwrap(), limited(140));
    assert_eq!(
        credits.top_up_into(ada, Credits::new(40), until, &spring).await.unwrap(),
        limited(140),
        "once"
    );
    assert_eq!(
        credits.top_up(ada, Credits::new(5), &"invoice".parse().unwrap()).await.unwrap(),
        limited(145)
    );
    let from = BucketId::Of(spring.clone());
    let terms = BucketTerms::of(BucketKind::Refund);
    let moved = credits.move_credits(ada, from.clone(), Credits::new(15), terms, &gift).await;
    assert_eq!(moved.unwrap(), limited(145));
    let listed = |buckets: Vec<tollgate::credit::Bucket>| -> Vec<(String, u64)> {
        buckets.iter().map(|bucket| (bucket.id.to_string(), bucket.left.get())).collect()
    };
    let all = listed(credits.buckets(ada).await.unwrap());
    let expected = [("spring", 25), ("main", 100), ("purchased", 5), ("gift", 15)];
    assert_eq!(all, expected.map(|(id, left)| (id.to_owned(), left)));
    assert_eq!(world.send("/candles?n=30").await.0, 200);
    assert_eq!(
        listed(credits.buckets(ada).await.unwrap())[0],
        ("main".to_owned(), 95),
        "the promotion is spent first"
    );
    let expired = credits.expire(ada, BucketId::Of(gift), &"end".parse().unwrap()).await;
    assert_eq!(expired.unwrap(), limited(100));
    let entries = credits.entries(&ListEntries::of("ada")).await.unwrap().entries;
    assert_eq!((entries[0].bucket.to_string(), entries[0].amount), ("gift".to_owned(), -15));
}

#[tokio::test]
async fn bad_buckets_change_nothing() {
    let world = world().await;
    let (credits, ada, id) = (&world.credits, &world.ada, "a".parse().unwrap());
    let before = credits.buckets(ada).await.unwrap();
    let ten = Credits::new(10);
    let invalid = |error: ManageError| match error {
        ManageError::Invalid { member, .. } => member,
        other => panic!("{other}"),
    };
    let mut void = promotion("2026-05-15T00:00:00Z");
    void.valid_from = void.expires;
    for (amount, terms, id, member) in [
        (Credits::ZERO, BucketTerms::default(), "a", "amount"),
        (Credits::MAX, BucketTerms::default(), "a", "amount"),
        (ten, void, "a", "expires"),
        (ten, promotion("2026-04-30T12:00:00Z"), "a", "expires"),
        (ten, BucketTerms::default(), "main", "id"),
        (ten, BucketTerms::default(), "debt", "id"),
    ] {
        let refused = credits.top_up_into(ada, amount, terms, &id.parse().unwrap()).await.unwrap_err();
        assert_eq!(invalid(refused), member, "{id}");
    }
    let nothing = credits.expire(ada, BucketId::Purchased, &id).await;
    assert!(matches!(nothing, Err(ManageError::NotFound("bucket"))));
    let too_much =
        credits.move_credits(ada, BucketId::Main, Credits::new(101), BucketTerms::default(), &id).await;
    assert!(matches!(too_much, Err(ManageError::InsufficientCredits { .. })));
    let unknown = credits.clone().in_currency("token".parse().unwrap()).unwrap_err();
    assert_eq!(invalid(unknown), "currency");
    assert_eq!(credits.buckets(ada).await.unwrap(), before);
}

#[tokio::test]
async fn currencies_are_managed_apart() {
    let world = world().await;
    let tokens = world.credits.clone().in_currency("tokens".parse().unwrap()).unwrap();
    let id = "invoice".parse().unwrap();
    let limited = |amount| Balance::Limited(Credits::new(amount));
    assert_eq!(tokens.top_up(&world.ada, Credits::new(7), &id).await.unwrap(), limited(9_007));
    assert_eq!(world.credits.balance(&world.ada).await.unwrap(), limited(100));
    assert_eq!(
        world.credits.top_up(&world.ada, Credits::new(8), &id).await.unwrap(),
        limited(108),
        "its own ids"
    );
    assert_eq!(world.send("/chat").await.0, 200);
    assert_eq!(tokens.balance(&world.ada).await.unwrap(), limited(8_707));
    assert_eq!(tokens.entries(&ListEntries::of("ada")).await.unwrap().entries[0].amount, -300);
}

#[tokio::test]
async fn me_shows_buckets_and_budgets() {
    let world = world().await;
    let fresh = world.send("/keys/me").await.1["data"]["currencies"][0]["budget"].clone();
    assert_eq!(
        fresh,
        json!({ "amount": 60, "left": 60, "resetsAt": null }),
        "it starts with the first charge"
    );
    assert_eq!(world.send("/candles?n=20").await.0, 200);
    world.clock.advance(Duration::from_mins(10));
    let terms = promotion("2026-05-15T00:00:00Z");
    world.credits.top_up_into(&world.ada, Credits::new(40), terms, &"spring".parse().unwrap()).await.unwrap();
    let (status, me) = world.send("/keys/me").await;
    assert_eq!((status, &me["data"]["credits"]), (200, &json!(120)));
    let (none, main) = (
        Value::Null,
        json!({
            "id": "main", "kind": "grant", "amount": 100, "left": 80, "priority": 50, "validFrom": null, "expiresAt": null,
        }),
    );
    let spring = json!({
        "id": "spring", "kind": "promotion", "amount": 40, "left": 40, "priority": 10, "validFrom": null,
        "expiresAt": "2026-05-15T00:00:00.000Z",
    });
    let tokens = json!({ "id": "main", "kind": "grant", "amount": 9000, "left": 9000, "priority": 100, "validFrom": null, "expiresAt": null });
    assert_eq!(
        me["data"]["currencies"],
        json!([
            {
                "currency": "credits", "credits": 120, "buckets": [spring, main],
                "budget": { "amount": 60, "left": 40, "resetsAt": "2026-04-30T13:00:00.000Z" },
            },
            { "currency": "tokens", "credits": 9000, "buckets": [tokens], "budget": none },
        ])
    );
}

#[tokio::test]
async fn key_gets_and_inherits_budgets() {
    let world = world().await;
    let budgets =
        |texts: &[&str]| Some(Some(texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>()));
    let change = |texts: &[&str]| KeyChange { budgets: budgets(texts), ..KeyChange::default() };
    for wrong in [&["5 gold every 1h"][..], &["5 every 1h", "6 every 1day"]] {
        let refused = world.keys.update(world.id, &change(wrong)).await;
        assert!(
            matches!(refused, Err(ManageError::Invalid { member, .. }) if member == "budgets"),
            "{wrong:?}"
        );
    }
    world.keys.update(world.id, &change(&["5 every 1h", "300 tokens every 1day"])).await.unwrap();
    assert_eq!(world.send("/candles?n=6").await.0, 429);
    assert_eq!([world.send("/chat").await.0, world.send("/chat").await.0], [200, 429]);
    // A key that the key issues has its budgets, and none that is larger.
    let request = Request::get("/candles").header("X-API-Key", &world.secret).body(()).unwrap();
    let admission = world.gate.admit(&RequestView::of(&request)).await.unwrap();
    let principal = world.gate.principal(&admission).unwrap();
    let own = world.keys.clone().for_caller(&principal, None);
    let child = own.issue(NewKey::new("ada", "child")).await.unwrap();
    assert_eq!(child.key.budgets.as_deref().unwrap().len(), 2);
    for wide in [
        &[][..],
        &["6 every 1h", "300 tokens every 1day"],
        &["5 every 1day", "300 tokens every 1day"],
        &["5 every 1h"],
    ] {
        let mut new = NewKey::new("ada", "wide");
        new.budgets = budgets(wide).unwrap();
        let refused = own.issue(new).await;
        assert!(matches!(refused, Err(ManageError::TooWide { member: "budgets" })), "{wide:?}");
    }
    let mut narrow = NewKey::new("ada", "narrow");
    narrow.budgets = budgets(&["4 every 1h", "300 tokens every 1day"]).unwrap();
    own.issue(narrow).await.unwrap();
}

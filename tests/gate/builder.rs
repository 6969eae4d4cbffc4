//! The back ends of a gate: given in any order, each once, with or without a write side.

use std::sync::Arc;

use tollgate::{
    ConfigError, Credits, Gate, GateBuilder, KeyFormat, KeySource, MemoryLedger, MemoryLimiter, MemoryStore,
    Plan, Rule,
};

use super::support::faulty_back_ends::{Later, ReadOnly};
use super::support::{World, with_key};

const KEY: &str = "acme_0123456789012345678901";

type Step = fn(GateBuilder, &World) -> GateBuilder;

/// The three back ends of a world.
const STEPS: [Step; 3] = [
    |builder, world| builder.store(Arc::clone(&world.store)),
    |builder, world| builder.limiter(Arc::clone(&world.limiter)),
    |builder, world| builder.ledger(Arc::clone(&world.ledger)),
];

/// A gate where a request costs 10 credits and a key has three requests a day. It manages keys.
fn settings(builder: GateBuilder) -> GateBuilder {
    let (mut rule, mut plan) = (Rule::new("/paid").unwrap(), Plan::new("plain"));
    rule.cost = tollgate::rule::Cost::Fixed(Credits::new(10));
    plan.quotas.push("3 per day".parse().unwrap());
    builder
        .source(KeySource::header("x-api-key").unwrap())
        .format(KeyFormat::new("acme_", tollgate::key::Length::exactly(22)).unwrap())
        .plan(plan)
        .rule(rule)
        .management("/account/keys")
}

#[tokio::test]
async fn order_of_back_ends_does_not_matter() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for settings_first in [false, true] {
            let world = World::new();
            let id = world.plain_key(KEY);
            let mut builder = Gate::builder().clock(world.clock.clone());
            if settings_first {
                builder = settings(builder);
            }
            builder = order.iter().fold(builder, |builder, step| STEPS[*step](builder, &world));
            if !settings_first {
                builder = settings(builder);
            }
            let gate = builder.build().unwrap();
            let mut statuses = Vec::new();
            for route in ["GET /paid", "GET /account/keys", "GET /paid", "GET /paid"] {
                let request =
                    with_key(route, KEY).body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
                let layer = tollgate::TollgateLayer::new(gate.clone());
                let service = tower::Layer::layer(&layer, world.inner.clone());
                statuses.push(tower::ServiceExt::oneshot(service, request).await.unwrap().status().as_u16());
            }
            assert_eq!((statuses, world.balance(id)), (vec![200, 200, 200, 429], 80), "{order:?}");
        }
    }
}

#[test]
fn back_end_that_was_not_given_is_in_memory() {
    for left_out in 0..3 {
        let world = World::new();
        let steps = STEPS.iter().enumerate().filter(|(place, _)| *place != left_out);
        let builder = steps.fold(settings(Gate::builder()), |builder, (_, step)| step(builder, &world));
        let gate = builder.build().unwrap();
        assert!(gate.credit_admin().is_some(), "{left_out}");
    }
}

#[test]
fn back_end_is_given_once() {
    let error = |builder: GateBuilder| settings(builder).build().unwrap_err();
    let stores = Gate::builder().store(MemoryStore::new()).store(ReadOnly(MemoryStore::new()));
    let limiters =
        Gate::builder().limiter(MemoryLimiter::new()).limiter(Later(Arc::new(MemoryLimiter::new())));
    let ledgers = Gate::builder().ledger(MemoryLedger::new()).ledger(Later(Arc::new(MemoryLedger::new())));
    let rows: [(&str, &str, &str, ConfigError); 3] = [
        ("store", "ReadOnly<", "MemoryStore`", error(stores)),
        ("limiter", "Later<", "MemoryLimiter`", error(limiters)),
        ("ledger", "Later<", "MemoryLedger`", error(ledgers)),
    ];
    for (member, second, first, error) in rows {
        assert_eq!(error.member(), member);
        assert!(error.value().contains(second), "{error}");
        assert!(error.problem().contains(first), "{error}");
        assert_eq!(error.expected(), format!("call `{member}` once"));
    }
}

#[cfg(feature = "fleet")]
#[test]
fn management_needs_a_write_side() {
    use tollgate::guard::Resilient;
    use tollgate::store::CachedStore;

    let read_only = || ReadOnly(MemoryStore::new());
    let cached = CachedStore::builder(read_only()).build().unwrap();
    let builders = [
        Gate::builder().store(read_only()),
        Gate::builder().store(Arc::new(read_only())),
        Gate::builder().store(Resilient::new(read_only())),
        Gate::builder().store(cached),
    ];
    for builder in builders {
        let error = settings(builder).build().unwrap_err();
        assert_eq!((error.member(), error.value()), ("management.path", "/account/keys"));
        assert!(error.problem().contains("a store that can be written"), "{error}");
        assert!(error.expected().contains("`KeyStore::admin`"), "{error}");
    }
    let cached = CachedStore::builder(Resilient::new(MemoryStore::new())).build().unwrap();
    assert!(settings(Gate::builder().store(cached)).build().is_ok());
}

#[cfg(feature = "fleet")]
#[tokio::test]
async fn credits_are_read_from_the_ledgers_authority() {
    use std::num::NonZeroU32;

    use tollgate::account::Allowance;
    use tollgate::credit::{Balance, LeaseTerms, LeasedLedger};
    use tollgate::guard::Resilient;

    let world = World::new();
    let id = world.plain_key(KEY);
    let leased = LeasedLedger::new(Arc::clone(&world.ledger), LeaseTerms::of_nodes(NonZeroU32::MIN));
    let guarded = Resilient::new(Arc::clone(&world.ledger));
    let gates = [
        Gate::builder().ledger(Arc::clone(&world.ledger)),
        Gate::builder().ledger(leased),
        Gate::builder().ledger(guarded),
    ];
    for builder in gates {
        let gate = settings(builder).build().unwrap();
        let (account, now) = (world.account_of(id).as_str().into(), gate.clock().now().wall());
        let balance = gate
            .credit_admin()
            .unwrap()
            .balance_of(&account, &tollgate::credit::Currency::CREDITS, &Allowance::None, now)
            .await
            .unwrap();
        assert_eq!(balance, Balance::Limited(Credits::new(100)));
    }
    // A ledger without a write side still charges.
    let gate = settings(Gate::builder().ledger(Later(Arc::clone(&world.ledger)))).build().unwrap();
    assert!(gate.credit_admin().is_none());
}

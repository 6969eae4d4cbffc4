//! The ledger in memory, against sums kept by hand: credits are conserved and never negative.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use support::World;
use tollgate::{
    Account, Allowance, Charge, ChargeId, Charged, Clock, CreditLedger, Credits, Grant, GrantPeriod,
    Timestamp,
};

const HOUR: i64 = 3_600_000;

#[derive(Debug, Clone)]
enum Step {
    Charge(u64, u64),
    Settle(u64, u64),
    Refund(u64),
    Wait(u64),
    TurnBack(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let (id, amount) = (0_u64..12, 1_u64..60);
    prop_oneof![
        6 => (id.clone(), amount).prop_map(|(id, amount)| Step::Charge(id, amount)),
        3 => (id.clone(), 0_u64..80).prop_map(|(id, cost)| Step::Settle(id, cost)),
        3 => id.prop_map(Step::Refund),
        2 => (0_u64..3 * 3_600).prop_map(Step::Wait),
        1 => (0_i64..2 * HOUR).prop_map(Step::TurnBack),
    ]
}

/// What a ledger must come to: each charge under a number, its amount while it is open.
struct Model {
    balance: u64,
    open: HashMap<u64, u64>,
    granted: u64,
    settled: u64,
    due: i64,
}

impl Model {
    fn grant(&mut self, amount: u64, now: i64) {
        while now >= self.due {
            let given = amount.saturating_sub(self.balance);
            self.balance += given;
            self.granted += given;
            self.due += HOUR;
        }
    }

    fn charge(&mut self, id: u64, amount: u64) -> Option<u64> {
        if self.open.contains_key(&id) {
            return Some(self.balance);
        }
        self.balance = self.balance.checked_sub(amount)?;
        self.open.insert(id, amount);
        Some(self.balance)
    }

    fn close(&mut self, id: u64, cost: u64) {
        if let Some(amount) = self.open.remove(&id) {
            self.settled += cost.min(amount);
            self.balance += amount - cost.min(amount);
        }
    }
}

fn charge(world: &World, account: &Account, id: u64, amount: u64, allowance: &Allowance) -> Charged {
    let charge = Charge::new(number(id), account, Credits::new(amount), allowance, world.clock.now());
    ready(world.ledger.charge(&charge))
}

fn number(id: u64) -> ChargeId {
    ChargeId::from_bytes(u128::from(id).to_be_bytes())
}

fn ready<T>(future: tollgate::StoreFuture<T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_charges_and_endings_comes_to_the_same_sums(
        steps in prop::collection::vec(step(), 1..80),
        opening in 0_u64..200,
        grant in prop::option::of(0_u64..150),
        shared in any::<bool>(),
    ) {
        let world = World::new();
        let id = world.plain_key("kwery_live_0123456789");
        world.set_balance(id, opening);
        let account = Arc::clone(&world.store.key(id).unwrap().account);
        let allowance = grant.map_or(Allowance::None, |amount| {
            let period = GrantPeriod::every(Duration::from_millis(HOUR as u64)).unwrap();
            Allowance::Grant(Grant::new(Credits::new(amount), period))
        });
        let wall = || world.clock.now().wall().as_millis();
        let due = wall() + HOUR;
        let mut model = Model { balance: opening, open: HashMap::new(), granted: 0, settled: 0, due };
        for step in steps {
            // A record that was read anew has none of the pointers that a ledger keeps.
            let fresh = Account::clone(&account);
            let account = if shared { &*account } else { &fresh };
            match step {
                Step::Charge(id, amount) => {
                    if let Some(grant) = grant {
                        model.grant(grant, wall());
                    }
                    let expected = match model.charge(id, amount) {
                        Some(balance) => Charged::Posted { balance: Some(Credits::new(balance)) },
                        None => Charged::Insufficient { balance: Credits::new(model.balance) },
                    };
                    prop_assert_eq!(charge(&world, account, id, amount, &allowance), expected);
                }
                Step::Settle(id, cost) => {
                    ready(world.ledger.settle(account, number(id), Credits::new(cost)));
                    model.close(id, cost);
                }
                Step::Refund(id) => {
                    ready(world.ledger.refund(account, number(id)));
                    model.close(id, 0);
                }
                Step::Wait(seconds) => world.clock.advance(Duration::from_secs(seconds)),
                Step::TurnBack(millis) => world.clock.set_wall(Timestamp::from_millis(wall() - millis)),
            }
            prop_assert_eq!(world.balance(id), model.balance);
            prop_assert_eq!(world.ledger.open_charges(account.id.as_str()), model.open.len());
            let open: u64 = model.open.values().sum();
            prop_assert_eq!(opening + model.granted, model.balance + open + model.settled, "conserved");
        }
    }
}

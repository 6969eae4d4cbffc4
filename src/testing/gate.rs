//! A gate for the tests of a service.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::account::{Account, Subscription};
use crate::adapter::TollgateLayer;
use crate::amount::Credits;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::credit::MemoryLedger;
use crate::error::ConfigError;
use crate::gate::{Gate, GateBuilder};
use crate::key::{IssuedKey, KeyId, KeyRecord};
use crate::limit::MemoryLimiter;
use crate::store::{KeyStore, MemoryStore};
use crate::words;

/// The time at which a test begins: the first second of 2026, UTC.
const BEGINNING: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The credits of a test account.
const WEALTH: Credits = Credits::new(1_000_000);

/// A gate for tests, with its own back ends in memory and a clock that only the test advances. It issues keys for
/// tests.
///
/// It makes the same decisions as a production gate with the same configuration. See the [module](crate::testing) for
/// an example.
#[derive(Debug, Clone)]
pub struct TestGate {
    gate: Gate,
    clock: ManualClock,
    store: Arc<MemoryStore>,
    ledger: Arc<MemoryLedger>,
}

#[cfg(feature = "config")]
impl TestGate {
    /// Creates a gate from the text of a configuration file. Its keys include the demo keys.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Config::from_toml`](crate::config::Config::from_toml).
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::from_config(&crate::config::Config::from_toml(text, "test.toml")?)
    }

    /// Creates a gate from a configuration. Its keys include the demo keys.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`Config::builder`](crate::config::Config::builder).
    pub fn from_config(config: &crate::config::Config) -> Result<Self, ConfigError> {
        let test = Self::from_builder(config.builder()?)?;
        for record in config.demo_keys()? {
            test.put(record);
        }
        Ok(test)
    }
}

impl TestGate {
    /// Creates a gate from a builder. The test gate's back ends and clock replace those of the builder.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`GateBuilder::build`].
    pub fn from_builder(builder: GateBuilder) -> Result<Self, ConfigError> {
        let (store, ledger) = (Arc::new(MemoryStore::new()), Arc::new(MemoryLedger::new()));
        let clock = ManualClock::starting_at(BEGINNING);
        let gate = builder
            .without_back_ends()
            .store(Arc::clone(&store))
            .ledger(Arc::clone(&ledger))
            .limiter(MemoryLimiter::new())
            .clock(clock.clone())
            .build()?;
        Ok(Self { gate, clock, store, ledger })
    }

    /// Returns the gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Returns a layer that puts the gate in front of a service.
    pub fn layer(&self) -> TollgateLayer {
        TollgateLayer::new(self.gate.clone())
    }

    /// Returns the gate's clock.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Issues an unrestricted key of a new account on this plan. The account has an active subscription, has signed all
    /// agreements, and has 1,000,000 credits.
    ///
    /// # Errors
    ///
    /// Returns an error if the plan is not configured, or if the gate has no format for keys.
    pub fn key(&self, plan: &str) -> Result<IssuedKey, ConfigError> {
        self.key_with(plan, |_, _| {})
    }

    /// Issues a key as [`TestGate::key`] does, after `change` has changed its record or its account. Examples are a
    /// revoked or restricted key, or a suspended account.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`TestGate::key`].
    pub fn key_with(
        &self,
        plan: &str,
        change: impl FnOnce(&mut KeyRecord, &mut Account),
    ) -> Result<IssuedKey, ConfigError> {
        let core = self.gate.core();
        if self.gate.plan(plan).is_none() {
            let meant = words::meant(plan, core.plans.names());
            let expected = format!("{meant}define it under `[plans]`, or name a plan that is defined");
            return Err(ConfigError::new(plan, "the plan of the test key is not defined", expected));
        }
        let format = core.formats().first().ok_or_else(|| {
            ConfigError::new("", "the gate has no format for new keys", "define one, or use a demo key")
        })?;
        let key = format.generate().map_err(|error| {
            ConfigError::new("", format!("failed to generate a key since {error}"), "try again")
        })?;
        let id = KeyId::generate();
        let mut account = Account::new(format!("test-{id}"), plan);
        account.subscription = Some(Subscription::Active);
        account.agreements = core.known_agreements().into_iter().cloned().collect();
        let hash = self.gate.hasher().hash(key.expose_secret().as_bytes());
        let mut record = KeyRecord::new(id, hash, Arc::new(account.clone()));
        change(&mut record, &mut account);
        record.account = Arc::new(account);
        self.put(record);
        Ok(key)
    }

    /// Returns the remaining credits of a key's account, or `None` for a key that this gate does not know.
    pub fn credits(&self, key: &str) -> Option<Credits> {
        let record = self.record(key)?;
        self.ledger.balance(record.account.id.as_str())
    }

    /// Sets the credits of a key's account. Does nothing for a key that this gate does not know.
    pub fn set_credits(&self, key: &str, credits: Credits) {
        if let Some(record) = self.record(key) {
            self.ledger.set_balance(record.account.id.as_str(), credits, self.clock.now().wall());
        }
    }

    fn record(&self, key: &str) -> Option<Arc<KeyRecord>> {
        let mut finding = self.store.find(&self.gate.hasher().hash(key.as_bytes()));
        // A look-up in the memory store is ready at the first poll.
        match Pin::new(&mut finding).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(found)) => found,
            _ => None,
        }
    }

    fn put(&self, mut record: KeyRecord) {
        self.ledger.set_balance(record.account.id.as_str(), WEALTH, self.clock.now().wall());
        record.account = self.store.put_account((*record.account).clone());
        self.store.put_key(record);
    }
}

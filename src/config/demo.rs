//! Validation of the demo keys under `[[demo]]`, and their records.

use crate::account::Account;
use crate::config::{Config, DemoConfig};
use crate::error::ConfigError;
use crate::key::{KeyHasher, KeyRecord};
use crate::name::Environment;
use crate::words;

/// Returns an error for the first demo key that cannot be used or that contradicts an earlier one.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    for (place, demo) in config.demo.iter().enumerate() {
        let refuse = |member: &str, value: &str, problem: &str, expected: &str| {
            Err(ConfigError::new(value, problem, expected).in_member(format!("demo[{place}].{member}")))
        };
        let Some(plan) = config.plans.get(&demo.plan) else {
            let meant = words::meant(&demo.plan, config.plans.keys().map(String::as_str));
            let expected = format!("{meant}define it under `[plans]`");
            return refuse("plan", &demo.plan, "the demo key's plan is not defined", &expected);
        };
        if config.management.path.is_some() && plan.manages_keys.unwrap_or(true) {
            let problem =
                "the plan manages keys, so that everybody who knows the demo key could issue and revoke keys";
            let expected =
                format!("set `manages_keys = false` in `[plans.{}]`, or write another plan", demo.plan);
            return refuse("plan", &demo.plan, problem, &expected);
        }
        if demo.account.is_empty() {
            return refuse("account", "", "the account name is empty", "write one as in `demo`");
        }
        let served = config.environments.contains(&demo.environment)
            || config.environments.is_empty() && demo.environment == Environment::live().as_str();
        if !served {
            let problem = "the demo key's environment is not configured";
            return refuse(
                "environment",
                &demo.environment,
                problem,
                "name it in `environments`, or write another; the default is `live`",
            );
        }
        let earlier = &config.demo[..place];
        let beside = |other: usize, member: &'static str| {
            move |error: ConfigError| error.beside(format!("demo[{other}].{member}"))
        };
        if let Some(other) = earlier.iter().position(|other| other.key == demo.key) {
            let verdict = refuse("key", &demo.key, "duplicate demo key", "write each once");
            return verdict.map_err(beside(other, "key"));
        }
        if let Some(other) = earlier.iter().position(|other| other.id == demo.id) {
            let id = demo.id.0.to_string();
            let verdict = refuse("id", &id, "duplicate id of demo keys", "give each its own");
            return verdict.map_err(beside(other, "id"));
        }
        let clashes = |other: &DemoConfig| other.account == demo.account && other.plan != demo.plan;
        if let Some(other) = earlier.iter().position(clashes) {
            let problem = format!("the account `{}` is already defined with another plan", demo.account);
            let expected = "use the same plan for both, or give each key its own account";
            return refuse("plan", &demo.plan, &problem, expected).map_err(beside(other, "plan"));
        }
    }
    Ok(())
}

impl DemoConfig {
    /// Returns the record of the key, with its account.
    pub(super) fn record(&self, hasher: &KeyHasher) -> KeyRecord {
        let account = Account::new(self.account.as_str(), self.plan.as_str());
        let mut record = KeyRecord::new(self.id.0, hasher.hash(self.key.as_bytes()), account.into());
        self.key.clone_into(&mut record.start);
        self.name.clone_into(&mut record.name);
        record.environment = self.environment.as_str().into();
        record
    }
}

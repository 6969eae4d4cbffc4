//! Keys that everybody knows, as the file says them.

use crate::config::{Config, DemoConfig};
use crate::{Account, ConfigError, Environment, KeyHasher, KeyRecord};

/// Demo keys that nobody could use, or that say two things at once.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    for (place, demo) in config.demo.iter().enumerate() {
        let refuse = |member: &str, value: &str, problem: &str, expected: &str| {
            Err(ConfigError::new(value, problem, expected).in_member(format!("demo[{place}].{member}")))
        };
        if !config.plans.contains_key(&demo.plan) {
            return refuse(
                "plan",
                &demo.plan,
                "the demo key's plan is not defined",
                "define it under `[plans]`",
            );
        }
        if demo.account.is_empty() {
            return refuse("account", "", "an account has a name", "write one as in `demo`");
        }
        let served = config.environments.contains(&demo.environment)
            || config.environments.is_empty() && demo.environment == Environment::live().as_str();
        if !served {
            let problem = "the demo key belongs to an environment that is not served";
            return refuse(
                "environment",
                &demo.environment,
                problem,
                "name it in `environments`, or write another",
            );
        }
        let earlier = &config.demo[..place];
        if earlier.iter().any(|other| other.key == demo.key) {
            return refuse("key", &demo.key, "two demo keys are the same", "write each once");
        }
        if earlier.iter().any(|other| other.id == demo.id) {
            return refuse("id", &demo.id.0.to_string(), "two demo keys have this id", "give each its own");
        }
        if earlier.iter().any(|other| other.account == demo.account && other.plan != demo.plan) {
            let problem = format!("the account `{}` is on another plan already", demo.account);
            return refuse("plan", &demo.plan, &problem, "write one plan for both, or give each its account");
        }
    }
    Ok(())
}

impl DemoConfig {
    /// The key's record, with its account.
    pub(super) fn record(&self, hasher: &KeyHasher) -> KeyRecord {
        let account = Account::new(self.account.as_str(), self.plan.as_str());
        let mut record = KeyRecord::new(self.id.0, hasher.hash(self.key.as_bytes()), account.into());
        self.key.clone_into(&mut record.start);
        self.name.clone_into(&mut record.name);
        record.environment = self.environment.as_str().into();
        record
    }
}

//! A new configuration for a gate that runs.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::alert::AlertRule;
use crate::clock::{Clock, Timestamp};
use crate::error::ConfigError;
use crate::gate::{Core, Gate, GateBuilder, Parts, validate};
use crate::trace;
use crate::usage::UsageOptions;

/// The version and the time of a configuration in force.
///
/// # Example
///
/// ```
/// use tollgate::key::Length;
/// use tollgate::{Gate, KeyFormat, KeySource};
///
/// let gate = Gate::builder()
///     .source(KeySource::header("X-API-Key")?)
///     .format(KeyFormat::new("acme_", Length::exactly(32))?)
///     .build()?;
/// assert_eq!(gate.configuration().version(), 1);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    pub(super) version: u32,
    since: Timestamp,
}

impl Configuration {
    /// The number of configurations that the gate has taken: 1 for that with which it was built.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The time from which the configuration is in force, by the gate's clock.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Returns that of the configuration after another.
    pub(super) fn after(before: Option<&Core>, clock: &dyn Clock) -> Result<Self, ConfigError> {
        let before = before.map_or(0, |before| before.configuration.version);
        let version = before.checked_add(1).ok_or_else(|| {
            let problem = "a gate takes no more than 4,294,967,295 configurations";
            ConfigError::new("", problem, "restart the process")
        })?;
        Ok(Self { version, since: clock.now().wall() })
    }
}

/// The settings that no later configuration changes.
#[derive(Debug)]
pub(super) struct FixedSettings {
    #[cfg(feature = "fleet")]
    back_ends: crate::guard::BackEndPolicies,
    usage: Option<UsageOptions>,
    uses: Option<Duration>,
    alerts: Vec<AlertRule>,
    webhooks: Vec<u64>,
    management_path: Option<String>,
}

impl FixedSettings {
    pub(super) fn of(builder: &GateBuilder) -> Self {
        Self {
            #[cfg(feature = "fleet")]
            back_ends: builder.back_end_policies.clone(),
            usage: builder.usage_options.clone(),
            uses: builder.uses,
            alerts: builder.alerts.rules.clone(),
            webhooks: builder.alerts.webhooks.clone(),
            management_path: builder.management.path.clone(),
        }
    }

    /// Returns an error if a builder has other settings.
    fn check(&self, builder: &GateBuilder) -> Result<(), ConfigError> {
        let other = Self::of(builder);
        #[cfg(feature = "fleet")]
        same("back_ends", self.back_ends == other.back_ends)?;
        same("usage", self.usage == other.usage)?;
        same("note_uses", other.uses.is_none() || self.uses == other.uses)?;
        same("alerts", self.alerts == other.alerts)?;
        same("webhooks", self.webhooks == other.webhooks)?;
        let (path, before) = (other.management_path, &self.management_path);
        if path == *before {
            return Ok(());
        }
        let problem =
            "the path of the key management cannot be changed while the gate runs: routers have mounted it";
        let expected = match before {
            Some(before) => format!("write `{before}`, or restart the process"),
            None => "leave it out, or restart the process".to_owned(),
        };
        Err(ConfigError::new(path.unwrap_or_default(), problem, expected).in_member("management.path"))
    }
}

fn same(member: &str, is_same: bool) -> Result<(), ConfigError> {
    if is_same {
        return Ok(());
    }
    let problem = "this cannot be changed while the gate runs";
    let expected = "write what it was at the start, or restart the process";
    Err(ConfigError::new("", problem, expected).in_member(member))
}

impl GateBuilder {
    /// Compiles these settings as the configuration of a gate after another.
    pub(crate) fn after(mut self, before: &Core) -> Result<Core, ConfigError> {
        let parts: &Arc<Parts> = &before.parts;
        if let Some((method, given)) = self.given_part() {
            let problem = "a part of a gate cannot be changed while the gate runs";
            let expected = format!("do not call `GateBuilder::{method}`, or restart the process");
            return Err(ConfigError::new(given, problem, expected).in_member(method));
        }
        parts.fixed.check(&self)?;
        if parts.usage.is_some() {
            self.usage_options.get_or_insert_default();
        }
        validate::all(&self)?;
        validate::warn_of_unreachable(&self);
        self.core(parts, Some(before))
    }
}

impl Core {
    /// Tells that this configuration is in force.
    pub(super) fn tell(&self) {
        self.metrics.iter().for_each(|metrics| metrics.reloaded(Some(self.configuration.since)));
    }
}

impl Gate {
    /// Replaces the configuration of a gate that runs, and returns the one that is in force now.
    ///
    /// The builder has all settings of the new configuration: rules, plans, quotas, error texts, the order of the checks,
    /// proxies, key formats, hashers. Every request is judged by one configuration. A request that is under way ends under
    /// the old one: its handler, its headers, its charge and its event. Records that are cached are judged by the new one at
    /// once.
    ///
    /// # What goes on
    ///
    /// - **Windows.** A quota whose name, length and kind stay keeps what is used, request by request. 40 requests of
    ///   `60 per minute` are 40 of `600 per minute` too, so that 560 are left. Under `30 per minute`, no request is admitted
    ///   until fewer than 30 of the 40 are left. The requests are refilled at the pace of the quota under which they were
    ///   made. A quota that is new, or has another name or length, begins with a full window. See
    ///   [`QuotaPolicy`](crate::account::QuotaPolicy#several-quotas-for-one-owner).
    /// - **Requests in flight.** A limit that changed counts the slots that are held.
    /// - **Failed attempts** of a network: the time until its quota is full again stays.
    /// - Balances, open charges, leases, cached records, usage, and the times of last use.
    ///
    /// # What cannot be changed
    ///
    /// The builder has no back end, clock, sink, observer, audit sink or source of randomness: those of the gate stay. A
    /// [`responder`](GateBuilder::responder) stays too, unless another one is given. The
    /// [policies of the back ends](GateBuilder::back_end_policies), the [usage options](GateBuilder::usage_options), alerts,
    /// webhooks and the path of the key management must be those of the start.
    ///
    /// An OpenAPI document describes the configuration that was in force when it was made. A router keeps the routes that it
    /// was built with: a rule for a new route needs a service that has the route.
    ///
    /// # Errors
    ///
    /// Returns the first fault, as [`GateBuilder::build`] does, or the part or the setting that cannot be changed. The old
    /// configuration stays in force. The error is also logged, and the metric
    /// `tollgate_config_last_reload_successful` becomes 0.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::{Config, Gate};
    ///
    /// let text = r#"
    ///     sources = [{ header = "X-API-Key" }]
    ///     formats = [{ prefix = "acme_", body = 32 }]
    ///     [plans.pro]
    ///     quotas = ["60 per minute"]
    /// "#;
    /// let gate = Config::from_toml(text, "gate.toml")?.builder()?.build()?;
    ///
    /// let text = text.replace("60 per", "600 per");
    /// let configuration = gate.reload(Config::from_toml(&text, "gate.toml")?.builder()?)?;
    /// assert_eq!(configuration.version(), 2);
    /// assert_eq!(gate.configuration(), configuration);
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn reload(&self, builder: GateBuilder) -> Result<Configuration, ConfigError> {
        self.reload_with(|before| builder.after(before))
    }

    /// Returns the version and the time of the configuration in force.
    pub fn configuration(&self) -> Configuration {
        self.load().configuration
    }

    /// Replaces the configuration by one that `compile` makes from the one before, and tells of a fault.
    pub(crate) fn reload_with(
        &self,
        compile: impl FnOnce(&Core) -> Result<Core, ConfigError>,
    ) -> Result<Configuration, ConfigError> {
        let live = &self.0;
        let reloading = live.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let made = compile(&live.current.load());
        if let Err(error) = &made {
            trace::reload_failed(error);
            live.metrics.iter().for_each(|metrics| metrics.reloaded(None));
        }
        let core = Arc::new(made?);
        let configuration = core.configuration;
        if let Some(alerts) = &live.alerts {
            alerts.set_plans(core.plan_data.values());
        }
        core.tell();
        live.current.store(core);
        drop(reloading);
        trace::reloaded(configuration.version);
        Ok(configuration)
    }
}

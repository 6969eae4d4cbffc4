//! Assembly of a gate from a builder's parts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::account::Plan;
use crate::amount::ChargeIds;
use crate::error::ConfigError;
use crate::gate::Mounted;
use crate::gate::back_ends::{ledgers, missing};
use crate::gate::revocation::Revocations;
use crate::gate::terms::Plans;
use crate::gate::{Check, Checks, Core, validate};
use crate::gate::{Gate, GateBuilder};
use crate::name::{Environment, PlanName};
use crate::respond::Responders;
use crate::rule::{Purpose, RuleSet};
use crate::rule::{Rule, ScopeRule};
use crate::uses::Uses;

/// The default interval at which a key's use is recorded.
const USES: Duration = Duration::from_mins(1);

impl GateBuilder {
    /// Checks that the parts fit together, except the back ends.
    ///
    /// # Errors
    ///
    /// Returns the first contradiction, as [`build`](GateBuilder::build) does.
    pub fn check(&self) -> Result<(), ConfigError> {
        validate::all(self)?;
        let plans = by_name(&self.plans);
        RuleSet::new(self.all_rules()?, self.otherwise.clone(), self.denies_unmatched, &plans)?;
        Plans::new(&plans, self.quotas.clone())?;
        Check::in_order(&self.order)?;
        Responders::new(None, &self.error_format, &self.sources, self.request_ids.header()).map(drop)
    }

    /// Checks that the parts fit together, and builds the gate.
    ///
    /// # Errors
    ///
    /// Returns the first contradiction, such as no key source, a rule that names an unknown plan, or a public rule with
    /// a cost.
    pub fn build(self) -> Result<Gate, ConfigError> {
        validate::all(&self)?;
        validate::warn_of_unreachable(&self);
        let (plan_data, rules) = (by_name(&self.plans), self.all_rules()?);
        let mounted = self.mounted()?;
        let environments = self.served();
        let (ledger, credit_authority) = ledgers(self.ledger, self.credit_authority)?;
        // Uses are recorded only if keys can be written.
        let uses = self.uses.or(self.authority.as_ref().map(|_| USES));
        let request_id = self.request_ids.header();
        let responders = Responders::new(self.responder, &self.error_format, &self.sources, request_id)?;
        Ok(Gate(Arc::new(Core {
            refuse_conflicts: self.refuse_conflicts,
            formats: self.formats,
            literals: self.literals,
            hashers: self.hashers,
            environments,
            rules: RuleSet::new(rules, self.otherwise, self.denies_unmatched, &plan_data)?,
            plans: Plans::new(&plan_data, self.quotas)?,
            plan_data,
            checks: Checks::new(Check::in_order(&self.order)?),
            proxies: self.proxies,
            preflights: self.preflights,
            store: self.store.ok_or_else(|| missing("store"))?,
            ledger,
            credit_authority,
            limiter: self.limiter.ok_or_else(|| missing("limiter"))?,
            meter: self.meter,
            clock: self.clock,
            charge_ids: ChargeIds::new(),
            responders,
            request_ids: self.request_ids,
            principal: self.principal,
            limit_headers: self.limit_headers,
            strip_headers: self.strip_headers,
            observer: self.observer,
            authority: self.authority,
            management: self.management,
            revocations: Revocations::default(),
            mounted,
            uses: Uses::every(uses),
            expiry_feature: self.expiry_feature,
            randomness: self.randomness,
            audit: self.audit,
            sources: self.sources,
        })))
    }

    /// Returns the environments that are served. Defaults to `live`.
    fn served(&self) -> Vec<Environment> {
        if self.environments.is_empty() { vec![Environment::live()] } else { self.environments.clone() }
    }

    /// Returns true if the gate serves keys of this environment.
    pub(super) fn serves(&self, environment: &Environment) -> bool {
        self.served().contains(environment)
    }

    /// Returns the configured rules and the rules for the gate's own key management.
    fn all_rules(&self) -> Result<Vec<Rule>, ConfigError> {
        let mut rules = self.rules.clone();
        if let Some(path) = &self.management.path {
            rules.extend(self.management_rules(path).map_err(|error| error.in_member("management.path"))?);
        }
        Ok(rules)
    }

    /// Returns the rules for key management under a path.
    fn management_rules(&self, path: &str) -> Result<Vec<Rule>, ConfigError> {
        let closed = self.plans.iter().filter(|plan| !plan.manages_keys).map(|plan| plan.name.clone());
        let closed: Vec<PlanName> = closed.collect();
        let scopes = self.management.scope.iter().cloned().collect::<Vec<_>>();
        let scopes = if scopes.is_empty() { ScopeRule::Unnamed } else { ScopeRule::AnyOf(scopes) };
        let managing = |route: String, purpose| {
            let mut rule = Rule::new(&route)?;
            rule.scopes.clone_from(&scopes);
            rule.closed_to.clone_from(&closed);
            rule.purpose = purpose;
            Ok(rule)
        };
        let mut usage = Rule::new(&format!("GET {path}/me"))?;
        usage.purpose = Purpose::Usage;
        Ok(vec![
            managing(path.to_owned(), Purpose::Service)?,
            managing(format!("{path}/"), Purpose::Service)?,
            managing(format!("{path}/{{*rest}}"), Purpose::Service)?,
            managing(format!("DELETE {path}/{{*rest}}"), Purpose::Revocation)?,
            usage,
        ])
    }

    fn mounted(&self) -> Result<Option<Arc<dyn Mounted>>, ConfigError> {
        let Some(path) = &self.management.path else { return Ok(None) };
        if self.authority.is_none() {
            let problem =
                "keys are to be managed, and the gate has no back end that they could be written to";
            let expected = "hand one to the builder by `managed_store`, or by `authority` behind `store`";
            return Err(ConfigError::new(path, problem, expected).in_member("management.path"));
        }
        Ok(self.mounted.clone())
    }
}

fn by_name(plans: &[Plan]) -> HashMap<PlanName, Plan> {
    plans.iter().map(|plan| (plan.name.clone(), plan.clone())).collect()
}

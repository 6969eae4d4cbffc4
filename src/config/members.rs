//! The members of each table of the file, as the model's types declare them.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use crate::config::{
    AgreementConfig, AlertConfig, AlertWhen, AnonymousConfig, AttemptsConfig, BackEndsConfig, BudgetConfig,
    Config, CostTable, CreditHeadersConfig, CurrencyConfig, DefaultConfig, DemoConfig, ErrorFormatConfig,
    ErrorTextConfig, FormatConfig, GrantConfig, HashConfig, InFlightTable, InsecureConfig, KeepConfig,
    LedgerPolicyConfig, LifetimeConfig, LimiterPolicyConfig, ManagementConfig, NetworkConfig, OlderHash,
    PerUnitConfig, PlanConfig, PlanRuleConfig, ProxyConfig, QuotaTable, RequestIdConfig, RolloverConfig,
    RuleConfig, ScopesConfig, SourceConfig, StaleConfig, StorePolicyConfig, UsageConfig, WebhookConfig,
    WeightTable,
};

/// The place of a table in the file, in words, and the members of the table.
type Table = (&'static str, &'static [&'static str]);

/// Returns all tables of the file. The top level comes first.
pub(super) fn tables() -> [Table; 42] {
    [
        ("at the top of the file, above the first table", of::<Config>()),
        ("in `sources`", of::<SourceConfig>()),
        ("in `formats`", of::<FormatConfig>()),
        ("under `[hash]`", of::<HashConfig>()),
        ("in `hash.older`", of::<OlderHash>()),
        ("under `[default]`", of::<DefaultConfig>()),
        ("under `[[rules]]`", of::<RuleConfig>()),
        ("in the `cost` of a rule", of::<CostTable>()),
        ("in the `reserve` of a `cost`", of::<PerUnitConfig>()),
        ("in the `weight` of a rule", of::<WeightTable>()),
        ("in the `scope` of a rule", of::<ScopesConfig>()),
        ("under `[plans.NAME]`", of::<PlanConfig>()),
        ("under `[plans.NAME.rules.ROUTE]`", of::<PlanRuleConfig>()),
        ("in a quota", of::<QuotaTable>()),
        ("in an `in_flight`", of::<InFlightTable>()),
        ("in the `credits` of a plan", of::<GrantConfig>()),
        ("in the `rollover` of `credits`", of::<RolloverConfig>()),
        ("in the `budget` of a plan", of::<BudgetConfig>()),
        ("under `[plans.NAME.currencies.CURRENCY]`", of::<CurrencyConfig>()),
        ("in the `key_lifetime` of a plan", of::<LifetimeConfig>()),
        ("under `[agreements.NAME]`", of::<AgreementConfig>()),
        ("under `[[demo]]`", of::<DemoConfig>()),
        ("under `[[alerts]]`", of::<AlertConfig>()),
        ("in the `when` of an alert", of::<AlertWhen>()),
        ("under `[[webhooks]]`", of::<WebhookConfig>()),
        ("under `[management]`", of::<ManagementConfig>()),
        ("under `[usage]`", of::<UsageConfig>()),
        ("in the `keep` of `[usage]`", of::<KeepConfig>()),
        ("under `[anonymous]`", of::<AnonymousConfig>()),
        ("under `[attempts]`", of::<AttemptsConfig>()),
        ("in the `network` of `[attempts]`", of::<NetworkConfig>()),
        ("under `[back_ends]`", of::<BackEndsConfig>()),
        ("under `[back_ends.store]`", of::<StorePolicyConfig>()),
        ("in the `on_failure` of `[back_ends.store]`", of::<StaleConfig>()),
        ("under `[back_ends.limiter]`", of::<LimiterPolicyConfig>()),
        ("under `[back_ends.ledger]`", of::<LedgerPolicyConfig>()),
        ("under `[insecure]`", of::<InsecureConfig>()),
        ("under `[proxies]`", of::<ProxyConfig>()),
        ("under `[request_id]`", of::<RequestIdConfig>()),
        ("under `[credit_headers]`", of::<CreditHeadersConfig>()),
        ("under `[presentation]`", of::<ErrorFormatConfig>()),
        ("under `[errors.KIND]`", of::<ErrorTextConfig>()),
    ]
}

/// Returns the hint of an error about a member that belongs in another table. Returns an empty string if no table has
/// the member.
pub(super) fn elsewhere(member: &str) -> String {
    let tables = tables();
    let place = tables.iter().find(|(_, members)| members.contains(&member));
    place.map(|(place, _)| format!("`{member}` belongs {place}; here ")).unwrap_or_default()
}

/// Returns the members of one table.
fn of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut members: &'static [&'static str] = &[];
    // `MemberNames` records the member names that it is asked for, and always returns an error.
    drop(T::deserialize(MemberNames(&mut members)));
    members
}

struct MemberNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for MemberNames<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("the value is missing"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        members: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = members;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::tables;
    use crate::account::UNITS;
    use crate::denial::DenialKind;
    use crate::gate::Check;
    use crate::respond::placeholders;

    const PAGE: &str = include_str!("reference.md");

    /// The headings of the page for the tables, in the order of `tables`.
    const HEADINGS: [&str; 42] = [
        "## The top of the file",
        "## Sources",
        "## Formats",
        "## Hash",
        "A table of `hash.older`",
        "## Default",
        "## Rules",
        "### Cost",
        "### Reservation",
        "### Weight",
        "### Scope",
        "## Plans",
        "### Rules of a plan",
        "## Quotas",
        "## Requests in flight",
        "### Credits",
        "### Rollover",
        "### Budgets",
        "### Other currencies",
        "### Key lifetime",
        "## Agreements",
        "## Demo keys",
        "## Alerts",
        "### Conditions",
        "## Webhooks",
        "## Management",
        "## Usage",
        "### Retention",
        "## Anonymous requests",
        "## Attempts",
        "### Networks",
        "## Back ends",
        "### Policy for the store",
        "### Stale keys",
        "### Policy for the limiter",
        "### Policy for the ledger",
        "## Insecure channels",
        "## Proxies",
        "## Request ids",
        "## Credit headers",
        "## Presentation",
        "## Errors",
    ];

    /// Returns the first quoted word of each row of the first table after a heading.
    fn rows(heading: &str) -> Vec<&'static str> {
        let (_, behind) = PAGE.split_once(&format!("\n{heading}")).unwrap_or_else(|| panic!("no {heading}"));
        let table = behind.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        let rows = table.take_while(|line| line.starts_with('|'));
        rows.filter_map(|row| row.split('`').nth(1)).collect()
    }

    #[test]
    fn reference_page_lists_every_member() {
        for (heading, (_, members)) in HEADINGS.into_iter().zip(tables()) {
            let mut named = rows(heading);
            let mut members = members.to_vec();
            named.sort_unstable();
            members.sort_unstable();
            assert_eq!(named, members, "{heading}");
        }
    }

    #[test]
    fn reference_page_lists_every_word() {
        let kinds: Vec<_> = DenialKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(rows("### Kinds"), kinds);
        let checks: Vec<_> = Check::ALL.iter().map(|check| check.name()).collect();
        assert_eq!(rows("## Checks"), checks);
        for name in placeholders() {
            assert!(PAGE.contains(&format!("`{{{name}}}`")), "{name}");
        }
        for (unit, _) in UNITS {
            assert!(PAGE.contains(&format!("`{unit}`")), "{unit}");
        }
    }

    #[test]
    fn reference_page_lists_every_denial_kind() {
        for kind in DenialKind::ALL {
            let parent = kind.parent().map(|parent| format!("`{}`", parent.name())).unwrap_or_default();
            let row = format!("\n| `{}` | {} | {parent} | ", kind.name(), kind.status().as_u16());
            assert!(PAGE.contains(&row), "{row}");
        }
    }
}

//! The members of the file that are tables, lists of tables or tables by name.
//!
//! A derived `Deserialize` also reads a list as a table, by position, and its errors have no example. The shapes are
//! therefore checked before the file is deserialized.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::locate;
use crate::error::ConfigError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One table.
    Table,
    /// A list of tables.
    List,
    /// A table of tables, by name.
    Named,
    /// A table of other values, by name.
    Values,
}

/// The path of each member, its shape, and an example of one table. `*` matches any name.
const SHAPES: [(&str, Shape, &str); 38] = [
    ("sources", Shape::List, r#"{ header = "X-API-Key" }"#),
    ("formats", Shape::List, r#"{ prefix = "acme_", body = 32 }"#),
    ("hash", Shape::Table, r#"{ pepper = "env:PEPPER" }"#),
    ("hash.older", Shape::List, r#"{ scheme = "sha256" }"#),
    ("default", Shape::Table, "{ deny = true }"),
    ("rules", Shape::List, r#"{ route = "GET /v1/candles" }"#),
    ("quotas", Shape::Values, r#"{ burst = "10 per second" }"#),
    ("plans", Shape::Named, r#"{ quotas = ["60 per minute"] }"#),
    ("plans.*.rules", Shape::Named, r#"{ quotas = ["100 per day"] }"#),
    ("plans.*.budget", Shape::Table, r#"{ amount = 1000, every = "1day" }"#),
    ("plans.*.currencies", Shape::Named, r#"{ budget = { amount = 1000, every = "1day" } }"#),
    ("plans.*.currencies.*.budget", Shape::Table, r#"{ amount = 1000, every = "1day" }"#),
    ("plans.*.credits.rollover", Shape::Table, "{ most = 1000 }"),
    ("plans.*.caps", Shape::Values, "{ limit = 100 }"),
    ("plans.*.key_lifetime", Shape::Table, r#"{ default = "90days" }"#),
    ("agreements", Shape::Named, r#"{ url = "https://acme.example/terms" }"#),
    (
        "demo",
        Shape::List,
        r#"{ key = "acme_demo", id = "00000000-0000-4000-8000-000000000001", account = "demo", plan = "free" }"#,
    ),
    ("alerts", Shape::List, r#"{ when = { balance_below = "20%" } }"#),
    ("alerts.when", Shape::Table, r#"{ balance_below = "20%" }"#),
    ("webhooks", Shape::List, r#"{ url = "https://acme.example/alerts", secret = "env:WEBHOOK_SECRET" }"#),
    ("management", Shape::Table, r#"{ path = "/account/api-keys" }"#),
    ("usage", Shape::Table, r#"{ flush = "10s" }"#),
    ("usage.keep", Shape::Table, r#"{ hours = "60days" }"#),
    ("anonymous", Shape::Table, r#"{ plan = "anonymous" }"#),
    ("anonymous.network", Shape::Table, "{ ipv4 = 24, ipv6 = 48 }"),
    ("attempts", Shape::Table, r#"{ quota = "20 per minute" }"#),
    ("attempts.network", Shape::Table, "{ ipv4 = 24, ipv6 = 48 }"),
    ("back_ends", Shape::Table, r#"{ ledger = { timeout = "1s" } }"#),
    ("back_ends.store", Shape::Table, r#"{ timeout = "1s" }"#),
    ("back_ends.limiter", Shape::Table, r#"{ on_failure = "local" }"#),
    ("back_ends.ledger", Shape::Table, r#"{ timeout = "1s" }"#),
    ("insecure", Shape::Table, "{ refuse = true }"),
    ("proxies", Shape::Table, r#"{ trusted = ["10.0.0.0/8"] }"#),
    ("request_id", Shape::Table, r#"{ header = "X-Request-Id" }"#),
    ("credit_headers", Shape::Table, r#"{ cost = "X-Credits-Cost" }"#),
    ("presentation", Shape::Table, r#"{ realm = "acme" }"#),
    ("errors", Shape::Named, "{ status = 404 }"),
    ("errors.*.members", Shape::Values, r#"{ docs = "https://acme.example/docs" }"#),
];

/// Checks the shapes of a file that is valid TOML.
pub(super) fn check(text: &str, file: &str) -> Result<(), ConfigError> {
    // The caller has parsed the text and reported its errors.
    let Ok(top) = DeTable::parse(text) else { return Ok(()) };
    for (path, shape, example) in SHAPES {
        for (member, value) in members(top.get_ref(), path, "") {
            shape.check(&member, value, example, text).map_err(|error| error.in_file(file))?;
        }
    }
    Ok(())
}

/// Returns the members with this path, each with its name. A value that is not a table has no members.
fn members<'t>(table: &'t DeTable<'t>, path: &str, within: &str) -> Vec<(String, &'t Spanned<DeValue<'t>>)> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let named = table.iter().filter(|(name, _)| first == "*" || name.get_ref() == first);
    let named = named.map(|(name, value)| (format!("{within}{}", name.get_ref()), value));
    if rest.is_empty() {
        return named.collect();
    }
    let below = |(name, value): (String, &'t Spanned<DeValue<'t>>)| match value.get_ref() {
        DeValue::Table(table) => members(table, rest, &format!("{name}.")),
        DeValue::Array(items) => {
            let items = items.iter().enumerate();
            items
                .filter_map(|(place, item)| Some((place, item.get_ref().as_table()?)))
                .flat_map(|(place, table)| members(table, rest, &format!("{name}[{place}].")))
                .collect()
        }
        _ => Vec::new(),
    };
    named.flat_map(below).collect()
}

impl Shape {
    fn check(
        self,
        member: &str,
        value: &Spanned<DeValue<'_>>,
        example: &str,
        text: &str,
    ) -> Result<(), ConfigError> {
        let one = |(member, value): (String, &Spanned<DeValue<'_>>)| match value.get_ref() {
            DeValue::Table(_) => Ok(()),
            _ => {
                Err(refuse(&member, value, text, "expected a table", &format!("a table, as in `{example}`")))
            }
        };
        match (self, value.get_ref()) {
            (Self::List, DeValue::Array(items)) => {
                let items = items.iter().enumerate();
                items.map(|(place, item)| (format!("{member}[{place}]"), item)).try_for_each(one)
            }
            (Self::Named, DeValue::Table(items)) => items
                .iter()
                .map(|(name, item)| (format!("{member}.{}", name.get_ref()), item))
                .try_for_each(one),
            (Self::Table | Self::Values, DeValue::Table(_)) => Ok(()),
            (Self::List, _) => {
                let expected = format!("a list, as in `[{example}]`, or `[[{member}]]` for each table");
                Err(refuse(member, value, text, "expected a list of tables", &expected))
            }
            (Self::Named, _) => {
                let expected = format!("`[{member}.NAME]` for each, with members as in `{example}`");
                Err(refuse(member, value, text, "expected tables by name", &expected))
            }
            (Self::Table | Self::Values, _) => {
                let expected = format!("a table, as in `{example}`, or `[{member}]` once");
                Err(refuse(member, value, text, "expected one table", &expected))
            }
        }
    }
}

fn refuse(
    member: &str,
    value: &Spanned<DeValue<'_>>,
    text: &str,
    problem: &str,
    expected: &str,
) -> ConfigError {
    // A value under `hash` may contain a pepper, and one under `webhooks` a signing secret.
    let secret = ["hash", "webhooks"].iter().any(|path| member.starts_with(path));
    let written = text.get(value.span()).filter(|written| !secret && !written.contains('\n'));
    let written = written.unwrap_or_default().trim_matches(['"', '\'']);
    let (line, column) = locate::position(text, value.span().start);
    let error = ConfigError::new(written, problem, format!("write {expected}"));
    error.in_member(member).at_line(line).at_column(column)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{SHAPES, Shape};
    use crate::config::Config;

    /// Returns a file with a member in the form of its example.
    fn file(path: &str, shape: Shape, example: &str) -> String {
        let name = if path.starts_with("errors") { "unknown" } else { "name" };
        let path = path.replace('*', name);
        let is_list =
            |list: &str| SHAPES.iter().any(|(path, shape, _)| *path == list && *shape == Shape::List);
        match shape {
            Shape::List => format!("{path} = [{example}]"),
            Shape::Named => format!("{path}.{name} = {example}"),
            Shape::Table | Shape::Values => match path.split_once('.') {
                Some((list, member)) if is_list(list) => format!("{list} = [{{ {member} = {example} }}]"),
                _ => format!("{path} = {example}"),
            },
        }
    }

    #[test]
    fn errors_show_no_secret() {
        for text in ["webhooks = { secret = 'whsec_c2VjcmV0' }", "hash = 'whsec_c2VjcmV0'"] {
            let error = super::check(text, "acme.toml").unwrap_err().to_string();
            assert!(!error.contains("c2VjcmV0"), "{error}");
        }
    }

    #[test]
    fn examples_are_valid() {
        for (path, shape, example) in SHAPES {
            // Other members are required beside these.
            let required = match path {
                "plans.*.credits.rollover" => {
                    "plans.name.credits.amount = 1\nplans.name.credits.every = '1h'\n"
                }
                "anonymous.network" => "anonymous.plan = 'anonymous'\n",
                "attempts.network" => "attempts.quota = '20 per minute'\n",
                _ => "",
            };
            let text = required.to_owned() + &file(path, shape, example);
            super::check(&text, "acme.toml").unwrap();
            Config::deserialize(toml::Deserializer::parse(&text).unwrap()).unwrap();
        }
    }
}

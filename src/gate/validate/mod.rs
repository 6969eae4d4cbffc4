//! Validation of a gate's parts before they are assembled.
//!
//! Errors name members as the configuration file does.

mod alerts;
mod anonymous;
mod credits;
mod headers;
mod in_flight;
mod keys;
mod management;
mod networks;
mod plans;
mod rules;

use crate::error::ConfigError;
use crate::gate::GateBuilder;
use crate::key::KeySource;

pub(super) use in_flight::has_none as has_no_limit_in_flight;
pub(super) use plans::caps;
pub(super) use plans::warn_of_unreachable;

type Verdict = Result<(), ConfigError>;

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    keys::all(builder)?;
    headers::all(builder)?;
    rules::all(builder)?;
    plans::all(builder)?;
    credits::all(builder)?;
    networks::all(builder)?;
    anonymous::all(builder)?;
    if let Some(usage) = &builder.usage_options {
        usage.check().map_err(|error| error.in_member("usage"))?;
    }
    #[cfg(feature = "fleet")]
    builder.back_end_policies.check()?;
    management::all(builder)?;
    alerts::all(builder)
}

fn refuse(member: &str, value: &str, problem: &str, expected: &str) -> Verdict {
    Err(ConfigError::new(value, problem, expected).in_member(member))
}

/// Checks the name of a query parameter that has a cost or a limit. A request must be able to contain it. It must not
/// be a key source, because the handler would not see it.
fn parameter(name: &str, sources: &[KeySource]) -> Verdict {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#%+".contains(&byte)) {
        let expected = "write the decoded name, as in `limit`";
        return Err(ConfigError::new(name, "invalid name of a query parameter", expected));
    }
    if sources.iter().filter_map(KeySource::parameter).any(|source| source == name) {
        let problem = "a key is read from this query parameter, which cannot be a number as well";
        return Err(ConfigError::new(name, problem, "use another parameter, or remove that source"));
    }
    Ok(())
}

//! Validation of key sources, environments, formats, literals and hashers.

use crate::error::shortened;
use crate::gate::GateBuilder;
use crate::gate::validate::{Verdict, refuse};
use crate::key::KeyFormat;
use crate::key::LONGEST;
use crate::name::Environment;

pub(super) fn all(builder: &GateBuilder) -> Verdict {
    sources(builder)?;
    environments(&builder.environments)?;
    formats(builder)?;
    literals(builder)?;
    hashers(builder)
}

fn sources(builder: &GateBuilder) -> Verdict {
    if builder.sources.is_empty() {
        let problem = "the gate has no place to read a key from";
        return refuse("sources", "", problem, "name one, as in `sources = [{ header = \"X-API-Key\" }]`");
    }
    for (place, source) in builder.sources.iter().enumerate() {
        if let Some(other) = builder.sources[..place].iter().position(|earlier| earlier.reads_as(source)) {
            let member = format!("sources[{place}]");
            let verdict = refuse(&member, &source.to_string(), "duplicate source", "list each once");
            return verdict.map_err(|error| error.beside(format!("sources[{other}]")));
        }
    }
    Ok(())
}

fn environments(named: &[Environment]) -> Verdict {
    for (place, environment) in named.iter().enumerate() {
        let member = format!("environments[{place}]");
        if environment.as_str().is_empty() {
            return refuse(&member, "", "the environment name is empty", "write one as in `live`");
        }
        if let Some(other) = named[..place].iter().position(|earlier| earlier == environment) {
            let value = environment.as_str();
            let verdict = refuse(&member, value, "duplicate environment", "list each once");
            return verdict.map_err(|error| error.beside(format!("environments[{other}]")));
        }
    }
    Ok(())
}

fn formats(builder: &GateBuilder) -> Verdict {
    if builder.formats.is_empty() && builder.literals.is_empty() {
        let expected = "define a format, as in `formats = [{ prefix = \"acme_\", body = 32 }]`";
        return refuse("formats", "", "there is no key format", expected);
    }
    for (place, format) in builder.formats.iter().enumerate() {
        let environment = format.environment();
        if !builder.serves(environment) {
            let member = format!("formats[{place}].environment");
            let problem = "the environment of this format is not configured";
            let expected = "add it to `environments`, or use one that is listed there";
            return refuse(&member, environment.as_str(), problem, expected);
        }
        if let Some(earlier) = builder.formats[..place].iter().position(|earlier| is_idle(format, earlier)) {
            let problem = format!("`formats[{earlier}]` already accepts all keys of this format");
            let expected = "remove one of them, or list the more specific format first";
            let verdict = refuse(&format!("formats[{place}]"), format.prefix(), &problem, expected);
            return verdict.map_err(|error| error.beside(format!("formats[{earlier}]")));
        }
        if format.is_issued() && !format.can_issue() {
            let problem = format!(
                "an issued key would have {:.0} bits of randomness, and 128 are required",
                format.bits().floor()
            );
            let expected = format!(
                "write {} characters or more, or `issue = false` where such keys are only accepted",
                format.least_issued()
            );
            return refuse(&format!("formats[{place}].body"), &format.body_text(), &problem, &expected);
        }
    }
    Ok(())
}

/// Returns true if a format has no effect after an earlier one. Its keys are already accepted by the earlier format,
/// and no key is issued by it. Two formats of the same shape are always rejected, because the environment of a key
/// would be ambiguous.
fn is_idle(format: &KeyFormat, earlier: &KeyFormat) -> bool {
    let issues =
        format.can_issue() && (format.environment() != earlier.environment() || !earlier.can_issue());
    earlier.covers(format) && (!issues || format.covers(earlier))
}

fn literals(builder: &GateBuilder) -> Verdict {
    for (place, literal) in builder.literals.iter().enumerate() {
        let member = format!("demo[{place}].key");
        if literal.is_empty() || !literal.bytes().all(|byte| byte.is_ascii_graphic()) {
            let expected = "write visible ASCII, as in `acme_demo`";
            return refuse(&member, literal, "invalid literal key", expected);
        }
        if literal.len() > LONGEST {
            let expected = format!("write {LONGEST} characters at the most");
            return refuse(&member, &shortened(literal), "the key is too long", &expected);
        }
    }
    Ok(())
}

fn hashers(builder: &GateBuilder) -> Verdict {
    for (place, hasher) in builder.hashers.iter().enumerate().skip(1) {
        if builder.hashers[..place].iter().any(|newer| newer.is_same(hasher)) {
            let member = format!("hash.older[{}]", place - 1);
            let expected = "remove it: the same hash would be looked up twice";
            return refuse(&member, hasher.name(), "duplicate hash scheme", expected);
        }
    }
    Ok(())
}

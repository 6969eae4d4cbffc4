//! The gate's key sources as OpenAPI security schemes.

use serde_json::{Map, Value, json};

use crate::gate::Core;
use crate::key::KeySource;

/// Returns the security schemes of a gate, by name.
pub(super) fn all(core: &Core) -> Map<String, Value> {
    let described = described(core);
    names(core)
        .into_iter()
        .zip(&core.sources)
        .map(|(name, source)| (name, scheme(source, &described)))
        .collect()
}

/// Returns the `security` of an operation that needs a key in any one of the sources.
pub(super) fn required(core: &Core) -> Value {
    names(core).into_iter().map(|name| json!({ name: [] })).collect()
}

/// Returns the `security` of an operation that needs no key, and reads one in any of the sources.
pub(super) fn optional(core: &Core) -> Value {
    names(core).into_iter().map(|name| json!({ name: [] })).chain([json!({})]).collect()
}

/// Returns a unique name for each source that is valid as a component's name.
fn names(core: &Core) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(core.sources.len());
    for source in &core.sources {
        let plain = plain(source);
        // Two parameters may differ only in characters that a component's name cannot contain.
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let mut free = std::iter::once(plain.clone()).chain(numbered).filter(|name| !names.contains(name));
        let name = free.next().unwrap_or_default();
        names.push(name);
    }
    names
}

/// Returns a source in the characters that a component's name can contain. The names of parameters are case-sensitive;
/// headers and schemes are not.
fn plain(source: &KeySource) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    let plain: String = source.to_string().chars().map(letter).collect();
    if source.parameter().is_some() { plain } else { plain.to_ascii_lowercase() }
}

fn scheme(source: &KeySource, description: &str) -> Value {
    match (source.parameter(), source.vary(), source.header_name()) {
        (Some(parameter), ..) => {
            json!({ "type": "apiKey", "in": "query", "name": parameter, "description": description })
        }
        (None, Some(_), Some(header)) => {
            json!({ "type": "apiKey", "in": "header", "name": header.as_str(), "description": description })
        }
        _ => {
            json!({ "type": "http", "scheme": source.challenge_scheme().to_ascii_lowercase(), "description": description })
        }
    }
}

/// Returns a description of the keys: the prefixes with which they begin.
fn described(core: &Core) -> String {
    let prefixes = core.key_prefixes();
    match prefixes.as_slice() {
        [] => "An API key.".to_owned(),
        prefixes => format!("An API key: it begins with {}.", prefixes.join(" or ")),
    }
}

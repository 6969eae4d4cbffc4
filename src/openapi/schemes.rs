//! Where keys stand, as security schemes.

use serde_json::{Map, Value, json};

use crate::KeySource;
use crate::gate::Core;

/// The schemes of a gate, by name.
pub(super) fn all(core: &Core) -> Map<String, Value> {
    core.sources.iter().map(|source| (name(source), scheme(source, &described(core)))).collect()
}

/// What an operation behind the gate asks for: a key in one of the places.
pub(super) fn required(core: &Core) -> Value {
    core.sources.iter().map(|source| json!({ name(source): [] })).collect()
}

/// A name that a component may have.
fn name(source: &KeySource) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    source.to_string().chars().map(plain).collect::<String>().to_ascii_lowercase()
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

/// What keys look like.
fn described(core: &Core) -> String {
    let prefixes = core.key_prefixes();
    match prefixes.as_slice() {
        [] => "An API key.".to_owned(),
        prefixes => format!("An API key: it begins with {}.", prefixes.join(" or ")),
    }
}

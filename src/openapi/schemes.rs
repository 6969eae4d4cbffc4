//! Where keys stand, as security schemes.

use serde_json::{Map, Value, json};

use crate::gate::Core;
use crate::key::KeySource;

/// The schemes of a gate, by name.
pub(super) fn all(core: &Core) -> Map<String, Value> {
    let described = described(core);
    names(core)
        .into_iter()
        .zip(&core.sources)
        .map(|(name, source)| (name, scheme(source, &described)))
        .collect()
}

/// What an operation behind the gate asks for: a key in one of the places.
pub(super) fn required(core: &Core) -> Value {
    names(core).into_iter().map(|name| json!({ name: [] })).collect()
}

/// A name for each source, no two alike, such as a component may have.
fn names(core: &Core) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(core.sources.len());
    for source in &core.sources {
        let plain = plain(source);
        // What a component's name has no letter for may be all that two parameters differ in.
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let mut free = std::iter::once(plain.clone()).chain(numbered).filter(|name| !names.contains(name));
        let name = free.next().unwrap_or_default();
        names.push(name);
    }
    names
}

/// A source in the letters of a component's name. Parameters are told apart by case, schemes are not.
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

/// What keys look like.
fn described(core: &Core) -> String {
    let prefixes = core.key_prefixes();
    match prefixes.as_slice() {
        [] => "An API key.".to_owned(),
        prefixes => format!("An API key: it begins with {}.", prefixes.join(" or ")),
    }
}

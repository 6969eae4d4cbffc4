//! Functions that add to a document.

use serde_json::{Map, Value, json};

/// Puts members into an object within a document. A new member replaces a present one of the same name.
pub(super) fn members(document: &mut Value, path: &[&str], members: Map<String, Value>) {
    let mut place = document;
    for name in path {
        let Some(object) = place.as_object_mut() else { return };
        place = object.entry(*name).or_insert_with(|| json!({}));
    }
    if let Some(object) = place.as_object_mut().filter(|_| !members.is_empty()) {
        object.extend(members);
    }
}

/// Adds a response to the present description of its status. Adds the headers and the media types. If both describe a
/// media type, the schema accepts either.
pub(super) fn response(responses: &mut Map<String, Value>, status: &str, ours: Value) {
    let Some(theirs) = responses.get_mut(status) else {
        responses.insert(status.to_owned(), ours);
        return;
    };
    if theirs.get("$ref").is_some() {
        return;
    }
    for part in ["headers", "content"] {
        for (name, value) in ours.get(part).and_then(Value::as_object).into_iter().flatten() {
            let known = theirs.get(part).and_then(|known| known.get(name)).cloned();
            let merged = match known {
                Some(known) if part == "content" => media(known, value),
                Some(known) => known,
                None => value.clone(),
            };
            members(theirs, &[part], Map::from_iter([(name.clone(), merged)]));
        }
    }
}

fn media(mut theirs: Value, ours: &Value) -> Value {
    let either = match (theirs.get("schema"), &ours["schema"]) {
        (Some(schema), added) if includes(schema, added) => schema.clone(),
        (Some(schema), added) => json!({ "anyOf": [schema, added] }),
        (None, added) => added.clone(),
    };
    theirs["schema"] = either;
    // A media type has one example or several, not both.
    if theirs.get("example").is_none() {
        let examples = ours["examples"].as_object().cloned().unwrap_or_default();
        members(&mut theirs, &["examples"], examples);
    }
    theirs
}

/// Returns true if a schema equals the added one, or is an `anyOf` that contains it.
fn includes(schema: &Value, added: &Value) -> bool {
    let among = |any: &Value| any.as_array().is_some_and(|any| any.contains(added));
    schema == added || schema.get("anyOf").is_some_and(among)
}

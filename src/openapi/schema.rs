//! JSON schemas derived from example values.

use serde_json::{Map, Value, json};

/// Returns the schema of a value: its type, and the schemas of the values in it.
pub(super) fn of(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(number) if number.is_f64() => json!({ "type": "number" }),
        Value::Number(_) => json!({ "type": "integer" }),
        Value::String(_) => json!({ "type": "string" }),
        Value::Array(items) => match items.iter().map(of).reduce(|one, other| either(&one, &other)) {
            Some(items) => json!({ "type": "array", "items": items }),
            None => json!({ "type": "array" }),
        },
        Value::Object(members) => {
            let properties: Map<_, _> =
                members.iter().map(|(name, value)| (name.clone(), of(value))).collect();
            let required: Vec<&String> = members.keys().collect();
            json!({ "type": "object", "properties": properties, "required": required })
        }
    }
}

/// Returns a schema that accepts the values of both. For two objects, it has the members of either, and requires the
/// members that both require.
pub(super) fn either(one: &Value, other: &Value) -> Value {
    if one == other {
        return one.clone();
    }
    let (Some(properties), Some(others)) = (one["properties"].as_object(), other["properties"].as_object())
    else {
        return json!({ "anyOf": [one, other] });
    };
    let mut all = properties.clone();
    for (name, schema) in others {
        let merged = properties.get(name).map_or_else(|| schema.clone(), |known| either(known, schema));
        all.insert(name.clone(), merged);
    }
    let needed = |schema: &Value| schema["required"].as_array().cloned().unwrap_or_default();
    let required: Vec<Value> = needed(one).into_iter().filter(|name| needed(other).contains(name)).collect();
    json!({ "type": "object", "properties": all, "required": required })
}

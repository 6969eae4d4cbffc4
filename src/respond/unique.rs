//! A check for JSON objects that have a member twice. A JSON reader keeps the last one and reports nothing.

use std::collections::HashSet;

/// Returns the first member name that occurs twice in an object of this JSON.
pub(super) fn repeated(json: &str) -> Option<String> {
    // The member names of each object around the current place. The set of an enclosing list stays empty.
    let mut around: Vec<HashSet<String>> = Vec::new();
    let mut rest = json;
    while let Some(place) = rest.find(['{', '[', '}', ']', '"']) {
        let (mark, behind) = rest[place..].split_at(1);
        rest = behind;
        match mark {
            "{" | "[" => around.push(HashSet::new()),
            "}" | "]" => drop(around.pop()),
            _ => {
                let end = end_of_text(behind)?;
                rest = behind.get(end + 1..)?;
                if rest.trim_start().starts_with(':') {
                    let name: String = serde_json::from_str(&format!("\"{}\"", &behind[..end])).ok()?;
                    if !around.last_mut()?.insert(name.clone()) {
                        return Some(name);
                    }
                }
            }
        }
    }
    None
}

/// Returns the place at which a JSON string ends, whose opening quote was already read: the next quote that is not
/// escaped.
fn end_of_text(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::repeated;

    #[test]
    fn duplicate_names_count_per_object() {
        let rows = [
            (r#"{"a": 1, "b": 2}"#, None),
            (r#"{"a": {"a": 1}, "b": {"a": 1}}"#, None),
            (r#"[{"a": 1}, {"a": "a"}, "a", "a"]"#, None),
            (r#"{"a": ["b", "b"], "b": "a\"a"}"#, None),
            (r#"{"a": "\\", "b": "}, {\"a\": 1"}"#, None),
            (r#"{"a": 1, "a": 2}"#, Some("a")),
            (r#"{"a": {"b": [{"c": 1, "d" : {}, "c": 2}]}}"#, Some("c")),
            (r#"{"a": "\\\"", "a" : 1}"#, Some("a")),
            (r#"{"a": 1, "\u0061": 2}"#, Some("a")),
            ("{", None),
            ("}}", None),
            ("\"a", None),
        ];
        for (json, name) in rows {
            assert_eq!(repeated(json).as_deref(), name, "{json}");
        }
    }
}

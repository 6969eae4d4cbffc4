//! Strict reading of request bodies: each member occurs at most once and has its type, and there are no other members.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::error::ConfigError;
use crate::manage::ManageError;
use crate::words;

/// The members of a JSON object.
#[derive(Debug)]
pub(super) struct Members {
    /// The members that no reader has taken yet.
    left: BTreeMap<String, Value>,
    /// The names of the members that a reader has asked for.
    known: Vec<String>,
}

/// A member of a request: absent, `null` or a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MemberValue<T> {
    Absent,
    Null,
    Value(T),
}

impl Members {
    /// Reads an object.
    pub(super) fn read(body: &[u8]) -> Result<Self, ManageError> {
        let refuse = |problem: String| ManageError::invalid("body", problem);
        if body.is_empty() {
            return Err(refuse(r#"is empty: send a JSON object, as in `{"name": "backend"}`"#.into()));
        }
        // The reader's own message would repeat the input.
        let unreadable = |error: serde_json::Error| match error.classify() {
            Category::Data => refuse(r#"must be a JSON object, as in `{"name": "backend"}`"#.into()),
            _ => refuse(format!("is not valid JSON: see line {}, column {}", error.line(), error.column())),
        };
        let pairs: Pairs = serde_json::from_slice(body).map_err(unreadable)?;
        let mut members = BTreeMap::new();
        for (name, value) in pairs.0 {
            let value = strict(&name, &value, DEEPEST)?;
            if members.contains_key(&name) {
                return Err(ManageError::invalid(shown(&name), "is given twice"));
            }
            members.insert(name, value);
        }
        Ok(Self { left: members, known: Vec::new() })
    }

    /// Returns an error that names a member that no reader has taken, if there is one.
    pub(super) fn end(self) -> Result<(), ManageError> {
        let Some(unknown) = self.left.into_keys().next() else { return Ok(()) };
        let expected = words::one_of(&unknown, self.known.iter().map(String::as_str));
        let problem = format!("is not a member that can be set; {expected}");
        Err(ManageError::invalid(shown(&unknown), problem))
    }

    fn take(&mut self, name: &str) -> MemberValue<Value> {
        self.known.push(name.to_owned());
        match self.left.remove(name) {
            None => MemberValue::Absent,
            Some(Value::Null) => MemberValue::Null,
            Some(value) => MemberValue::Value(value),
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ManageError> {
        match self.take(name) {
            MemberValue::Absent => Ok(None),
            MemberValue::Value(Value::String(text)) => Ok(Some(text)),
            _ => Err(ManageError::invalid(name, "must be a string")),
        }
    }

    /// Takes an integer from 0 to `most`.
    pub(super) fn number(&mut self, name: &str, most: u64) -> Result<Option<u64>, ManageError> {
        match self.take(name) {
            MemberValue::Absent => Ok(None),
            MemberValue::Value(Value::Number(number))
                if number.as_u64().is_some_and(|number| number <= most) =>
            {
                Ok(number.as_u64())
            }
            _ => Err(ManageError::invalid(name, format!("must be a whole number from 0 to {most}"))),
        }
    }

    /// Takes a string and parses it.
    pub(super) fn parsed<T: FromStr>(
        &mut self,
        name: &str,
        form: &str,
    ) -> Result<MemberValue<T>, ManageError> {
        let refuse = || ManageError::invalid(name, format!("must be {form}"));
        match self.take(name) {
            MemberValue::Absent => Ok(MemberValue::Absent),
            MemberValue::Null => Ok(MemberValue::Null),
            MemberValue::Value(Value::String(text)) => {
                text.parse().map(MemberValue::Value).map_err(|_| refuse())
            }
            MemberValue::Value(_) => Err(refuse()),
        }
    }

    /// Takes a list of strings and parses each.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, ConfigError>,
    ) -> Result<MemberValue<Vec<T>>, ManageError> {
        let refuse = |problem: String| ManageError::invalid(name, problem);
        let items = match self.take(name) {
            MemberValue::Absent => return Ok(MemberValue::Absent),
            MemberValue::Null => return Ok(MemberValue::Null),
            MemberValue::Value(Value::Array(items)) => items,
            MemberValue::Value(_) => return Err(refuse("must be a list of strings".into())),
        };
        let item = |item: &Value| match item {
            // Do not repeat the input: it may be long, or a key.
            Value::String(text) => parse(text)
                .map_err(|error| refuse(format!("is invalid: {}; {}", error.problem(), error.expected()))),
            _ => Err(refuse("must be a list of strings".into())),
        };
        items.iter().map(item).collect::<Result<_, _>>().map(MemberValue::Value)
    }

    pub(super) fn table(&mut self, name: &str) -> Result<Option<BTreeMap<String, String>>, ManageError> {
        let refuse = || ManageError::invalid(name, "must be an object whose members are strings");
        let members = match self.take(name) {
            MemberValue::Absent => return Ok(None),
            MemberValue::Value(Value::Object(members)) => members,
            _ => return Err(refuse()),
        };
        let text = |(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            _ => Err(refuse()),
        };
        members.into_iter().map(text).collect::<Result<_, _>>().map(Some)
    }
}

/// The members of an object in their order, including duplicates.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> serde::de::Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// The maximum depth of objects within a member. Metadata has depth 1, and no member is deeper.
const DEEPEST: usize = 1;

/// Returns a member's value, and rejects duplicate members in its objects.
fn strict(name: &str, raw: &RawValue, deepest: usize) -> Result<Value, ManageError> {
    if raw.get().starts_with('{') {
        // Each level has a parser of its own, and none of these parsers knows its depth.
        let Some(deeper) = deepest.checked_sub(1) else {
            return Err(ManageError::invalid(shown(name), "must not contain nested objects"));
        };
        let pairs: Pairs = serde_json::from_str(raw.get()).map_err(|_| unreadable(name))?;
        let mut members = serde_json::Map::new();
        for (inner, value) in pairs.0 {
            // Report an error within a member with the name of that member.
            let value = strict(name, &value, deeper)?;
            if members.insert(inner, value).is_some() {
                return Err(ManageError::invalid(shown(name), "must not contain a member twice"));
            }
        }
        return Ok(Value::Object(members));
    }
    serde_json::from_str(raw.get()).map_err(|_| unreadable(name))
}

fn unreadable(name: &str) -> ManageError {
    ManageError::invalid(shown(name), "cannot be read")
}

/// Returns a client's member name, shortened for an error message.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

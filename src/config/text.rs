//! Types for values that the file writes as text.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};

use crate::error::ConfigError;

/// Separates the value, the problem and the remedy of an error in one message. The deserializer's errors carry only
/// text.
const PART: char = '\u{1f}';

/// Returns the value, the problem and the remedy in a message that [`fault_error`] wrote, and `None` for any other message.
pub(super) fn parts_of_fault(message: &str) -> Option<(&str, &str, &str)> {
    let (value, rest) = message.split_once(PART)?;
    let (problem, expected) = rest.split_once(PART)?;
    Some((value, problem, expected))
}

fn fault_error<E: Error>(fault: &ConfigError) -> E {
    let value = fault.value().replace(PART, "\u{fffd}");
    E::custom(format_args!("{value}{PART}{}{PART}{}", fault.problem(), fault.expected()))
}

/// A value that is written as text, such as a quota or a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<T>(pub T);

impl<'de, T: FromStr<Err = ConfigError>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<T: FromStr<Err = ConfigError>> Visitor<'_> for Reader<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(Text).map_err(|fault| fault_error(&fault))
            }
        }

        deserializer.deserialize_str(Reader(PhantomData))
    }
}

/// A value that is written as a number, as text or as a table. A form whose type is [`Never`] is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OneOf<N, T, M> {
    /// A number.
    Number(N),
    /// A text.
    Text(T),
    /// A table.
    Table(M),
}

/// The description of one form of a value, for error messages. It is empty if the form is not accepted.
pub trait Written {
    /// The description as a noun phrase, as in "a quota as in `60 per minute`".
    const HOW: &'static str;
}

/// A type without values, for a form that is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Never {}

/// The error of a form that is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTaken;

/// The error of a parser that rejects a text: either an error of its own, or only that text is not accepted.
pub trait Refusal {
    /// Returns the parser's own error, or `None` if only the accepted forms are to be named.
    fn fault(self) -> Option<ConfigError>;
}

impl Refusal for ConfigError {
    fn fault(self) -> Option<ConfigError> {
        Some(self)
    }
}

impl Refusal for NotTaken {
    fn fault(self) -> Option<ConfigError> {
        None
    }
}

impl Refusal for Infallible {
    fn fault(self) -> Option<ConfigError> {
        match self {}
    }
}

impl Written for Never {
    const HOW: &'static str = "";
}

impl Written for u32 {
    const HOW: &'static str = "a whole number from 0 to 4294967295";
}

impl Written for u64 {
    const HOW: &'static str = "a whole number from 0 to 9223372036854775807";
}

impl Written for usize {
    const HOW: &'static str = "a whole number";
}

impl TryFrom<i64> for Never {
    type Error = NotTaken;

    fn try_from(_: i64) -> Result<Self, Self::Error> {
        Err(NotTaken)
    }
}

impl FromStr for Never {
    type Err = NotTaken;

    fn from_str(_: &str) -> Result<Self, Self::Err> {
        Err(NotTaken)
    }
}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("invalid value"))
    }
}

struct OneOfReader<N, T, M>(PhantomData<(N, T, M)>);

impl<'de, N, T, M> Visitor<'de> for OneOfReader<N, T, M>
where
    N: TryFrom<i64> + Written,
    T: FromStr<Err: Refusal> + Written,
    M: Deserialize<'de> + Written,
{
    type Value = OneOf<N, T, M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways: Vec<_> = [N::HOW, T::HOW, M::HOW].into_iter().filter(|how| !how.is_empty()).collect();
        f.write_str(&ways.join(", or "))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        let refuse = |_| E::invalid_value(Unexpected::Signed(number), &self);
        number.try_into().map(OneOf::Number).map_err(refuse)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map(OneOf::Text).map_err(|refusal: T::Err| match refusal.fault() {
            Some(fault) => fault_error(&fault),
            None => E::invalid_type(Unexpected::Str(text), &self),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        if M::HOW.is_empty() {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        }
        M::deserialize(MapAccessDeserializer::new(map)).map(OneOf::Table)
    }
}

impl<'de, N, T, M> Deserialize<'de> for OneOf<N, T, M>
where
    N: TryFrom<i64> + Written,
    T: FromStr<Err: Refusal> + Written,
    M: Deserialize<'de> + Written,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOfReader(PhantomData))
    }
}

/// A network: an address with a prefix length and without host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub ipnet::IpNet);

impl FromStr for Network {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::network::parse_network(text).map(Self)
    }
}

/// A duration, such as `90s`, `1h` or `30 days`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub std::time::Duration);

impl FromStr for Span {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The parser takes `M` for a month, and `m` for a minute.
        if text.split(|letter: char| !letter.is_alphabetic()).any(|unit| unit == "M") {
            let problem = "the unit `M` is ambiguous: month or minute";
            return Err(ConfigError::new(text, problem, "write `m` for minutes, or days as in `30days`"));
        }
        humantime::parse_duration(text).map(Self).map_err(|error| {
            // The parser's own messages about units contain a remedy.
            let reason = match error {
                humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
                    "the unit is missing".to_owned()
                }
                humantime::DurationError::UnknownUnit { .. } => "it has an unknown unit of time".to_owned(),
                other => other.to_string(),
            };
            let problem = format!("failed to read a time since {reason}");
            ConfigError::new(text, problem, "write it as in `90s`, `1h` or `30days`")
        })
    }
}

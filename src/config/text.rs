//! Values that are written as text and parsed as they are read.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::ConfigError;

/// A value that is written as text, such as a quota or a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<T>(pub T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Reader<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(Text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Reader(PhantomData))
    }
}

/// A value that is written as a number, as text or as a table; each only where its type is not [`Never`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OneOf<N, T, M> {
    /// A number.
    Number(N),
    /// Text.
    Text(T),
    /// A table.
    Table(M),
}

/// No value: this way of writing is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Never {}

const OTHERWISE: &str = "this is not how the member is written; see its description";

impl TryFrom<i64> for Never {
    type Error = &'static str;

    fn try_from(_: i64) -> Result<Self, Self::Error> {
        Err(OTHERWISE)
    }
}

impl FromStr for Never {
    type Err = &'static str;

    fn from_str(_: &str) -> Result<Self, Self::Err> {
        Err(OTHERWISE)
    }
}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(OTHERWISE))
    }
}

impl<'de, N, T, M> Deserialize<'de> for OneOf<N, T, M>
where
    N: TryFrom<i64, Error: fmt::Display>,
    T: FromStr<Err: fmt::Display>,
    M: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<N, T, M>(PhantomData<(N, T, M)>);

        impl<'de, N, T, M> Visitor<'de> for Reader<N, T, M>
        where
            N: TryFrom<i64, Error: fmt::Display>,
            T: FromStr<Err: fmt::Display>,
            M: Deserialize<'de>,
        {
            type Value = OneOf<N, T, M>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a string or a table, as the member's description says")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                number.try_into().map(OneOf::Number).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(OneOf::Text).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                M::deserialize(MapAccessDeserializer::new(map)).map(OneOf::Table)
            }
        }

        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// A network: an address with a prefix length, and no host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub ipnet::IpNet);

impl FromStr for Network {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::parse_network(text).map(Self)
    }
}

/// A time, such as `90s`, `1h` or `30 days`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub std::time::Duration);

impl FromStr for Span {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self).map_err(|error| {
            let problem = format!("failed to read a time since {error}");
            ConfigError::new(text, problem, "write it as in `90s`, `1h` or `30days`")
        })
    }
}

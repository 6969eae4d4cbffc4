//! The five providers.

use axum::Router;

use crate::{backquant, kwery, quantconomy, quantdata, vectrade};

/// A provider. Its configuration file defines the gate. Its routes do not handle keys.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) name: &'static str,
    /// The default port on 127.0.0.1.
    pub(crate) port: u16,
    /// Its configuration file.
    pub(crate) config: &'static str,
    /// Accounts, keys and requests to try, as JSON.
    pub(crate) samples: &'static str,
    /// Returns the service behind the gate.
    pub(crate) routes: fn() -> Router,
}

macro_rules! provider {
    ($name:ident, $port:literal) => {
        Provider {
            name: stringify!($name),
            port: $port,
            config: include_str!(concat!(stringify!($name), ".toml")),
            samples: include_str!(concat!("samples/", stringify!($name), ".json")),
            routes: $name::routes,
        }
    };
}

pub(crate) static PROVIDERS: [Provider; 5] = [
    provider!(backquant, 4101),
    provider!(quantconomy, 4102),
    provider!(vectrade, 4103),
    provider!(quantdata, 4104),
    provider!(kwery, 4105),
];

pub(crate) fn named(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

pub(crate) fn names() -> String {
    PROVIDERS.each_ref().map(|provider| provider.name).join(", ")
}

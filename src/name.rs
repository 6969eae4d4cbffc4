//! Name types: shared strings that are cheap to clone and that the compiler keeps apart.
//!
//! Each type is made from text by `From`. A map with such a key is searched by `&str`.
//!
//! # Example
//!
//! ```
//! use std::collections::HashMap;
//!
//! use tollgate::Account;
//! use tollgate::name::{AccountId, Environment, Scope};
//!
//! let account = Account::new("acme", "pro");
//! assert_eq!((account.id.as_str(), account.plan.as_str()), ("acme", "pro"));
//!
//! let mut seats: HashMap<AccountId, u32> = HashMap::new();
//! seats.insert(account.id.clone(), 3);
//! assert_eq!(seats.get("acme"), Some(&3));
//!
//! let scope: Scope = "candles:read".into();
//! assert_eq!(scope.to_string(), "candles:read");
//! assert_eq!(Environment::live(), Environment::from("live"));
//! ```
//!
//! # Overview
//!
//! - [`AccountId`] and [`PlanName`]: identify an account and its plan.
//! - [`Scope`]: a permission of a key.
//! - [`Environment`]: separates keys such as `live` and `test`.
//! - [`Agreement`]: an agreement that an account may have to sign.
//! - [`PoolName`]: a pool from which several keys draw.

use std::sync::LazyLock;

/// Declares a type for a shared string.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// The id of an account, which owns keys: a person, an organisation, or anything else that the service calls an
    /// account.
    AccountId
}
name_type! {
    /// The name of a plan.
    PlanName
}
name_type! {
    /// The name of an agreement that an account may have to sign.
    Agreement
}
name_type! {
    /// A permission of a key, such as `quotes:read`. Scopes are not declared: a scope that no rule names grants
    /// nothing.
    Scope
}
name_type! {
    /// The environment of a key, such as `live` or `test`. A gate serves the environments that are configured. A key of
    /// another environment is denied as unknown.
    Environment
}
name_type! {
    /// The name of a pool that several keys draw from.
    PoolName
}

impl Scope {
    /// Returns true if a challenge can contain the scope: a `scope-token` (RFC 6750, section 3).
    pub(crate) fn is_token(&self) -> bool {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        !self.0.is_empty() && self.0.bytes().all(fits)
    }
}

impl Environment {
    /// Returns the default environment of keys, `live`.
    pub fn live() -> Self {
        /// Shared, because most records use it and the comparison of one shared string reads no bytes.
        static LIVE: LazyLock<Environment> = LazyLock::new(|| Environment::from("live"));
        LIVE.clone()
    }
}

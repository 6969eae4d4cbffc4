//! Names that are compared and never computed with: cheap to clone, not to be mixed up.

use std::sync::LazyLock;

/// A shared string under a type of its own.
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
    /// Who holds a key: a person, an organisation, whatever the service calls an account.
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
    /// What a key may be used for, such as `quotes:read`. Scopes are open: a scope that no rule knows grants nothing.
    Scope
}
name_type! {
    /// Where a key belongs, such as `live` or `test`. A gate serves the environments that it names, and a key of
    /// another reads as unknown.
    Environment
}
name_type! {
    /// The name of a pool that several keys draw from.
    PoolName
}

impl Scope {
    /// Returns whether a challenge can name it: a `scope-token` (RFC 6750, section 3).
    pub(crate) fn is_token(&self) -> bool {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        !self.0.is_empty() && self.0.bytes().all(fits)
    }
}

impl Environment {
    /// The environment of keys for which none is said: `live`.
    pub fn live() -> Self {
        /// Shared by all: most records name it, and comparing what is the same string reads neither.
        static LIVE: LazyLock<Environment> = LazyLock::new(|| Environment::from("live"));
        LIVE.clone()
    }
}

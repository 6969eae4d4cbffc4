//! The author of a change.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::ConfigError;
use crate::key::KeyId;

/// The author of a change: the operator, a user who is signed in to the service, or the holder of a key.
///
/// # Example
///
/// ```
/// use tollgate::audit::Actor;
///
/// let actor = Actor::operator("alice").at("203.0.113.9".parse().unwrap());
/// assert_eq!(actor.name(), Some("alice"));
/// assert_eq!(Actor::user("user-17").user_id(), Some("user-17"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    name: Option<Arc<str>>,
    user: Option<Arc<str>>,
    key: Option<KeyId>,
    address: Option<IpAddr>,
}

impl Actor {
    /// Creates the actor for a person or a program that operates the service.
    pub fn operator(name: &str) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Creates the actor for a user who is signed in to the service, as on a page where customers manage their keys.
    /// The id is the service's own id of the user. [`for_account`](crate::manage::KeyManager::for_account) sets the
    /// user's account.
    pub fn user(id: &str) -> Self {
        Self { user: Some(id.into()), ..Self::default() }
    }

    /// Creates the actor for the holder of a key.
    pub fn key(key: KeyId) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// Sets the address that the request came from.
    #[must_use]
    pub fn at(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The operator's name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The signed-in user's id.
    pub fn user_id(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The id of the key that made the request.
    pub fn key_id(&self) -> Option<KeyId> {
        self.key
    }

    /// The address that the request came from.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// The texts before the colon of a label.
const OPERATOR: &str = "operator";
const USER: &str = "user";
const KEY: &str = "key";

impl Actor {
    /// Returns the actor without the address, as a store looks for it: `operator:alice`, `user:user-17` or `key:ID`.
    /// `None` for an actor that is not known. [`Actor::from_str`] parses it.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::audit::Actor;
    ///
    /// let alice = Actor::operator("alice").at("203.0.113.9".parse().unwrap());
    /// assert_eq!(alice.label().as_deref(), Some("operator:alice"));
    /// assert_eq!("operator:alice".parse::<Actor>()?, Actor::operator("alice"));
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn label(&self) -> Option<String> {
        let label = |kind: &str, name: &dyn fmt::Display| format!("{kind}:{name}");
        self.key
            .map(|key| label(KEY, &key))
            .or_else(|| self.user.as_ref().map(|user| label(USER, user)))
            .or_else(|| self.name.as_ref().map(|name| label(OPERATOR, name)))
    }
}

impl FromStr for Actor {
    type Err = ConfigError;

    fn from_str(label: &str) -> Result<Self, Self::Err> {
        match label.split_once(':') {
            Some((OPERATOR, name)) => Ok(Self::operator(name)),
            Some((USER, id)) => Ok(Self::user(id)),
            Some((KEY, id)) => id.parse().map(Self::key),
            _ => {
                let expected = "write `operator:NAME`, `user:ID` or `key:ID`, as in `operator:alice`";
                Err(ConfigError::new(label, "invalid actor", expected))
            }
        }
    }
}

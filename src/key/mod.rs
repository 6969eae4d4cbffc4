//! API keys: their place in a request, format, hash and stored record.
//!
//! A key is shown once, when it is issued. Only its hash is stored. The gate reads a key from a source of the request,
//! checks its format, and finds the record by the hash.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use tollgate::key::{KeyHasher, KeyStatus, Length};
//! use tollgate::{Account, KeyFormat, KeyId, KeyRecord};
//!
//! let format = KeyFormat::new("acme_", Length::exactly(32))?.with_checksum()?;
//! let issued = format.generate()?;
//! let secret = issued.expose_secret();
//! assert!(format.accepts(secret.as_bytes()));
//! assert!(!format.accepts(b"acme_0123456789"));
//!
//! let hash = KeyHasher::sha256().hash(secret.as_bytes());
//! let mut record = KeyRecord::new(KeyId::generate(), hash, Arc::new(Account::new("acme", "pro")));
//! record.scopes = Some(vec!["candles:read".into()]);
//! assert_eq!(record.status, KeyStatus::Active);
//! assert!(record.has_hash(&hash) && record.is_restricted());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`KeyManager`](crate::KeyManager) does these steps and stores the record.
//!
//! # Overview
//!
//! - [`KeySource`]: a header, an `Authorization` scheme or a query parameter that contains the key.
//! - [`KeyFormat`]: the prefix, the [`Length`], the [`Alphabet`] and the checksum of keys.
//! - [`KeyHasher`]: SHA-256, SHA-512, or HMAC-SHA-256 with a pepper, and [`KeyHash`]: the result.
//! - [`KeyRecord`]: the stored key with its owner, status, expiry, scopes, paths, allowed networks and quotas.
//! - [`IssuedKey`]: a new key, and [`PresentedKey`]: a key in a request. Their memory is wiped.
//! - [`Randomness`]: the source of the random bytes of new keys.

mod alphabet;
mod format;
mod hash;
mod id;
mod presented;
mod record;
mod redact;
mod source;

mod issued;
mod randomness;

pub use crate::network::parse_network;
pub use alphabet::Alphabet;
pub(crate) use format::LONGEST;
pub use format::{KeyFormat, Length};
pub use hash::{KeyHash, KeyHasher};
pub use id::KeyId;
pub use issued::IssuedKey;
pub use presented::PresentedKey;
pub use randomness::{OsRandomness, Randomness, RandomnessError};
pub use record::{KeyDetails, KeyRecord, KeyStatus, PathPattern, PreviousSecret};
pub(crate) use redact::without_keys;
pub use source::KeySource;
pub(crate) use source::{Place, is_token};

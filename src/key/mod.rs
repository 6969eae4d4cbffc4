//! API keys: their place in a request, format, hash and stored record.

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
pub use issued::{IssuedKey, RevealedKey};
pub use presented::PresentedKey;
pub use randomness::{OsRandomness, Randomness, RandomnessError};
pub use record::{KeyDetails, KeyRecord, KeyStatus, PathPattern, PreviousSecret};
pub(crate) use redact::without_keys;
pub use source::KeySource;
pub(crate) use source::{Place, is_token};

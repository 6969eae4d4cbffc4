//! What a key is: where it stands in a request, its format, its hash, its record.

mod alphabet;
mod format;
mod hash;
mod id;
mod presented;
mod record;
mod source;

#[cfg(feature = "keygen")]
mod issued;

pub use alphabet::Alphabet;
pub use format::{KeyFormat, Length};
pub use hash::{KeyHash, KeyHasher};
pub use id::KeyId;
#[cfg(feature = "keygen")]
pub use issued::{IssuedKey, RandomnessError};
pub use presented::PresentedKey;
pub use record::{KeyRecord, KeyStatus, PathPattern, Retiring};
pub use source::KeySource;
pub(crate) use source::{Finding, find_key};

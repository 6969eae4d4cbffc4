//! The source of the randomness of new keys.

use std::fmt::{self, Debug};
use std::sync::Arc;

/// A source of unpredictable random bytes for the secrets of new keys.
///
/// # Contract
///
/// A source fills all bytes, or returns an error. No key is created after an error, and no byte is used. The source is
/// called when a key is issued or rotated, never when a request is checked.
///
/// # Example
///
/// ```
/// use tollgate::key::{OsRandomness, Randomness, RandomnessError};
///
/// #[derive(Debug)]
/// struct HardwareModule;
///
/// impl Randomness for HardwareModule {
///     fn fill(&self, _: &mut [u8]) -> Result<(), RandomnessError> {
///         Err(RandomnessError::new("the module is not plugged in"))
///     }
/// }
///
/// let mut bytes = [0; 16];
/// assert!(HardwareModule.fill(&mut bytes).is_err());
/// OsRandomness.fill(&mut bytes)?;
/// # Ok::<(), RandomnessError>(())
/// ```
pub trait Randomness: Debug + Send + Sync + 'static {
    /// Fills all bytes with randomness.
    ///
    /// # Errors
    ///
    /// Returns an error if no randomness is available. The caller then creates no key.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessError>;
}

impl<T: Randomness + ?Sized> Randomness for Arc<T> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessError> {
        (**self).fill(bytes)
    }
}

/// The operating system's randomness, which is the default source.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandomness;

impl Randomness for OsRandomness {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessError> {
        getrandom::fill(bytes).map_err(|error| {
            RandomnessError::new(format_args!("the operating system provided no randomness: {error}"))
        })
    }
}

/// The error of a failure to create a key: no randomness was available, or the format has no room for enough of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to generate a key since {0}")]
pub struct RandomnessError(String);

impl RandomnessError {
    /// Creates an error with this reason. Its message is "failed to generate a key since …".
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }

    pub(crate) fn too_little(bits: f64) -> Self {
        Self::new(format_args!("its format provides {bits:.0} bits of randomness, and 128 are required"))
    }
}

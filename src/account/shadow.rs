//! The checks that are made in shadow.

/// A set of checks that are made in shadow: they are judged and told, and refuse nothing.
///
/// It is collected from [`Check`](crate::gate::Check)s.
///
/// # Example
///
/// ```
/// use tollgate::account::ShadowChecks;
/// use tollgate::gate::Check;
///
/// let checks: ShadowChecks = [Check::RateLimits, Check::Credits].into_iter().collect();
/// assert!(ShadowChecks::ALL != checks && ShadowChecks::NONE != checks);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ShadowChecks(u16);

impl ShadowChecks {
    /// No check.
    pub const NONE: Self = Self(0);

    /// All checks.
    pub const ALL: Self = Self(u16::MAX);

    /// The set of the checks of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns true if the set has no check.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set of the check with this index.
    pub(crate) const fn of(index: u32) -> Self {
        Self(1 << index)
    }

    /// Returns true if the sets have a check in common.
    #[inline]
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

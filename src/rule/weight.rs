//! The weight of a request, and the numbers in a request that its cost and its weight depend on.

use std::num::NonZeroU32;

use http::HeaderName;

use crate::account::{BreachKind, number, plain_number};
use crate::request::{HeaderCount, RequestView};

/// The weight of a request: the number of units that it takes from each window.
///
/// A window whose quota has the unit `requests` counts each request once, whatever its weight. A request whose weight is above the
/// capacity of one of its other windows is denied as [`WeightTooLarge`](crate::DenialKind::WeightTooLarge): waiting would not help.
///
/// # Example
///
/// A backtest over several years takes one unit for each year:
///
/// ```
/// use tollgate::Rule;
/// use tollgate::rule::Weight;
///
/// let mut rule = Rule::new("POST /v1/backtests")?;
/// rule.weight = Weight::Parameter { parameter: "years".into(), least: 1, default: 1, most: 20 };
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weight {
    /// The same weight for each request. It is at least 1.
    Fixed(u32),
    /// The number in a query parameter, as one plain decimal number.
    Parameter {
        /// The parameter. It is compared after one percent-decoding.
        parameter: String,
        /// The minimum weight. A lower number is refused. It is at least 1.
        least: u32,
        /// The weight if the parameter is absent. It must be the handler's own default.
        default: u32,
        /// The maximum weight. A higher number is refused.
        most: u32,
    },
    /// The number in a header, as one plain decimal number.
    Header {
        /// The header.
        header: HeaderName,
        /// The minimum weight. A lower number is refused. It is at least 1.
        least: u32,
        /// The weight if the header is absent. It must be the handler's own default.
        default: u32,
        /// The maximum weight. A higher number is refused.
        most: u32,
    },
    /// The weight that the handler reports by the request's [`WeightReport`](crate::gate::WeightReport), as for tokens that
    /// are counted when the answer is complete. A gate inside another one that has drawn for the request draws no units of the
    /// plan's quotas, and gives the handler no report for a rule without quotas of its own.
    Reported {
        /// The number of units that are drawn in advance. It is at least 1.
        reserve: u32,
        /// The maximum weight. A higher report counts as this number.
        most: u32,
    },
}

impl Default for Weight {
    fn default() -> Self {
        Self::Fixed(1)
    }
}

impl Weight {
    /// Returns true if each request takes one unit.
    pub(crate) fn is_one(&self) -> bool {
        *self == Self::Fixed(1)
    }

    /// Returns the least number of units that the gate draws for a request.
    pub(crate) fn least(&self) -> u32 {
        match self {
            Self::Fixed(weight) => *weight,
            Self::Parameter { least, .. } | Self::Header { least, .. } => *least,
            Self::Reported { reserve, .. } => *reserve,
        }
    }

    /// Returns the parameter or the header that contains the weight.
    pub(crate) fn source(&self) -> Option<&str> {
        match self {
            Self::Fixed(_) | Self::Reported { .. } => None,
            Self::Parameter { parameter, .. } => Some(parameter),
            Self::Header { header, .. } => Some(header.as_str()),
        }
    }

    /// Returns the header that contains the weight.
    pub(crate) fn header(&self) -> Option<&HeaderName> {
        if let Self::Header { header, .. } = self { Some(header) } else { None }
    }

    /// Returns the weight of a request, or its reserve.
    pub(crate) fn of(&self, view: &RequestView<'_>) -> Result<NonZeroU32, BreachKind> {
        let units = match self {
            Self::Fixed(weight) | Self::Reported { reserve: weight, .. } => u64::from(*weight),
            Self::Parameter { parameter, least, default, most } => {
                Bounds::of(*least, *default, *most).units(in_parameter(view.query(), parameter))?
            }
            Self::Header { header, least, default, most } => {
                Bounds::of(*least, *default, *most).units(in_header(view, header))?
            }
        };
        // The bounds are numbers of 32 bits that are not zero.
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Ok(NonZeroU32::new(units).unwrap_or(NonZeroU32::MIN))
    }
}

/// The bounds of a number of units that a request may name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) least: u64,
    pub(super) default: u64,
    pub(super) most: u64,
}

impl Bounds {
    fn of(least: u32, default: u32, most: u32) -> Self {
        Self { least: least.into(), default: default.into(), most: most.into() }
    }

    /// Returns the number of units, if the number that the request names is within the bounds.
    #[inline]
    pub(super) fn units(self, named: Result<Option<u64>, BreachKind>) -> Result<u64, BreachKind> {
        let named = named?;
        let units = named.unwrap_or(self.default);
        if units > self.most {
            return Err(BreachKind::Above(self.most));
        }
        if named.is_some_and(|named| named < self.least) {
            return Err(BreachKind::Unreadable);
        }
        Ok(units)
    }
}

/// Returns the number in a query parameter.
#[inline]
pub(super) fn in_parameter(query: Option<&str>, parameter: &str) -> Result<Option<u64>, BreachKind> {
    query.map_or(Ok(None), |query| number(query, parameter))
}

/// Returns the number in a header.
fn in_header(view: &RequestView<'_>, header: &HeaderName) -> Result<Option<u64>, BreachKind> {
    match view.field(header) {
        HeaderCount::Never => Ok(None),
        HeaderCount::Once(value) => plain_number(value).map(Some).ok_or(BreachKind::Unreadable),
        HeaderCount::Often => Err(BreachKind::Repeated),
    }
}

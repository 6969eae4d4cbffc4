//! The optional headers of a request's cost and of the balance after it.

use http::{HeaderName, HeaderValue};

use crate::amount::Credits;
use crate::error::ConfigError;
use crate::header::{MEANS_SOMETHING_ELSE, is_reserved};
use crate::respond::AnswerHeaders;

/// The headers in which responses state the cost of a request and the account's balance after it. Both are optional.
///
/// The cost is the part of the charge that the response's head settles: nothing after a status of the class 5xx, the
/// [`FinalCost`](crate::gate::FinalCost) if the handler reported one, and the whole charge for a gRPC response whose status
/// is still to come. A response to a request that was denied because of its balance (402) states the cost that the balance
/// does not cover. Other denials, and requests without a charge, have neither header. The gate replaces headers of the
/// service that have these names.
///
/// A balance that the ledger does not report is omitted.
///
/// # Example
///
/// ```
/// use tollgate::respond::CreditHeaders;
///
/// let headers = CreditHeaders::default().with_cost("X-Credits-Cost")?.with_balance("X-Credits-Balance")?;
/// assert!(CreditHeaders::default().with_cost("Content-Length").is_err());
/// # drop(headers);
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreditHeaders {
    cost: Option<NamedHeader>,
    balance: Option<NamedHeader>,
}

/// A header, and its name as the configuration writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedHeader {
    pub(crate) header: HeaderName,
    pub(crate) named: Box<str>,
}

/// The cost of a request, and the balance after it, if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestCredits {
    pub(crate) cost: Credits,
    pub(crate) balance: Option<Credits>,
}

impl CreditHeaders {
    /// Sets the header of the cost.
    ///
    /// # Errors
    ///
    /// Returns an error for a name that no header can have, for a header with a standard meaning, and for the header of
    /// the balance.
    pub fn with_cost(mut self, name: &str) -> Result<Self, ConfigError> {
        self.cost = Some(parse(name, self.balance.as_ref()).map_err(|error| error.in_member("cost"))?);
        Ok(self)
    }

    /// Sets the header of the balance.
    ///
    /// # Errors
    ///
    /// Returns an error for a name that no header can have, for a header with a standard meaning, and for the header of
    /// the cost.
    pub fn with_balance(mut self, name: &str) -> Result<Self, ConfigError> {
        self.balance = Some(parse(name, self.cost.as_ref()).map_err(|error| error.in_member("balance"))?);
        Ok(self)
    }

    /// Returns the member and the name of each header.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, &NamedHeader)> {
        let named = [("cost", &self.cost), ("balance", &self.balance)];
        named.into_iter().filter_map(|(member, name)| Some((member, name.as_ref()?)))
    }

    /// Sets the headers of a response.
    pub(crate) fn set(&self, headers: &mut impl AnswerHeaders, credits: RequestCredits) {
        let values = [(&self.cost, Some(credits.cost)), (&self.balance, credits.balance)];
        for (name, value) in values {
            if let (Some(name), Some(value)) = (name, value) {
                headers.set(name.header.clone(), HeaderValue::from(value.get()));
            }
        }
    }
}

fn parse(name: &str, other: Option<&NamedHeader>) -> Result<NamedHeader, ConfigError> {
    let other = other.map(|other| &other.header);
    let refuse = |problem| Err(ConfigError::new(name, problem, "write another one, as in `X-Credits-Cost`"));
    match name.parse::<HeaderName>() {
        Err(_) => refuse("invalid header name"),
        Ok(header) if is_reserved(&header) => refuse(MEANS_SOMETHING_ELSE),
        Ok(header) if Some(&header) == other => {
            refuse("the cost and the balance cannot have the same header")
        }
        Ok(header) => Ok(NamedHeader { header, named: name.into() }),
    }
}

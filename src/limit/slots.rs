//! Slots of requests in flight.

use std::net::IpAddr;

use crate::account::InFlightLimits;
use crate::amount::ChargeId;
use crate::clock::Now;
use crate::key::KeyRecord;
use crate::limit::Caller;

/// The id of the slots that one request holds. It is unique among all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotId(ChargeId);

impl SlotId {
    /// Creates the id from a unique charge id.
    #[inline]
    pub(crate) fn new(id: ChargeId) -> Self {
        Self(id)
    }

    /// Returns the 16 bytes of the id.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// Creates the id from its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(ChargeId::from_bytes(bytes))
    }
}

/// A request to a rate limiter for one slot of every limit on requests in flight.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Acquire<'a> {
    /// The id of the slots.
    pub id: SlotId,
    /// The sender of the request.
    pub caller: Caller<'a>,
    /// The limits. Never empty.
    pub limits: &'a InFlightLimits,
    /// The time of the request.
    pub now: Now,
    /// For a release: the value of [`Acquired::Held::local`].
    pub local: bool,
}

impl<'a> Acquire<'a> {
    /// Creates a request for a slot of each of `limits` for a request with `key`.
    #[inline]
    pub fn new(id: SlotId, key: &'a KeyRecord, limits: &'a InFlightLimits, now: Now) -> Self {
        Self { id, caller: Caller { key: Some(key), address: None }, limits, now, local: false }
    }

    /// Creates a request for slots for a request without a key. No limit may count keys or accounts.
    #[inline]
    pub fn keyless(id: SlotId, limits: &'a InFlightLimits, now: Now) -> Self {
        Self { id, caller: Caller::default(), limits, now, local: false }
    }

    /// Sets the client's address. Limits that count networks need it.
    #[must_use]
    #[inline]
    pub fn from_address(mut self, address: IpAddr) -> Self {
        self.caller.address = Some(address);
        self
    }

    /// Sets [`local`](Self::local).
    #[must_use]
    #[inline]
    pub fn held_locally(mut self, local: bool) -> Self {
        self.local = local;
        self
    }
}

/// The result of a request for slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a full limit must deny the request"]
pub enum Acquired {
    /// Every limit had a slot, and gave it.
    Held {
        /// True if this node's own share gave the slots: see [`LocalFallback`](crate::limit::LocalFallback). The release
        /// must then have [`Acquire::local`] set.
        local: bool,
    },
    /// A limit had no slot, and no limit gave one.
    Full {
        /// The index of the first limit without a slot.
        limit: usize,
    },
}

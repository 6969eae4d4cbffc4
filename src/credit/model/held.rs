//! A bucket as a ledger holds it.

use std::sync::Arc;

use super::{Bucket, BucketId, BucketKind, BucketTerms};
use crate::account::PRIORITY;
use crate::amount::Credits;
use crate::clock::Timestamp;

/// The number of the main bucket.
pub(super) const MAIN: u32 = 0;

/// A bucket.
#[derive(Debug, Clone)]
// The fields that every charge reads come first.
#[repr(C)]
pub(in crate::credit) struct Held {
    pub(in crate::credit) label: Label,
    /// The amount that can be spent.
    pub(in crate::credit) left: u64,
    /// The sum of the open charges that were drawn from the bucket.
    pub(in crate::credit) open: u64,
    /// The number of the bucket: a higher number for a younger bucket.
    pub(in crate::credit) number: u32,
    pub(super) priority: u16,
    /// True if the bucket has expired, and only open charges keep it.
    pub(super) expired: bool,
    pub(in crate::credit) amount: u64,
    /// The expiry, for the order of drawing.
    pub(super) order: Timestamp,
}

/// The id and the terms of a bucket. `None` for the main bucket, so that its entries share no pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::credit) struct Label(Option<Arc<(BucketId, BucketTerms)>>);

const UNBOUND: BucketTerms =
    BucketTerms { kind: BucketKind::Balance, priority: PRIORITY, valid_from: None, expires: None };

impl Label {
    pub(in crate::credit) const MAIN: Self = Self(None);

    pub(in crate::credit) fn new(id: BucketId, terms: BucketTerms) -> Self {
        Self(Some(Arc::new((id, terms))))
    }

    pub(super) fn debt() -> Self {
        Self::new(BucketId::Debt, UNBOUND)
    }

    pub(in crate::credit) fn id(&self) -> BucketId {
        self.0.as_ref().map_or(BucketId::Main, |named| named.0.clone())
    }
}

impl Held {
    /// Creates the main bucket, without credits.
    pub(super) fn main() -> Self {
        Self::new(MAIN, Label::MAIN, 0)
    }

    pub(super) fn new(number: u32, label: Label, amount: u64) -> Self {
        let terms = label.0.as_ref().map_or(&UNBOUND, |named| &named.1);
        let (order, priority) = (terms.expires.unwrap_or(super::NEVER.1), terms.priority);
        Self { label, left: amount, open: 0, amount, order, number, priority, expired: false }
    }

    pub(super) fn is_main(&self) -> bool {
        self.number == MAIN
    }

    pub(super) fn terms(&self) -> &BucketTerms {
        self.label.0.as_ref().map_or(&UNBOUND, |named| &named.1)
    }

    pub(super) fn is(&self, id: &BucketId) -> bool {
        self.label.0.as_ref().map_or(*id == BucketId::Main, |named| named.0 == *id)
    }

    pub(super) fn expires_by(&self, now: Timestamp) -> bool {
        !self.expired && self.terms().expires.is_some_and(|expires| expires <= now)
    }

    /// Returns the place in the order of drawing.
    pub(super) fn rank(&self) -> (u16, Timestamp, u32) {
        (self.priority, self.order, self.number)
    }

    /// Returns the bucket in its public form. `main` is the kind of the main bucket.
    pub(super) fn to_bucket(&self, main: BucketKind) -> Bucket {
        let mut terms = *self.terms();
        terms.priority = self.priority;
        if self.is_main() {
            terms.kind = main;
        }
        Bucket::new(self.label.id(), terms, Credits::new(self.amount), Credits::new(self.left))
    }
}

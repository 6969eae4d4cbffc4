//! A request that was let in, and what its handler learns of it.

use std::fmt;
use std::sync::Arc;

use crate::account::Standing;
use crate::account::Terms;
use crate::account::{Account, Caps, Plan, Quotas};
use crate::amount::Credits;
use crate::future::StoreFuture;
use crate::gate::entry::{Entry, Shown};
use crate::key::{KeyId, KeyRecord};
use crate::name::Scope;
use crate::request::Admitted;

/// A request that was let in. It holds the request's charge: [`finish`](Admission::finish) it when the handler has
/// answered; dropped before [`begin`](Admission::begin), or in a panic, it gives the charge back; dropped after, as when
/// the client leaves, it lets the charge stand.
#[derive(Debug, Default)]
pub struct Admission(pub(super) Option<Entry>);

/// The end of a request that was let in: decides what becomes of its charge.
///
/// The adapters close the charge of a request once, by the first row that holds:
///
/// | end of the request | charge |
/// |---|---|
/// | the client leaves before the handler is polled | goes back |
/// | the handler panics, or the service fails with an error: on actix-web with a status of the class 5xx | goes back |
/// | the client leaves, or a layer around the gate gives up, while the handler works | stands |
/// | a response with a status of the class 5xx | goes back |
/// | a gRPC response whose head has a `grpc-status` | by that status |
/// | a gRPC response whose trailers have a `grpc-status` | by that status |
/// | a gRPC response whose body fails or panics before | goes back |
/// | a gRPC response that ends without a status, or is dropped before its end | stands |
/// | any other response, whatever becomes of its body: an upgrade, an empty body, a body that fails midway | stands |
///
/// A response is gRPC by its own `Content-Type` (feature `tonic`). The statuses `UNKNOWN`, `UNIMPLEMENTED`, `INTERNAL`,
/// `UNAVAILABLE` and `DATA_LOSS` give the charge back; any other status lets it stand. No header of the request is looked
/// at. A charge that stands is lowered to the response's [`FinalCost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered: the charge stands.
    Served,
    /// It answered, and it cost no more than this.
    ServedAt(Credits),
    /// It failed: the charge goes back.
    Failed,
}

impl Admission {
    /// Whether the request needs no key: nobody was identified.
    pub fn is_public(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.0.as_ref()
    }

    /// Whether it holds a charge that is to be ended.
    pub(crate) fn is_charged(&self) -> bool {
        self.0.as_ref().is_some_and(Entry::owes)
    }

    /// The key's id.
    pub fn key(&self) -> Option<KeyId> {
        self.0.as_ref().map(|entry| entry.record().id)
    }

    pub(crate) fn principal(&self) -> Option<Principal> {
        let entry = self.0.as_ref()?;
        let (record, terms) = (Arc::clone(entry.record()), entry.found.share_terms()?);
        let (balance, standing) = (entry.tab.balance, entry.tab.standing.clone());
        let (charged, drawn) = (entry.tab.hold.as_ref().map(|hold| hold.amount), standing.is_some());
        Some(Principal { record, terms, balance, standing, charged, drawn, shown: entry.found.shown.clone() })
    }

    /// Says that the handler is at work.
    #[inline]
    pub fn begin(&mut self) {
        self.set_served(true);
    }

    /// Says that the handler is about to be polled: a panic that leaves it, whoever catches it, is not served.
    #[inline]
    pub(crate) fn risk(&mut self) {
        self.set_served(false);
    }

    #[inline]
    fn set_served(&mut self, served: bool) {
        if let Some(hold) = self.0.as_mut().and_then(|entry| entry.tab.hold.as_mut()) {
            hold.served = served;
        }
    }

    /// Ends the request's charge.
    pub fn finish(mut self, outcome: Outcome) -> StoreFuture<()> {
        self.close(outcome).unwrap_or_else(|| StoreFuture::ready(()))
    }

    /// Ends the request's charge, where it is not ended yet; `None` where there is nothing to wait for.
    #[inline]
    pub(crate) fn close(&mut self, outcome: Outcome) -> Option<StoreFuture<()>> {
        self.0.as_mut()?.close(outcome)
    }
}

/// Who was let in: the handler finds it among the request's extensions.
///
/// # Example
///
/// ```
/// use http::Request;
/// use tollgate::Principal;
///
/// fn page_size<B>(request: &Request<B>) -> u64 {
///     let principal = request.extensions().get::<Principal>();
///     principal.and_then(|principal| principal.caps().at_most("limit")).unwrap_or(100)
/// }
/// # assert_eq!(page_size(&Request::new(())), 100);
/// ```
#[derive(Clone)]
pub struct Principal {
    record: Arc<KeyRecord>,
    terms: Arc<Terms>,
    balance: Option<Credits>,
    standing: Option<Standing>,
    /// What a gate has taken for this request: this one, or one around it.
    charged: Option<Credits>,
    drawn: bool,
    #[cfg_attr(not(feature = "keygen"), expect(dead_code, reason = "read by key management alone"))]
    shown: Shown,
}

impl Principal {
    /// What the secret that was presented hashes to: under the scheme it was found by, and under the newest.
    #[cfg(feature = "keygen")]
    pub(crate) fn presented(&self) -> impl Iterator<Item = crate::key::KeyHash> {
        let retiring = self.record.retiring.filter(|_| self.shown.retiring).map(|old| old.hash);
        let found_by = retiring.unwrap_or(self.record.hash);
        [Some(found_by), self.shown.renewed.as_deref().copied()].into_iter().flatten()
    }

    /// What a gate behind the one that made this need not do again.
    pub fn admitted(&self) -> Admitted {
        Admitted {
            key: self.record.id,
            hash: self.record.hash,
            charged: self.charged.is_some(),
            drawn: self.drawn,
        }
    }

    /// Takes over what the gate around this one has taken for the same key.
    pub(crate) fn follow(&mut self, outer: Self) {
        if !outer.admitted().is_for(&self.record) {
            return;
        }
        self.charged = self.charged.or(outer.charged);
        self.drawn |= outer.drawn;
        self.balance = self.balance.or(outer.balance);
        // A standing names a policy by its place: it says nothing among other policies.
        if self.standing.is_none() && self.terms.quotas.policies().eq(outer.terms.quotas.policies()) {
            self.standing = outer.standing;
        }
    }

    /// The key's id.
    pub fn key(&self) -> KeyId {
        self.record.id
    }

    /// All that is known of the key.
    pub fn record(&self) -> &Arc<KeyRecord> {
        &self.record
    }

    /// Who holds the key.
    pub fn account(&self) -> &Account {
        &self.record.account
    }

    /// The account's plan.
    pub fn plan(&self) -> &Plan {
        &self.terms.plan
    }

    /// What the key is restricted to; `None` for everything.
    pub fn scopes(&self) -> Option<&[Scope]> {
        self.record.scopes.as_deref()
    }

    /// The caps in force.
    pub fn caps(&self) -> &Caps {
        &self.terms.caps
    }

    /// The quotas in force.
    pub fn quotas(&self) -> &Quotas {
        &self.terms.quotas
    }

    /// What was charged for this request, which a [`FinalCost`] may lower; zero where nothing was.
    pub fn cost(&self) -> Credits {
        self.charged.unwrap_or_default()
    }

    /// What is left of the account's credits, this request's charge taken; `None` where nothing was charged.
    pub fn balance(&self) -> Option<Credits> {
        self.balance
    }

    /// How the rate limit with the least left stands; `None` where there is none.
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("key", &self.record.id)
            .field("account", &self.record.account.id)
            .field("plan", &self.terms.plan.name)
            .field("cost", &self.cost())
            .field("balance", &self.balance)
            .finish_non_exhaustive()
    }
}

/// The final cost of a request, lower than what was charged: a handler puts it among its response's extensions, and the
/// rest goes back.
///
/// # Example
///
/// ```
/// use tollgate::gate::FinalCost;
/// use tollgate::Credits;
///
/// let mut response = http::Response::new("two of the ten results that were paid for");
/// response.extensions_mut().insert(FinalCost(Credits::new(2)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalCost(pub Credits);

//! Nodes over one authority, and the credits of one account.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate::account::Allowance;
use tollgate::clock::Timestamp;
use tollgate::credit::{Charge, ChargeId, Charged, CreditAdmin, EntryQuery, LeaseTerms, LeasedLedger};
use tollgate::{Account, Clock, CreditLedger, Credits, MemoryLedger, StoreError};

use crate::support::remote::{Remote, TokioClock};

pub(crate) type Wire = Remote<Arc<MemoryLedger>>;

/// A node: what it sees of the account, and its way to the authority.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) wire: Wire,
    pub(crate) ledger: LeasedLedger<Wire>,
    pub(crate) account: Account,
}

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) clock: TokioClock,
    pub(crate) authority: Arc<MemoryLedger>,
    pub(crate) terms: LeaseTerms,
    pub(crate) allowance: Allowance,
    next: AtomicU64,
}

impl Fleet {
    /// An authority with a balance, and the usual terms for so many nodes.
    pub(crate) fn of_nodes(nodes: u32, balance: u64) -> Self {
        let (clock, authority) = (TokioClock::new(), Arc::new(MemoryLedger::with_entries(100_000)));
        authority.set_balance("acme", Credits::new(balance), clock.now().wall());
        let terms = LeaseTerms::of_nodes(NonZeroU32::new(nodes).unwrap());
        Self { clock, authority, terms, allowance: Allowance::None, next: AtomicU64::new(1) }
    }

    pub(crate) fn node(&self) -> Node {
        let wire = Remote::new(Arc::clone(&self.authority));
        let ledger = LeasedLedger::with_clock(wire.clone(), self.terms.clone(), self.clock);
        Node { wire, ledger, account: Account::new("acme", "pro") }
    }

    pub(crate) fn next_id(&self) -> ChargeId {
        ChargeId::from_bytes(u128::from(self.next.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
    }

    pub(crate) async fn charge_as(
        &self,
        node: &Node,
        id: ChargeId,
        amount: u64,
    ) -> Result<Charged, StoreError> {
        let amount = Credits::new(amount);
        node.ledger.charge(&Charge::new(id, &node.account, amount, &self.allowance, self.clock.now())).await
    }

    /// A request from its charge to its settlement; says whether it was served.
    pub(crate) async fn serve(&self, node: &Node, cost: u64) -> Result<bool, StoreError> {
        let id = self.next_id();
        match self.charge_as(node, id, cost).await? {
            Charged::Posted { .. } => {
                node.ledger
                    .settle(&crate::support::settlement(&node.account, id, Credits::new(cost)))
                    .await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// So many requests one after the other, all of which are served.
    pub(crate) async fn serve_many(&self, node: &Node, count: usize) {
        for _ in 0..count {
            assert!(self.serve(node, 1).await.unwrap(), "there is enough for all");
        }
    }

    pub(crate) fn balance(&self) -> u64 {
        self.authority.balance("acme").unwrap().get()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.now().wall()
    }

    /// The authority's sweep, of what is older than a minute.
    pub(crate) fn sweep(&self) -> u64 {
        let before = Timestamp::from_millis(self.wall().as_millis() - 60_000);
        self.authority.close_abandoned(before)
    }

    /// The balance, which the entries sum to.
    pub(crate) async fn checked_balance(&self) -> u64 {
        let entries = self.authority.entries(&EntryQuery::newest("acme", usize::MAX)).await.unwrap();
        let sum: i64 = entries.iter().map(|entry| entry.amount).sum();
        assert_eq!(sum, i64::try_from(self.balance()).unwrap(), "the entries sum to the balance");
        self.balance()
    }
}

/// Lets the work in the background go on for a moment.
pub(crate) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

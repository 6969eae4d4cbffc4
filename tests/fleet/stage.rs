//! A fleet of a test's own: two servers, four nodes, one account.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;
use tollgate::{
    Account, AccountAdmin, AccountId, Adjustment, AdjustmentKind, Allowance, Balance, Clock, Config,
    CreditAdmin, Credits, Database, Issued, KeyId, KeyManager, NewKey, SqlLedger, SqlStore, SystemClock,
    Timestamp,
};

use crate::client::Client;
use crate::gate::GATE;
use crate::nodes::Node;
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;

pub(crate) const NODES: usize = 4;
pub(crate) const TASKS: usize = 64;

pub(crate) struct Stage {
    url: String,
    redis: Redis,
    postgres: Arc<Postgres>,
    pub(crate) ledger: SqlLedger,
    pub(crate) manager: KeyManager,
    pub(crate) account: AccountId,
    lease: bool,
    /// A node's place is kept while it is killed and started again.
    nodes: Vec<RwLock<Option<Node>>>,
}

impl Stage {
    /// A fleet with an account on this plan; `None`, said loudly, where there are no servers.
    pub(crate) async fn new(plan: &str, lease: bool) -> Option<Self> {
        let (postgres, redis) = (Postgres::shared()?, Redis::start()?);
        let url = postgres.database();
        let database = Database::connect(&url).await.unwrap();
        let store = SqlStore::new(&database);
        let config = Config::from_toml(GATE, "fleet.toml").unwrap();
        let gate = config.builder().unwrap().managed_store(store.clone()).build().unwrap();
        let account = Account::new(format!("fleet-{}", KeyId::generate()), plan);
        assert!(store.create_account(&account).await.unwrap());
        let mut stage = Self {
            url,
            redis,
            postgres,
            ledger: SqlLedger::new(&database),
            manager: KeyManager::new(gate, store),
            account: account.id,
            lease,
            nodes: Vec::new(),
        };
        for _ in 0..NODES {
            let node = stage.node().await;
            stage.nodes.push(RwLock::new(Some(node)));
        }
        Some(stage)
    }

    async fn node(&self) -> Node {
        let redis = self.redis.url();
        let mut arguments = vec!["--postgres", &self.url, "--redis", &redis];
        if self.lease {
            arguments.extend(["--lease", "4"]);
        }
        Node::start(&program(), &arguments).await.unwrap()
    }

    pub(crate) async fn issue(&self) -> Issued {
        self.manager.issue(NewKey::new(self.account.clone(), "a test's")).await.unwrap()
    }

    pub(crate) async fn top_up(&self, amount: u64) {
        let (kind, none) = (AdjustmentKind::TopUp(Credits::new(amount)), Allowance::None);
        let adjustment = Adjustment::new("paid".parse().unwrap(), &self.account, kind, &none, now());
        let _adjusted = self.ledger.adjust(&adjustment).await.unwrap();
    }

    pub(crate) async fn balance(&self) -> u64 {
        let balance = self.ledger.balance_of(&self.account, &Allowance::None, now()).await.unwrap();
        let Balance::Limited(credits) = balance else { panic!("{balance:?}") };
        credits.get()
    }

    /// Waits until no charge is open, ten seconds at the most.
    pub(crate) async fn closed(&self) {
        let name = self.url.rsplit('/').next().unwrap();
        for _ in 0..500 {
            if self.postgres.say(name, "SELECT count(*) FROM tollgate_charges WHERE closed_at IS NULL") == "0"
            {
                return;
            }
            a_moment().await;
        }
    }

    /// Where a node listens; nothing while it is down.
    pub(crate) async fn address(&self, place: usize) -> Option<String> {
        self.nodes[place].read().await.as_ref().map(|node| node.address.clone())
    }

    /// Kills a node in the midst of whatever it does, and starts another in its place.
    pub(crate) async fn kill(&self, place: usize) {
        let killed = self.nodes[place].write().await.take().unwrap();
        killed.kill().await.unwrap();
        let node = self.node().await;
        *self.nodes[place].write().await = Some(node);
    }

    /// Lets all nodes end.
    pub(crate) async fn stop(&self) {
        for node in &self.nodes {
            node.write().await.take().unwrap().stop().await.unwrap();
        }
    }

    /// All of a test's tasks, at work at the same time: each gets a client, the place of its node, and its own number.
    pub(crate) async fn at_full_load<T, W>(
        self: &Arc<Self>,
        work: impl Fn(Arc<Self>, Client, usize) -> W,
    ) -> Vec<T>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let client = Client::new();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..NODES * TASKS {
            tasks.spawn(work(Arc::clone(self), client.clone(), number % NODES));
        }
        tasks.join_all().await
    }
}

pub(crate) fn now() -> Timestamp {
    SystemClock::new().now().wall()
}

pub(crate) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Cargo puts examples beside the folder of the test executables.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap().join("examples");
    let program = folder.join(format!("fleet{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "the example is not built: `cargo build --example fleet --all-features`");
    program
}

//! A fleet of a test's own: two servers, four nodes, one account.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::RwLock;
use tollgate::account::Allowance;
use tollgate::clock::{SystemClock, Timestamp};
use tollgate::credit::{Adjustment, AdjustmentKind, Balance, CreditAdmin, SqlLedger};
use tollgate::manage::Issued;
use tollgate::name::AccountId;
use tollgate::sql::Database;
use tollgate::store::{AccountAdmin, SqlStore};
use tollgate::{Account, Clock, Config, Credits, KeyId, KeyManager, MemoryStore, NewKey};

use crate::client::Client;
use crate::gate::GATE;
use crate::nodes::Node;
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;

pub(crate) const NODES: usize = 4;
pub(crate) const TASKS: usize = 64;

pub(crate) struct Stage {
    url: String,
    redis: Mutex<Redis>,
    pub(crate) postgres: Arc<Postgres>,
    pub(crate) ledger: SqlLedger,
    pub(crate) manager: KeyManager,
    pub(crate) account: AccountId,
    /// Additional arguments of the nodes.
    more: &'static [&'static str],
    /// A node's place is kept while it is killed and started again.
    nodes: Vec<RwLock<Option<Node>>>,
}

impl Stage {
    /// A fleet with an account on this plan, for full load: what counts is what the servers do, and not how soon a machine
    /// does it that is busy with other tests. `None`, said loudly, where there are no servers.
    pub(crate) async fn new(plan: &str, leases: bool) -> Option<Self> {
        let more: &[&str] =
            if leases { &["--patience", "5"] } else { &["--patience", "5", "--leases", "no"] };
        Self::over(Postgres::shared()?, plan, more).await
    }

    /// The same as whoever follows the README has it, over a database server of its own.
    pub(crate) async fn as_recommended(plan: &str) -> Option<Self> {
        Self::over(Arc::new(Postgres::start()?), plan, &[]).await
    }

    async fn over(postgres: Arc<Postgres>, plan: &str, more: &'static [&'static str]) -> Option<Self> {
        let redis = Redis::start()?;
        let url = postgres.database();
        let database = Database::connect(&url).await.unwrap();
        let store = SqlStore::new(&database);
        let config = Config::from_toml(GATE, "fleet.toml").unwrap();
        let gate = config.builder().unwrap().store(store.clone()).build().unwrap();
        let account = Account::new(format!("fleet-{}", KeyId::generate()), plan);
        assert!(store.create_account(&account).await.unwrap());
        let mut stage = Self {
            url,
            redis: Mutex::new(redis),
            postgres,
            ledger: SqlLedger::new(&database),
            manager: KeyManager::new(gate).unwrap(),
            account: account.id,
            more,
            nodes: Vec::new(),
        };
        for _ in 0..NODES {
            let node = stage.node().await;
            stage.nodes.push(RwLock::new(Some(node)));
        }
        Some(stage)
    }

    async fn node(&self) -> Node {
        let (redis, nodes) = (self.redis.lock().unwrap().url(), NODES.to_string());
        let mut arguments = vec!["--postgres", &self.url, "--redis", &redis, "--nodes", &nodes];
        arguments.extend(self.more);
        Node::start(&program(), &arguments).await.unwrap()
    }

    pub(crate) async fn issue(&self) -> Issued {
        self.manager.issue(NewKey::new(self.account.clone(), "a test's")).await.unwrap()
    }

    /// Keys as the gate's, which no store has.
    pub(crate) async fn unknown_keys(&self, count: usize) -> Vec<String> {
        let store = Arc::new(MemoryStore::new());
        store.put_account(Account::new("nobody", "limited"));
        let config = Config::from_toml(GATE, "fleet.toml").unwrap();
        let gate = config.builder().unwrap().store(store).build().unwrap();
        let (manager, mut keys) = (KeyManager::new(gate).unwrap(), Vec::new());
        for _ in 0..count {
            let issued = manager.issue(NewKey::new("nobody", "unknown")).await.unwrap();
            keys.push(issued.secret.expose_secret().to_owned());
        }
        keys
    }

    /// Ends the Redis server without a warning.
    pub(crate) fn kill_redis(&self) {
        tokio::task::block_in_place(|| self.redis.lock().unwrap().kill());
    }

    pub(crate) async fn top_up(&self, amount: u64) {
        let (kind, none) = (AdjustmentKind::TopUp(Credits::new(amount)), Allowance::None);
        let adjustment = Adjustment::new("paid".parse().unwrap(), &self.account, kind, &none, now());
        let _adjusted = self.ledger.adjust(&adjustment).await.unwrap();
    }

    pub(crate) async fn balance(&self) -> u64 {
        let balance = self
            .ledger
            .balance_of(&self.account, &tollgate::credit::Currency::CREDITS, &Allowance::None, now())
            .await
            .unwrap();
        let Balance::Limited(credits) = balance else { panic!("{balance:?}") };
        credits.get()
    }

    /// Returns the number of open charges and blocks.
    pub(crate) fn open_charges(&self) -> u64 {
        let name = self.url.rsplit('/').next().unwrap();
        let open = "SELECT count(*) FROM tollgate_charges WHERE closed_at IS NULL";
        self.postgres.say(name, open).parse().unwrap()
    }

    /// Waits until no charge is open, ten seconds at the most.
    pub(crate) async fn closed(&self) {
        for _ in 0..500 {
            if self.open_charges() == 0 {
                return;
            }
            a_moment().await;
        }
    }

    /// Returns the address of a node; `None` while it is down.
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

    /// Lets all nodes end that have not ended yet.
    pub(crate) async fn stop(&self) {
        for node in &self.nodes {
            if let Some(node) = node.write().await.take() {
                node.stop().await.unwrap();
            }
        }
    }

    /// Asks a node to end, and waits until it has.
    pub(crate) async fn terminate(&self, place: usize) {
        self.nodes[place].write().await.take().unwrap().terminate().await.unwrap();
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

fn now() -> Timestamp {
    SystemClock::new().now().wall()
}

pub(crate) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Cargo puts examples beside the folder of the test executables.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap().join("examples");
    let program = folder.join(format!("fleet{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "the example is not built: `cargo build --example fleet --all-features`");
    program
}

//! Audit entries in a database: found by an index, and written before a change is answered.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use tollgate::audit::{Action, AuditQuery, AuditStore, SqlAuditStore, StoredAudit};
use tollgate::key::Length;
use tollgate::sql::Database;
use tollgate::store::SqlStore;
use tollgate::{Account, AccountManager, Gate, KeyFormat, KeySource, Plan};

use crate::database::{Place, both};

both!(audit_queries_use_an_index, killed_process_loses_no_answered_entry);

async fn audit_queries_use_an_index(place: Place) {
    drop(place.open().await);
    let postgres = place.is_postgres();
    let (id, series) = if postgres {
        ("decode(lpad(to_hex(n), 32, '0'), 'hex')", "generate_series(10, 20000) AS n")
    } else {
        let series = "(WITH RECURSIVE c(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) SELECT n FROM c)";
        ("CAST(printf('%016d', n) AS BLOB)", series)
    };
    let insert = format!(
        "INSERT INTO tollgate_audit (id, account, key, actor, action, record) \
         SELECT {id}, CASE WHEN n % 100 = 0 THEN 'ada' ELSE 'bob' END, {id}, \
         CASE WHEN n % 100 = 1 THEN 'operator:alice' END, CASE WHEN n % 100 = 2 THEN 'leaked' ELSE 'issued' END, '{{}}' \
         FROM {series}"
    );
    place.say(&insert).await;
    place.say("ANALYZE").await;
    let explain = if postgres { "EXPLAIN" } else { "EXPLAIN QUERY PLAN" };
    let hex = |id: &str| if postgres { format!("'\\x{id}'") } else { format!("x'{id}'") };
    let (one, last) = (hex("000000000000000000000000000000ff"), hex("ffffffffffffffffffffffffffffffff"));
    for condition in [
        String::new(),
        "account = 'ada' AND ".to_owned(),
        format!("key = {one} AND "),
        "actor = 'operator:alice' AND ".to_owned(),
        "action = 'leaked' AND ".to_owned(),
        format!("account = 'bob' AND action = 'issued' AND id >= {one} AND "),
    ] {
        let plan = format!(
            "{explain} SELECT record FROM tollgate_audit WHERE 1 = 1 AND {condition}id < {last} ORDER BY id DESC LIMIT 50"
        );
        let plan = place.say(&plan).await;
        let is_whole = plan.contains("Seq Scan") || plan.contains("SCAN") || plan.contains("TEMP B-TREE");
        assert!(!is_whole, "{condition}: {plan}");
        assert!(plan.contains("Index Scan") || plan.contains("SEARCH tollgate_audit"), "{condition}: {plan}");
    }
}

/// The variable that names the database for a process that is to be killed.
const NODE: &str = "TOLLGATE_TEST_AUDIT_NODE";

fn gate(database: &Database) -> Gate {
    Gate::builder()
        .source(KeySource::header("X-API-Key").unwrap())
        .format(KeyFormat::new("acme_", Length::exactly(32)).unwrap())
        .plan(Plan::new("pro"))
        .store(SqlStore::new(database))
        .audit(StoredAudit::new(SqlAuditStore::new(database)))
        .build()
        .unwrap()
}

/// A process that creates accounts until it is killed, and prints those that were answered.
#[tokio::test]
#[ignore = "a process of its own, which another test starts and kills"]
async fn node() {
    let Ok(url) = std::env::var(NODE) else { return };
    let accounts = AccountManager::new(gate(&Database::connect(&url).await.unwrap())).unwrap();
    for number in 0.. {
        accounts.create(Account::new(format!("account-{number:06}"), "pro")).await.unwrap();
        writeln!(std::io::stdout(), "created account-{number:06}").unwrap();
    }
}

async fn killed_process_loses_no_answered_entry(place: Place) {
    let database = place.open().await;
    let mut node = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sql::audit::node", "--ignored", "--nocapture"])
        .env(NODE, &place.url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answered = Vec::new();
    for line in BufReader::new(node.stdout.take().unwrap()).lines().map(Result::unwrap) {
        answered.extend(line.split_once("created ").map(|(_, account)| account.to_owned()));
        if answered.len() == 100 {
            node.kill().unwrap();
        }
    }
    node.wait().unwrap();
    assert!(answered.len() >= 100);
    let mut query = AuditQuery::default();
    query.action = Some(Action::AccountCreated);
    query.limit = 1_000;
    let page = SqlAuditStore::new(&database).query(&query).await.unwrap();
    let stored: HashSet<String> = page
        .entries
        .into_iter()
        .filter_map(|entry| entry.event.account)
        .map(|account| account.to_string())
        .collect();
    // The last line may have been cut.
    let whole = |account: &&String| account.len() == "account-000000".len();
    assert!(
        answered.iter().filter(whole).all(|account| stored.contains(account)),
        "an answered change has its entry"
    );
    let made: i64 = place.say("SELECT count(*) FROM tollgate_accounts").await.trim().parse().unwrap();
    let stored = i64::try_from(stored.len()).unwrap();
    assert!(
        (0..=1).contains(&(made - stored)),
        "{made} accounts, {stored} entries: at most the change in progress has none"
    );
}

//! The usage that a database stores, as charts, CSV and JSON.

use tollgate::alert::{AlertKind, AlertStore, SqlAlertStore};
use tollgate::clock::Timestamp;
use tollgate::sql::Database;
use tollgate::telemetry::DecisionOutcome;
use tollgate::usage::{BatchId, SqlUsage, UsageBatch, UsageCounts, UsageRow, UsageStore, Written};
use tollgate::{DenialKind, KeyId};

use crate::command::{Desk, Fault};

const RANGE: [&str; 4] = ["--from", "2026-04-30T10:00:00Z", "--to", "2026-04-30T14:00:00Z"];

/// A database with the usage of two keys at noon: 40 requests of the first, and 10 of the second, one hour later.
fn with_usage(name: &str) -> Result<(Desk, [String; 2]), Fault> {
    let desk = Desk::with_store(name, "sqlite:keys.db")?;
    desk.done(&["accounts", "create", "ada", "--plan", "pro"])?;
    let ids = [KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16])];
    let row = |key: usize, account: &str, hour, outcome, requests, credits| -> Result<UsageRow, Fault> {
        let time: Timestamp = format!("2026-04-30T{hour}:30:00Z").parse()?;
        let mut counts = UsageCounts::none(time);
        (counts.requests, counts.credits) = (requests, credits);
        Ok(UsageRow::new(Some((ids[key], account.into())), "GET /quotes", outcome, time, counts))
    };
    let rows = vec![
        row(0, "ada", 12, DecisionOutcome::Admitted, 30, 60)?,
        row(0, "ada", 12, DecisionOutcome::Denied(DenialKind::RateLimited), 10, 0)?,
        row(1, "a,\"b\"", 13, DecisionOutcome::Admitted, 10, 90)?,
    ];
    let url = format!("sqlite:{}", desk.0.join("keys.db").display());
    tokio::runtime::Runtime::new()?.block_on(async {
        let database = Database::connect(&url).await?;
        let batch = UsageBatch::new(BatchId { node: [7; 16], number: 1 }, rows);
        assert_eq!(SqlUsage::new(&database).write(&batch).await?, Written::Added);
        database.close().await;
        Ok::<_, Fault>(())
    })?;
    Ok((desk, ids.map(|id| id.to_string())))
}

#[test]
fn usage_is_a_chart() -> Result<(), Fault> {
    let (desk, ids) = with_usage("usage-chart")?;
    let (out, text) = desk.done(&[&["usage", "all"], &RANGE[..]].concat())?;
    let bar = |length: usize| format!("{}{}", "█".repeat(length), " ".repeat(40 - length));
    let expected = [
        format!("2026-04-30T10:00  {}  0", bar(0)),
        format!("2026-04-30T11:00  {}  0", bar(0)),
        format!("2026-04-30T12:00  {}  40 requests, 10 refused, 60 credits", bar(40)),
        format!("2026-04-30T13:00  {}  10 requests, 0 refused, 90 credits", bar(10)),
        "in total: 50 requests, 10 refused, 150 credits".to_owned(),
    ];
    assert_eq!(
        (out.as_str(), text.lines().collect::<Vec<_>>()),
        ("", expected.iter().map(|line| &**line).collect())
    );
    let month = ["usage", "key", &ids[1], "--step", "month", "--from", "2026-04-01T00:00:00Z", "--to"];
    let (_, text) = desk.done(&[&month[..], &["2026-05-01T00:00:00Z"]].concat())?;
    assert_eq!(
        text.lines().next(),
        Some(&*format!("2026-04  {}  10 requests, 0 refused, 90 credits", bar(40)))
    );
    Ok(())
}

#[test]
fn usage_is_json_and_csv() -> Result<(), Fault> {
    let (desk, ids) = with_usage("usage-csv")?;
    let requests = |arguments: &[&str]| -> Result<u64, Fault> {
        let report = desk.json(&[&["usage"], arguments, &RANGE[..]].concat())?;
        let points = report["points"].as_array().ok_or("no points")?;
        Ok(points.iter().filter_map(|point| point["requests"].as_u64()).sum())
    };
    assert_eq!(requests(&["key", &ids[0]])?, 40);
    assert_eq!(requests(&["account", "ada"])?, 40);
    assert_eq!(requests(&["account", "ada", "--rule", "GET /elsewhere"])?, 0);
    assert_eq!(requests(&["rule", "GET /quotes"])?, 50);
    let (out, _) = desk.done(&[&["usage", "account", "ada", "--csv"], &RANGE[..]].concat())?;
    let line = "2026-04-30T12:00:00Z,40,30,10,0,60,0,0,2026-04-30T12:30:00Z";
    assert_eq!(out.lines().nth(1), Some(line));

    let top = desk.json(&[&["usage", "top", "--by", "credits"], &RANGE[..]].concat())?;
    assert_eq!((&top["keys"][0]["key"], &top["keys"][0]["credits"]), (&ids[1].as_str().into(), &90.into()));
    assert_eq!(top["step"], "day");
    let (out, _) = desk.done(&[&["usage", "top", "--csv", "--limit", "2"], &RANGE[..]].concat())?;
    assert_eq!(
        out.lines().nth(2),
        Some(&*format!("{},\"a,\"\"b\"\"\",10,0,90,0,0,2026-04-30T13:30:00Z", ids[1]))
    );
    let (_, text) = desk.done(&[&["usage", "top", "--account", "ada"], &RANGE[..]].concat())?;
    assert!(text.contains("40 requests, 10 refused, 60 credits  ada"), "{text}");
    Ok(())
}

#[test]
fn erased_account_has_no_usage() -> Result<(), Fault> {
    let (desk, _) = with_usage("usage-erased")?;
    let requests = |account: &str| -> Result<usize, Fault> {
        let report = desk.json(&[&["usage", "account", account], &RANGE[..]].concat())?;
        Ok(report["points"].as_array().ok_or("no points")?.len())
    };
    assert_eq!(requests("ada")?, 1);
    desk.done(&["accounts", "erase", "ada"])?;
    assert_eq!((requests("ada")?, requests("a,\"b\"")?), (0, 1));
    Ok(())
}

#[test]
fn revocation_by_the_command_is_told() -> Result<(), Fault> {
    let desk = Desk::with_store("alert-of-command", "sqlite:keys.db")?;
    let config = desk.0.join("gate.toml");
    let secret = desk.0.join("webhook.secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")?;
    let webhook =
        format!("[[webhooks]]\nurl = 'https://acme.example/'\nsecret = 'file:{}'\n", secret.display());
    let alerts = format!("[[alerts]]\nwhen = {{ revoked = true }}\n{webhook}");
    let text = format!("{}\n{alerts}", std::fs::read_to_string(&config)?);
    std::fs::write(config, text)?;
    desk.done(&["accounts", "create", "ada", "--plan", "pro"])?;
    let (id, _) = desk.issue("ada")?;
    desk.done(&["keys", "revoke", &id])?;
    let url = format!("sqlite:{}", desk.0.join("keys.db").display());
    let told = tokio::runtime::Runtime::new()?.block_on(async {
        let database = Database::connect(&url).await?;
        let store = SqlAlertStore::new(&database);
        let told = store.claimed(AlertKind::Revoked, Timestamp::from_millis(0), 10).await?;
        // The next node delivers it to its own sinks.
        let far = Timestamp::from_millis(i64::MAX);
        assert_eq!(store.forward("*", &["mails".to_owned()], far).await?, 1);
        database.close().await;
        Ok::<_, Fault>(told)
    })?;
    assert_eq!(told.iter().map(|(crossing, _)| &crossing.subject).collect::<Vec<_>>(), [&id]);
    Ok(())
}

#[test]
fn invalid_usage_commands_are_refused() -> Result<(), Fault> {
    let desk = Desk::with_store("usage-invalid", "sqlite:keys.db")?;
    desk.done(&["accounts", "create", "ada", "--plan", "pro"])?;
    let rows: [(&[&str], &str); 8] = [
        (&["top", "--limit", "0"], "`--limit` is 0"),
        (&["key", "no-uuid"], "`id`"),
        (&["all", "--step", "week"], "`step`"),
        (&["all", "--from", "2026-04-30"], "`from`"),
        (&["all", "--from", "2026-04-30T12:00:00Z", "--to", "2026-04-29T12:00:00Z"], "`--to` must be after"),
        (&["all", "--step", "minute", "--from", "2020-01-01T00:00:00Z"], "`--step` gives more than 10000"),
        (&["all", "--by", "credits"], "`--by` is not accepted"),
        (&["top", "--by", "cost"], "`requests`, `credits`"),
    ];
    for (arguments, problem) in rows {
        let done = desk.keys(&[&["usage"], arguments].concat())?;
        let text = String::from_utf8(done.stderr)?;
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(problem), "{arguments:?}: {text}");
    }
    let memory = Desk::new("usage-memory")?;
    let done = memory.keys(&["usage", "all"])?;
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8(done.stderr)?.contains("does not support usage"));
    Ok(())
}

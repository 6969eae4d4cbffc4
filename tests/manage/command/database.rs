//! Over a database.

use crate::command::{Desk, Fault};
use crate::services::postgres::Postgres;

#[test]
fn keys_and_credits_persist_in_a_database() -> Result<(), Fault> {
    let desk = Desk::with_store("keys-sqlite", "sqlite:keys.db")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let (secret, _) = desk.done(&["keys", "issue", "--account", "ada", "--name", "bot"])?;
    assert!(secret.starts_with("acme_"));
    let listed = desk.json(&["keys", "list", "--account", "ada"])?;
    assert_eq!(listed["keys"][0]["name"], "bot");
    for kept in std::fs::read_dir(&desk.0)? {
        let bytes = std::fs::read(kept?.path())?;
        let secret = secret.trim().as_bytes();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "the secret is nowhere");
    }

    for _ in 0..2 {
        let balance = desk.json(&["credits", "top-up", "ada", "50", "--id", "invoice-1"])?;
        assert_eq!(balance["balance"], 50, "it is made once");
    }
    let conflict = desk.keys(&["credits", "top-up", "ada", "51", "--id", "invoice-1"])?;
    assert_eq!(conflict.status.code(), Some(1));
    let too_much = desk.keys(&["credits", "deduct", "ada", "51", "--id", "refund-1", "--json"])?;
    assert_eq!(too_much.status.code(), Some(1));
    assert_eq!(desk.json(&["credits", "deduct", "ada", "20", "--id", "refund-1"])?["balance"], 30);
    assert_eq!(desk.json(&["credits", "set", "ada", "7", "--id", "gift"])?["balance"], 7);
    assert_eq!(desk.json(&["credits", "balance", "ada"])?["balance"], 7);
    let entries = desk.json(&["credits", "entries", "ada"])?;
    let amounts: Vec<_> =
        entries["entries"].as_array().ok_or("no list")?.iter().map(|one| &one["amount"]).collect();
    assert_eq!(amounts, [7, -30, -20, 50]);
    assert_eq!(entries["entries"][2]["id"], "refund-1");
    let (out, err) = desk.done(&["credits", "unlimited", "ada", "--id", "friend"])?;
    assert_eq!((out.as_str(), err.trim()), ("", "ada  unlimited"));
    assert_eq!(desk.json(&["credits", "balance", "ada"])?["unlimited"], true);
    assert_eq!(desk.json(&["credits", "check"])?["disagreements"], serde_json::json!([]));
    let (out, err) = desk.done(&["credits", "check"])?;
    assert_eq!((out.as_str(), err.trim()), ("", "every balance equals the sum of its entries"));
    assert_eq!(desk.keys(&["credits", "top-up", "ada", "50"])?.status.code(), Some(2), "an id is needed");

    for amount in ["9223372036854775808", "18446744073709551615", "+5", "1e3", ""] {
        let refused = desk.keys(&["credits", "set", "ada", amount, "--id", "typing-error"])?;
        let said = String::from_utf8(refused.stderr)?;
        assert_eq!(refused.status.code(), Some(2), "{amount}: {said}");
        assert!(said.contains("`amount`: write a whole number from 0 to 9223372036854775807"), "{said}");
    }

    let file = Desk::new("keys-without-credits")?;
    let refused = file.keys(&["credits", "balance", "ada"])?;
    assert!(String::from_utf8(refused.stderr)?.contains("does not support credits"));
    Ok(())
}

#[test]
fn buckets_and_budgets_are_managed_in_a_database() -> Result<(), Fault> {
    let desk = Desk::with_store("keys-buckets", "sqlite:keys.db")?;
    let config = std::fs::read_to_string(desk.0.join("gate.toml"))?;
    let tokens =
        "[[rules]]\nroute = 'GET /chat'\ncost = 3\ncurrency = 'tokens'\n[plans.max.currencies.tokens]\n";
    std::fs::write(desk.0.join("gate.toml"), config + tokens)?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let spring = ["--kind", "promotion", "--priority", "10", "--expires", "2100-01-01T00:00:00Z"];
    let top_up = [&["credits", "top-up", "ada", "40", "--id", "spring"][..], &spring].concat();
    assert_eq!(desk.json(&top_up)?["balance"], 40);
    assert_eq!(desk.json(&["credits", "top-up", "ada", "5", "--id", "invoice"])?["balance"], 45);
    let moved = ["credits", "move", "ada", "spring", "15", "--id", "gift", "--kind", "refund"];
    assert_eq!(desk.json(&moved)?["balance"], 45);
    let buckets = desk.json(&["credits", "buckets", "ada"])?;
    let listed: Vec<_> = buckets["buckets"].as_array().ok_or("no list")?.iter().collect();
    assert_eq!(
        listed[0],
        &serde_json::json!({
            "id": "spring", "kind": "promotion", "amount": 40, "left": 25, "priority": 10, "validFrom": null,
            "expiresAt": "2100-01-01T00:00:00Z",
        })
    );
    assert_eq!(listed.iter().map(|one| &one["left"]).collect::<Vec<_>>(), [25, 0, 5, 15]);
    let (_, shown) = desk.done(&["credits", "buckets", "ada"])?;
    assert!(
        shown.contains("spring  promotion  25 of 40  priority 10  expires 2100-01-01T00:00:00Z"),
        "{shown}"
    );
    assert_eq!(desk.json(&["credits", "expire", "ada", "gift", "--id", "end"])?["balance"], 30);
    assert_eq!(desk.json(&["credits", "entries", "ada"])?["entries"][0]["bucket"], "gift");
    let tokens = ["credits", "top-up", "ada", "9", "--id", "invoice", "--currency", "tokens"];
    assert_eq!(desk.json(&tokens)?["balance"], 9);
    assert_eq!(desk.json(&["credits", "balance", "ada"])?["balance"], 30);
    for (wrong, status) in [
        (&["credits", "top-up", "ada", "9", "--id", "b", "--currency", "gold"][..], 1),
        (&["credits", "top-up", "ada", "9", "--id", "b", "--expires", "2020-01-01T00:00:00Z"], 1),
        (&["credits", "top-up", "ada", "9", "--id", "b", "--kind", "gift"], 2),
        (&["credits", "top-up", "ada", "9", "--id", "b", "--priority", "70000"], 2),
        (&["credits", "expire", "ada", "nothing", "--id", "b"], 1),
        (&["credits", "deduct", "ada", "9", "--id", "b", "--priority", "7"], 2),
    ] {
        assert_eq!(desk.keys(wrong)?.status.code(), Some(status), "{wrong:?}");
    }
    assert_eq!(desk.json(&["credits", "check"])?["disagreements"], serde_json::json!([]));
    let issue = ["keys", "issue", "--account", "ada", "--name", "bot", "--budgets", "5 tokens every 1day"];
    let key = desk.json(&issue)?["key"].clone();
    assert_eq!(key["budgets"], serde_json::json!(["5 tokens every 1day"]));
    let id = key["id"].as_str().ok_or("no id")?;
    assert_eq!(desk.json(&["keys", "update", id, "--budgets", "plan"])?["budgets"], serde_json::Value::Null);
    Ok(())
}

#[test]
fn an_erased_account_leaves_nothing_behind() -> Result<(), Fault> {
    let desk = Desk::with_store("keys-erase", "sqlite:keys.db")?;
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    let (id, _) = desk.issue("ada")?;
    desk.done(&["credits", "top-up", "ada", "50", "--id", "invoice-1"])?;
    let (out, err) = desk.done(&["accounts", "erase", "ada"])?;
    assert!(out.is_empty() && err.starts_with("ada is erased"), "{err}");
    for gone in [&["accounts", "show", "ada"][..], &["keys", "show", &id], &["credits", "balance", "ada"]] {
        assert_eq!(desk.keys(gone)?.status.code(), Some(1), "{gone:?}");
    }
    desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
    assert_eq!(desk.json(&["credits", "balance", "ada"])?["balance"], 0, "nothing is left of it");
    Ok(())
}

/// Other nodes may have a key in their caches: whoever revokes it is told that they were not.
#[test]
fn change_reports_the_delay_of_other_nodes() -> Result<(), Fault> {
    let Some(server) = Postgres::shared() else { return Ok(()) };
    for (name, store, is_shared) in
        [("keys-nodes", server.database(), true), ("keys-node", "sqlite:keys.db".to_owned(), false)]
    {
        let desk = Desk::with_store(name, &store)?;
        desk.done(&["accounts", "create", "ada", "--plan", "free"])?;
        let (id, _) = desk.issue("ada")?;
        let said = |arguments: &[&str]| {
            Ok::<_, Fault>(desk.done(arguments)?.1.contains("other nodes apply the change"))
        };
        for quiet in [&["keys", "show", &id][..], &["keys", "list"], &["accounts", "show", "ada"]] {
            assert!(!said(quiet)?, "{quiet:?}");
        }
        let table: [&[&str]; 9] = [
            &["keys", "update", &id, "--name", "renamed"],
            &["keys", "rotate", &id],
            &["keys", "pause", &id],
            &["keys", "resume", &id],
            &["accounts", "suspend", "ada"],
            &["accounts", "resume", "ada"],
            &["keys", "revoke", &id],
            &["keys", "erase", &id],
            &["accounts", "delete", "ada"],
        ];
        for change in table {
            assert_eq!(said(change)?, is_shared, "{change:?}");
        }
        let output = desk.keys(&["accounts", "erase", "ada", "--json"])?;
        if is_shared {
            let note: serde_json::Value = serde_json::from_slice(&output.stderr)?;
            assert!(note["note"].as_str().is_some_and(|note| note.contains("--redis")), "{note}");
        } else {
            assert_eq!(String::from_utf8(output.stderr)?, "");
        }
    }
    Ok(())
}

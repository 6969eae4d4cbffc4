//! Tests of the text format of records.

use super::*;

fn full() -> KeyRecord {
    let mut account = Account::new("acme \"ü\"", "pro");
    account.status = AccountStatus::Suspended;
    account.subscription = Some(Subscription::Lapsed);
    account.version = 7;
    account.agreements = [crate::name::Agreement::from("terms"), crate::name::Agreement::from("data")].into();
    account.quotas = Some(vec![
        "60 per minute".parse().unwrap(),
        "600 in any hour".parse().unwrap(),
        QuotaRef::Named("burst".to_owned()),
        QuotaRef::Policy(QuotaPolicy::new(10, Duration::from_secs(1)).unwrap().with_burst(50).unwrap()),
        QuotaRef::Policy(QuotaPolicy::new(5, Duration::from_secs(10)).unwrap().counting(QuotaScope::Account)),
        QuotaRef::Policy(
            QuotaPolicy::new(5, Duration::from_secs(7))
                .unwrap()
                .counting(QuotaScope::Network(NetworkCut::new(24, 48).unwrap())),
        ),
        QuotaRef::Policy(QuotaPolicy::new(9, Duration::from_secs(9)).unwrap().with_unit("tokens").unwrap()),
    ]);
    account.caps = Some([("limit".to_owned(), ParamLimit::AtMost(u64::MAX))].into());
    let mut key = KeyRecord::new(KeyId::generate(), KeyHash::from_bytes([0xa7; 32]), Arc::new(account));
    key.retiring =
        Some(PreviousSecret { hash: KeyHash::from_bytes([1; 32]), until: Timestamp::from_millis(-5) });
    key.version = 3;
    key.start = "acme_12".to_owned();
    key.name = "näme\n".to_owned();
    key.status = KeyStatus::Revoked;
    key.environment = "test".into();
    key.issued_by = Some(KeyId::from_bytes([9; 16]));
    key.created_at = Some(Timestamp::from_millis(1));
    key.expires_at = Some(Timestamp::from_millis(i64::MAX));
    key.revoked_at = Some(Timestamp::from_millis(3));
    key.last_used_at = Some(Timestamp::from_millis(4));
    key.scopes = Some(vec!["read".into()]);
    key.paths = Some(vec!["/v1/*".parse().unwrap()]);
    key.allowlist = Some(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
    let pool = QuotaPolicy::new(u32::MAX, Duration::from_hours(366 * 24)).unwrap();
    key.quotas =
        Some(vec![QuotaRef::Policy(pool.with_name("p").unwrap().counting(QuotaScope::Pool("x".into())))]);
    key.in_flight = Some(8);
    key.caps = Some([("cursor".to_owned(), ParamLimit::Forbidden)].into());
    key.metadata = [("a".to_owned(), "b".to_owned())].into();
    key
}

#[test]
fn written_record_round_trips() {
    let bare =
        KeyRecord::new(KeyId::generate(), KeyHash::from_bytes([0; 32]), Arc::new(Account::new("a", "free")));
    for key in [full(), bare] {
        let account = decode_account(&encode_account(&key.account)).unwrap();
        assert_eq!(account, *key.account);
        assert_eq!(decode_key(&encode_key(&key), Arc::new(account)).unwrap(), key);
    }
}

/// Databases and caches may contain records of older versions, in which keys had no issuer.
#[test]
fn record_without_an_issuer_reads_back() {
    let mut key = full();
    key.issued_by = None;
    let text = encode_key(&key);
    assert!(!text.contains("issued_by"), "nodes of an older version read it: {text}");
    assert_eq!(decode_key(&text, Arc::clone(&key.account)).unwrap(), key);
}

#[test]
fn foreign_or_damaged_bytes_are_an_error() {
    let key = full();
    let (text, other) = (encode_key(&key), Arc::new(Account::new("other", "pro")));
    assert!(decode_key(&text, other).unwrap_err().is_corrupt());
    let spoilt = [
        text.replace("\"v\":1", "\"v\":2"),
        text.replace("revoked\"", "suspended\""),
        text.replace("10.0.0.0/8", "10.0.0.0/99"),
        text.replace("a7a7", "zz+7"),
        text.replace("\"quota\":4294967295", "\"quota\":0"),
        text.replace("{\"v\"", "{\"more\":1,\"v\""),
        text[..text.len() - 1].to_owned(),
        String::new(),
        "null".to_owned(),
    ];
    for text in spoilt {
        assert!(decode_key(&text, Arc::clone(&key.account)).unwrap_err().is_corrupt(), "{text}");
        assert!(decode_account(&text).is_err(), "{text}");
    }
}

//! The text format of a second tier. A text that does not read back as written counts as missing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::{KeyHash, KeyRecord};
use crate::store::cached::record_cache::{CachedSubject, CachedText};
use crate::store::encoding::{decode_account, decode_key, encode_account, encode_key, hash_of, hex, text_of};

const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    v: u8,
    hash: String,
    /// The account and the key; `None` if no key has the hash.
    record: Option<(String, String)>,
}

pub(super) fn write(hash: &KeyHash, found: Option<&KeyRecord>) -> String {
    let record = found.map(|record| (encode_account(&record.account), encode_key(record)));
    text_of(&Text { v: VERSION, hash: hex(hash.as_bytes()), record })
}

pub(super) fn subject(record: &KeyRecord) -> CachedSubject {
    CachedSubject { key: record.id, account: record.account.id.clone() }
}

/// Reads a text that is stored for a hash; `None` if the text cannot be right.
#[expect(clippy::option_option, reason = "no text, and a text that says that there is no such key")]
pub(super) fn read(hash: &KeyHash, kept: &CachedText) -> Option<Option<Arc<KeyRecord>>> {
    let text: Text = serde_json::from_str(&kept.text).ok()?;
    if text.v != VERSION || hash_of(&text.hash).ok()? != *hash {
        return None;
    }
    let Some((account, key)) = text.record else {
        return kept.subject.is_none().then_some(None);
    };
    let record = decode_key(&key, Arc::new(decode_account(&account).ok()?)).ok()?;
    // Under another key's subject, a change of this key would not invalidate the text.
    let its_own = record.has_hash(hash) && kept.subject.as_ref() == Some(&subject(&record));
    its_own.then(|| Some(Arc::new(record)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::account::Account;
    use crate::key::{KeyHasher, KeyId};

    fn record(number: u8) -> KeyRecord {
        let hash = KeyHasher::sha256().hash(&[number]);
        let mut record =
            KeyRecord::new(KeyId::from_bytes([number; 16]), hash, Arc::new(Account::new("acme", "pro")));
        record.allowlist = Some(Vec::new());
        record
    }

    fn kept(text: &str, subject: Option<CachedSubject>) -> CachedText {
        CachedText::new(text.to_owned(), subject, Duration::from_secs(1))
    }

    #[test]
    fn record_with_empty_allowlist_round_trips() {
        let record = record(1);
        let text = write(&record.hash, Some(&record));
        let read_back = read(&record.hash, &kept(&text, Some(subject(&record)))).unwrap().unwrap();
        assert_eq!(*read_back, record);
        assert!(read_back.allowlist.is_some());
        let absent = write(&record.hash, None);
        assert_eq!(read(&record.hash, &kept(&absent, None)), Some(None));
    }

    #[test]
    fn foreign_or_damaged_text_is_a_miss() {
        let (record, other) = (record(1), record(2));
        let (hash, filed) = (record.hash, Some(subject(&record)));
        let text = write(&hash, Some(&record));
        let spoilt = [
            write(&other.hash, Some(&other)),
            write(&hash, Some(&other)),
            write(&other.hash, Some(&record)),
            text.replacen("\"v\":1", "\"v\":2", 1),
            text.replace("\\\"v\\\":1", "\\\"v\\\":2"),
            text.replace("{\"v\":1", "{\"more\":0,\"v\":1"),
            text[..text.len() / 2].to_owned(),
            "[".repeat(100_000),
            "null".to_owned(),
            String::new(),
            "\u{0}\u{fffd}".to_owned(),
        ];
        for text in spoilt {
            assert_eq!(read(&hash, &kept(&text, filed.clone())), None, "{text:.80}");
        }
        // The subject of another key, or none.
        assert_eq!(read(&hash, &kept(&text, Some(subject(&other)))), None);
        assert_eq!(read(&hash, &kept(&text, None)), None);
        assert_eq!(read(&hash, &kept(&write(&hash, None), filed)), None);
    }
}

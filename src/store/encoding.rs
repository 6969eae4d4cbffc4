//! A text format of records, for stores and caches outside this process.
//!
//! The format is private to this crate: JSON with a version number. Text that does not read back as written is an
//! error, since an older version or another program may have written to the database or the cache.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::account::{
    Account, AccountStatus, NetworkCut, ParamLimit, ParamLimits, QuotaPolicy, QuotaRef, QuotaScope,
    Subscription,
};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::key::PreviousSecret;
use crate::key::{KeyHash, KeyId, KeyRecord, KeyStatus};

/// The version that is written, and the only version that is read.
const VERSION: u8 = 1;

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    v: u8,
    id: String,
    hash: String,
    retiring: Option<(String, i64)>,
    version: u64,
    start: String,
    name: String,
    account: String,
    status: StatusText,
    environment: String,
    /// The issuer of the key; absent in records that were written before keys had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued_by: Option<String>,
    created_at: Option<i64>,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
    scopes: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    allowlist: Option<Vec<String>>,
    quotas: Option<Vec<QuotaText>>,
    /// Absent in records without a limit on requests in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_flight: Option<NonZeroU32>,
    /// Absent in records without budgets of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budgets: Option<Vec<String>>,
    caps: Option<Vec<(String, Option<u64>)>>,
    metadata: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountText {
    v: u8,
    id: String,
    plan: String,
    status: StatusText,
    /// The state of the subscription: `true` if active, `false` if lapsed; absent if the account has none.
    subscribed: Option<bool>,
    version: u64,
    agreements: Vec<String>,
    quotas: Option<Vec<QuotaText>>,
    caps: Option<Vec<(String, Option<u64>)>>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum StatusText {
    Active,
    Paused,
    Revoked,
    Suspended,
    Deleted,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum QuotaText {
    Named(String),
    Policy {
        name: String,
        quota: u32,
        nanos: u64,
        counts: QuotaScopeText,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        strict: bool,
        /// The capacity of the bucket; absent if it is the quota.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        burst: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum QuotaScopeText {
    Key,
    Account,
    Network { ipv4: u32, ipv6: u32 },
    Pool(String),
}

/// Returns a key as text. Of its account it includes only the id.
pub(crate) fn encode_key(record: &KeyRecord) -> String {
    let at = |moment: Option<Timestamp>| moment.map(Timestamp::as_millis);
    let texts = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>();
    text_of(&KeyText {
        v: VERSION,
        id: record.id.to_string(),
        hash: hex(record.hash.as_bytes()),
        retiring: record.retiring.map(|old| (hex(old.hash.as_bytes()), old.until.as_millis())),
        version: record.version,
        start: record.start.clone(),
        name: record.name.clone(),
        account: record.account.id.to_string(),
        status: match record.status {
            KeyStatus::Active => StatusText::Active,
            KeyStatus::Paused => StatusText::Paused,
            KeyStatus::Revoked => StatusText::Revoked,
        },
        environment: record.environment.to_string(),
        issued_by: record.issued_by.map(|issuer| issuer.to_string()),
        created_at: at(record.created_at),
        expires_at: at(record.expires_at),
        revoked_at: at(record.revoked_at),
        last_used_at: at(record.last_used_at),
        scopes: record.scopes.as_ref().map(|list| texts(&mut list.iter().map(ToString::to_string))),
        paths: record.paths.as_ref().map(|list| texts(&mut list.iter().map(|path| path.as_str().to_owned()))),
        allowlist: record.allowlist.as_ref().map(|list| texts(&mut list.iter().map(ToString::to_string))),
        quotas: record.quotas.as_deref().map(quota_texts),
        in_flight: record.in_flight.and_then(NonZeroU32::new),
        budgets: record.budgets.as_ref().map(|list| texts(&mut list.iter().map(ToString::to_string))),
        caps: record.caps.as_ref().map(cap_texts),
        metadata: record.metadata.clone(),
    })
}

/// Reads a key, which belongs to `account`, from text.
pub(crate) fn decode_key(text: &str, account: Arc<Account>) -> Result<KeyRecord, StoreError> {
    read_key(text, account).map_err(StoreError::corrupt)
}

/// Returns an account as text.
pub(crate) fn encode_account(account: &Account) -> String {
    text_of(&AccountText {
        v: VERSION,
        id: account.id.to_string(),
        plan: account.plan.to_string(),
        status: match account.status {
            AccountStatus::Active => StatusText::Active,
            AccountStatus::Suspended => StatusText::Suspended,
            AccountStatus::Deleted => StatusText::Deleted,
        },
        subscribed: account.subscription.map(|subscription| subscription == Subscription::Active),
        version: account.version,
        agreements: account.agreements.iter().map(ToString::to_string).collect(),
        quotas: account.quotas.as_deref().map(quota_texts),
        caps: account.caps.as_ref().map(cap_texts),
    })
}

/// Reads an account from text.
pub(crate) fn decode_account(text: &str) -> Result<Account, StoreError> {
    read_account(text).map_err(StoreError::corrupt)
}

fn read_key(text: &str, account: Arc<Account>) -> Fallible<KeyRecord> {
    let key: KeyText = serde_json::from_str(text)?;
    if key.v != VERSION || key.account != account.id.as_str() {
        return Err("the stored key has another version or account".into());
    }
    let at = |moment: Option<i64>| moment.map(Timestamp::from_millis);
    let mut record = KeyRecord::new(key.id.parse::<KeyId>()?, hash_of(&key.hash)?, account);
    if let Some((hash, until)) = key.retiring {
        record.retiring =
            Some(PreviousSecret { hash: hash_of(&hash)?, until: Timestamp::from_millis(until) });
    }
    record.version = key.version;
    record.start = key.start;
    record.name = key.name;
    record.status = match key.status {
        StatusText::Active => KeyStatus::Active,
        StatusText::Paused => KeyStatus::Paused,
        StatusText::Revoked => KeyStatus::Revoked,
        StatusText::Suspended | StatusText::Deleted => return Err("unknown key status".into()),
    };
    record.environment = key.environment.into();
    record.issued_by = key.issued_by.map(|issuer| issuer.parse()).transpose()?;
    record.created_at = at(key.created_at);
    record.expires_at = at(key.expires_at);
    record.revoked_at = at(key.revoked_at);
    record.last_used_at = at(key.last_used_at);
    record.scopes = key.scopes.map(|list| list.into_iter().map(Into::into).collect());
    record.paths = key.paths.map(|list| list.iter().map(|path| path.parse()).collect()).transpose()?;
    record.allowlist = key.allowlist.map(|list| list.iter().map(|net| net.parse()).collect()).transpose()?;
    record.quotas = key.quotas.map(quotas_of).transpose()?;
    record.in_flight = key.in_flight.map(NonZeroU32::get);
    record.budgets =
        key.budgets.map(|list| list.iter().map(|budget| budget.parse()).collect()).transpose()?;
    record.caps = key.caps.map(caps_of);
    record.metadata = key.metadata;
    Ok(record)
}

fn read_account(text: &str) -> Fallible<Account> {
    let decoded: AccountText = serde_json::from_str(text)?;
    if decoded.v != VERSION {
        return Err("the stored account has another version".into());
    }
    let mut account = Account::new(decoded.id, decoded.plan);
    account.status = match decoded.status {
        StatusText::Active => AccountStatus::Active,
        StatusText::Suspended => AccountStatus::Suspended,
        StatusText::Deleted => AccountStatus::Deleted,
        StatusText::Paused | StatusText::Revoked => return Err("unknown account status".into()),
    };
    account.subscription =
        decoded.subscribed.map(|active| if active { Subscription::Active } else { Subscription::Lapsed });
    account.version = decoded.version;
    account.agreements = decoded.agreements.into_iter().map(Into::into).collect();
    account.quotas = decoded.quotas.map(quotas_of).transpose()?;
    account.caps = decoded.caps.map(caps_of);
    Ok(account)
}

fn quota_texts(quotas: &[QuotaRef]) -> Vec<QuotaText> {
    let text = |quota: &QuotaRef| match quota {
        QuotaRef::Named(name) => QuotaText::Named(name.clone()),
        QuotaRef::Policy(policy) => QuotaText::Policy {
            name: policy.name().to_owned(),
            quota: policy.quota(),
            // A window lasts at most 366 days, which in nanoseconds is far below the limit of 64 bits.
            nanos: u64::try_from(policy.window().as_nanos()).unwrap_or(u64::MAX),
            counts: match policy.counts() {
                QuotaScope::Key => QuotaScopeText::Key,
                QuotaScope::Account => QuotaScopeText::Account,
                QuotaScope::Network(cut) => {
                    QuotaScopeText::Network { ipv4: cut.ipv4().into(), ipv6: cut.ipv6().into() }
                }
                QuotaScope::Pool(name) => QuotaScopeText::Pool(name.to_string()),
            },
            strict: policy.is_strict(),
            burst: policy.has_burst().then(|| policy.capacity()),
            unit: policy.unit().map(str::to_owned),
        },
    };
    quotas.iter().map(text).collect()
}

fn quotas_of(texts: Vec<QuotaText>) -> Fallible<Vec<QuotaRef>> {
    let quota = |text| match text {
        QuotaText::Named(name) => Ok(QuotaRef::Named(name)),
        QuotaText::Policy { name, quota, nanos, counts, strict, burst, unit } => {
            let counts = match counts {
                QuotaScopeText::Key => QuotaScope::Key,
                QuotaScopeText::Account => QuotaScope::Account,
                QuotaScopeText::Network { ipv4, ipv6 } => {
                    QuotaScope::Network(NetworkCut::of_bits(ipv4, ipv6)?)
                }
                QuotaScopeText::Pool(name) => QuotaScope::Pool(name.into()),
            };
            let policy = QuotaPolicy::new(quota, Duration::from_nanos(nanos))?.with_name(&name)?;
            let policy = policy.counting(counts);
            let policy = if strict { policy.in_any_window() } else { policy };
            let policy = match burst {
                Some(burst) => policy.with_burst(burst)?,
                None => policy,
            };
            Ok(QuotaRef::Policy(match unit {
                Some(unit) => policy.with_unit(&unit)?,
                None => policy,
            }))
        }
    };
    texts.into_iter().map(quota).collect()
}

fn cap_texts(caps: &ParamLimits) -> Vec<(String, Option<u64>)> {
    let most = |cap| match cap {
        ParamLimit::AtMost(most) => Some(most),
        ParamLimit::Forbidden => None,
    };
    caps.iter().map(|(parameter, cap)| (parameter.to_owned(), most(cap))).collect()
}

fn caps_of(texts: Vec<(String, Option<u64>)>) -> ParamLimits {
    texts
        .into_iter()
        .map(|(parameter, most)| (parameter, most.map_or(ParamLimit::Forbidden, ParamLimit::AtMost)))
        .into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
        text
    })
}

pub(crate) fn hash_of(text: &str) -> Fallible<KeyHash> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err("a hash must be 64 hexadecimal digits".into());
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
    }
    Ok(KeyHash::from_bytes(bytes))
}

pub(crate) fn text_of(value: &impl Serialize) -> String {
    // The value has only strings, numbers and lists, which JSON can always represent.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;

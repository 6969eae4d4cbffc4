//! A case and its steps, as the file says them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A case: each is played on a fresh gate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The name of the case.
    pub(crate) name: String,
    /// The capability without which it cannot pass.
    pub(crate) needs: Option<String>,
    /// The steps of the case.
    pub(crate) steps: Vec<Step>,
}

/// One step: a request, or something that happens in between.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a step with the members of one kind, and no other")]
pub(crate) enum Step {
    Exchange(Box<Exchange>),
    Advance(Advance),
    Revoke(Revoke),
    Sign(Sign),
    Repeat(Repeat),
}

/// A request is sent and its answer compared.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    pub(crate) request: Sent,
    pub(crate) expect: Expect,
}

/// The clock moves on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Advance {
    pub(crate) advance_s: u64,
}

/// A key is revoked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    pub(crate) revoke: String,
}

/// An account signs an agreement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sign {
    pub(crate) sign: Signature,
}

/// A step comes several times.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Repeat {
    pub(crate) repeat: usize,
    #[serde(rename = "step")]
    pub(crate) what: Box<Step>,
}

/// A request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) peer: Option<String>,
    pub(crate) body: Option<Value>,
}

/// An agreement that an account signs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signature {
    pub(crate) account: String,
    pub(crate) agreement: String,
}

/// The required properties of the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) status: Option<u16>,
    pub(crate) status_in: Option<Vec<u16>>,
    pub(crate) inner_called: Option<bool>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) headers_present: Vec<String>,
    pub(crate) headers_match: BTreeMap<String, String>,
    pub(crate) json: Option<Value>,
    pub(crate) json_has: Option<Value>,
    pub(crate) json_keys: BTreeMap<String, Vec<String>>,
    pub(crate) json_matches: BTreeMap<String, String>,
    pub(crate) json_some: BTreeMap<String, Value>,
    pub(crate) prefix_of: BTreeMap<String, String>,
    pub(crate) json_list_item_keys: BTreeMap<String, Vec<String>>,
    pub(crate) header_equals_json: BTreeMap<String, String>,
    pub(crate) body_lacks: Vec<String>,
    pub(crate) body_holds: Vec<String>,
    pub(crate) inner_uri_lacks: Vec<String>,
    pub(crate) inner_uri_is: Option<String>,
    pub(crate) credits_left: Option<CreditsLeft>,
    pub(crate) store_lookups: Option<usize>,
    pub(crate) save: BTreeMap<String, String>,
}

/// A balance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreditsLeft {
    pub(crate) account: String,
    pub(crate) balance: u64,
}

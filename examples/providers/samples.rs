//! Accounts, keys and requests to try: those that are built in, or those of a data file.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tollgate::KeyFormat;

use crate::data::{Data, Fault, KeyData};

/// The built-in samples of a provider, its keys yet without secrets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Samples {
    provider: String,
    #[serde(default)]
    plans: Value,
    accounts: Value,
    keys: Vec<SampleKey>,
    /// The arguments of `curl` that send a key, for the keys of a data file.
    request: String,
    requests: Vec<SampleRequest>,
}

/// A key, and what it is for; the rest is as in a data file.
#[derive(Debug, Deserialize)]
struct SampleKey {
    name: String,
    /// The prefix of the key's format; the first format's by default.
    #[serde(default)]
    prefix: String,
    #[serde(flatten)]
    members: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleRequest {
    /// The status of the answer, or of each answer.
    status: String,
    /// The description of the sample.
    shows: String,
    /// The arguments of `curl`: `{base}` is the server, `{name}` the key of that name.
    curl: String,
}

/// The data that a server starts with, and its printed guide.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) data: Data,
    keys: Vec<ShownKey>,
    /// Requests, each with what it shows.
    requests: Vec<(String, String)>,
}

/// A key that is printed, and what it is for.
#[derive(Debug)]
struct ShownKey {
    name: String,
    secret: String,
    /// The start of an earlier key under the same id with another secret.
    in_place: Option<String>,
}

impl Samples {
    pub(crate) fn read(text: &str) -> Result<Self, Fault> {
        serde_json::from_str(text).map_err(Into::into)
    }

    /// The built-in samples, with keys that have never been seen before.
    pub(crate) fn seed(self, formats: &[KeyFormat]) -> Result<Seed, Fault> {
        let (mut keys, mut records) = (Vec::new(), Vec::new());
        for (place, mut key) in self.keys.into_iter().enumerate() {
            let format = formats.iter().find(|format| format.prefix().starts_with(&key.prefix));
            let format = format.ok_or_else(|| format!("no format has the prefix {}", key.prefix))?;
            let secret = format.generate()?.expose_secret().to_owned();
            key.members.insert("id".into(), sample_id(place).into());
            key.members.insert("secret".into(), secret.as_str().into());
            records.push(Value::Object(key.members));
            keys.push(ShownKey { name: key.name, secret, in_place: None });
        }
        let plans = if self.plans.is_null() { json!({}) } else { self.plans };
        let data =
            json!({"provider": self.provider, "plans": plans, "accounts": self.accounts, "keys": records});
        let shown = |request: SampleRequest| (format!("{}: {}", request.status, request.shows), request.curl);
        let requests = self.requests.into_iter().map(shown).collect();
        Ok(Seed { data: serde_json::from_value(data)?, keys, requests })
    }

    /// A data file, with the sample request for the first of its keys that is active.
    pub(crate) fn seed_from(self, data: Data) -> Seed {
        let name = |(place, key): (usize, &KeyData)| format!("{}-{}", key.account, place + 1);
        let shown = |key: (usize, &KeyData)| ShownKey {
            name: name(key),
            secret: key.1.secret.clone(),
            in_place: None,
        };
        let keys = data.keys.iter().enumerate().map(shown).collect();
        let active = data.keys.iter().enumerate().find(|(_, key)| key.status == "active");
        let request = |key| {
            let name = name(key);
            (format!("{name} is active"), self.request.replace("{key}", &format!("{{{name}}}")))
        };
        Seed { keys, requests: active.map(request).into_iter().collect(), data }
    }
}

/// A sample key has the same id at every start: a store that keeps it is given no second one.
fn sample_id(place: usize) -> String {
    format!("00000000-0000-4000-8000-{:012}", 1001 + place)
}

impl Seed {
    /// Notes which of the keys were there before with other secrets, by how they start.
    pub(crate) fn note_kept(&mut self, in_place: Vec<Option<String>>) {
        for (key, start) in self.keys.iter_mut().zip(in_place) {
            key.in_place = start;
        }
    }

    /// Returns the commands to try, for a server at this address.
    pub(crate) fn guide(&self, base: &str) -> String {
        let width = self.keys.iter().map(|key| key.name.len()).max().unwrap_or_default();
        let clock = |now| format!("  # the file's clock starts at {now}; here the real one holds");
        let shown = |key: &ShownKey| match &key.in_place {
            None => format!("  key {:width$}  {}", key.name, key.secret),
            Some(start) => {
                format!("  key {:width$}  {start}…, kept: its secret was shown when it was made", key.name)
            }
        };
        let place = |key: &ShownKey| format!("{{{}}}", key.name);
        let kept: Vec<_> = self.keys.iter().filter(|key| key.in_place.is_some()).map(place).collect();
        let possible = |curl: &str| !kept.iter().any(|place| curl.contains(place));
        let requests = self.requests.iter().filter(|(_, curl)| possible(curl)).flat_map(|(shows, curl)| {
            let fill = |curl: String, key: &ShownKey| curl.replace(&place(key), &key.secret);
            let curl = self.keys.iter().fold(curl.replace("{base}", base), fill);
            [format!("  # {shows}"), format!("  curl -i {curl}")]
        });
        self.data
            .now
            .iter()
            .map(clock)
            .chain(self.keys.iter().map(shown))
            .chain(requests)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

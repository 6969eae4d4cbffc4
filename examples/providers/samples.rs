//! Sample accounts, keys and requests: the built-in ones, or those of a data file.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tollgate::KeyFormat;

use crate::data::{Data, Fault, KeyData};

/// The built-in samples of a provider. Their keys have no secrets yet.
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

/// A sample key. Its other members are those of a data file.
#[derive(Debug, Deserialize)]
struct SampleKey {
    name: String,
    /// The prefix of the key's format. Defaults to that of the first format.
    #[serde(default)]
    prefix: String,
    #[serde(flatten)]
    members: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleRequest {
    /// The status of the response, or of each response.
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
    /// The sample requests, each with its description.
    requests: Vec<(String, String)>,
}

/// A key that is printed, with its description.
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

    /// Returns the built-in samples with new keys.
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

    /// Returns the data of a file, with a sample request for its first active key.
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

/// Returns the id of a sample key. It is the same at every start, so a persistent store gets only one such key.
fn sample_id(place: usize) -> String {
    format!("00000000-0000-4000-8000-{:012}", 1001 + place)
}

impl Seed {
    /// Records the starts of earlier keys that are stored under the same ids with other secrets.
    pub(crate) fn note_kept(&mut self, in_place: Vec<Option<String>>) {
        for (key, start) in self.keys.iter_mut().zip(in_place) {
            key.in_place = start;
        }
    }

    /// Returns the commands to try, for a server at this address.
    pub(crate) fn guide(&self, base: &str) -> String {
        let width = self.keys.iter().map(|key| key.name.len()).max().unwrap_or_default();
        let clock = |now| {
            format!("  # the clock of the data file starts at {now}; this server uses the system clock")
        };
        let shown = |key: &ShownKey| match &key.in_place {
            None => format!("  key {:width$}  {}", key.name, key.secret),
            Some(start) => {
                format!("  key {:width$}  {start}…, kept: its secret was shown when it was created", key.name)
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

//! Conversion of `[presentation]`, `[agreements]` and `[errors]` into a [`Presentation`].

use std::str::FromStr;

use http::StatusCode;

use crate::config::{Config, WordingConfig};
use crate::denial::DenialKind;
use crate::error::ConfigError;
use crate::respond::{Presentation, Wording};
use crate::words;

impl FromStr for DenialKind {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Self::ALL.iter().map(|kind| kind.name());
            ConfigError::new(text, "there is no such kind of refusal", words::one_of(text, names))
        })
    }
}

impl PartialOrd for DenialKind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DenialKind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (*self as usize).cmp(&(*other as usize))
    }
}

pub(super) fn presentation(config: &Config) -> Result<Presentation, ConfigError> {
    let settings = &config.presentation;
    let within = |error: ConfigError| error.in_member("presentation");
    let mut presentation = match &settings.template {
        Some(template) => Presentation::json(template).map_err(within)?,
        None => Presentation::problem(),
    };
    if let Some(realm) = &settings.realm {
        presentation = presentation.realm(realm).map_err(within)?;
    }
    if let Some(wait) = &settings.longest_wait {
        presentation = presentation.longest_wait(wait.0.0).map_err(within)?;
    }
    for (name, agreement) in &config.agreements {
        if name.is_empty() {
            let (problem, expected) = ("an agreement has a name", "write one as in `[agreements.terms]`");
            return Err(ConfigError::new("", problem, expected).in_member("agreements"));
        }
        if agreement.url.as_deref() == Some("") {
            let (problem, expected) = ("nothing can be signed there", "write a URL, or leave it out");
            return Err(ConfigError::new("", problem, expected).in_member(format!("agreements.{name}.url")));
        }
        presentation = presentation.agreement_url(name.as_str(), agreement.url.clone().unwrap_or_default());
    }
    for (kind, wording) in &config.errors {
        let wording =
            wording.wording().map_err(|error| error.in_member(format!("errors.{}", kind.0.name())))?;
        presentation = presentation.wording(kind.0, wording);
    }
    Ok(presentation)
}

impl WordingConfig {
    fn wording(&self) -> Result<Wording, ConfigError> {
        let error = |code: u16| {
            StatusCode::from_u16(code).ok().filter(|code| code.is_client_error() || code.is_server_error())
        };
        let status = match self.status {
            None => None,
            Some(code) => Some(error(code).ok_or_else(|| {
                let problem = "a refusal cannot have this status";
                ConfigError::new(code.to_string(), problem, "write one from 400 to 599").in_member("status")
            })?),
        };
        Ok(Wording {
            status,
            code: self.code.clone(),
            type_uri: self.r#type.clone(),
            title: self.title.clone(),
            message: self.message.clone(),
            members: self.members.clone().into_iter().collect(),
        })
    }
}

//! Conversion of `[error_format]`, `[agreements]` and `[errors]` into a [`ErrorFormat`].

use std::str::FromStr;

use http::StatusCode;

use crate::config::{Config, ErrorTextConfig};
use crate::denial::DenialKind;
use crate::error::ConfigError;
use crate::respond::{ErrorFormat, ErrorText};
use crate::words;

impl FromStr for DenialKind {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Self::ALL.iter().map(|kind| kind.name());
            ConfigError::new(text, "unknown denial kind", words::one_of(text, names))
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

pub(super) fn error_format(config: &Config) -> Result<ErrorFormat, ConfigError> {
    let settings = &config.presentation;
    let within = |error: ConfigError| error.in_member("presentation");
    let mut error_format = match &settings.template {
        Some(template) => ErrorFormat::json(template).map_err(within)?,
        None => ErrorFormat::problem(),
    };
    if let Some(realm) = &settings.realm {
        error_format = error_format.realm(realm).map_err(within)?;
    }
    if let Some(wait) = &settings.longest_wait {
        error_format = error_format.longest_wait(wait.0.0).map_err(within)?;
    }
    if settings.problem_types {
        error_format = error_format.with_problem_types().map_err(within)?;
    }
    for (name, agreement) in &config.agreements {
        if name.is_empty() {
            let (problem, expected) = ("the agreement name is empty", "write one as in `[agreements.terms]`");
            return Err(ConfigError::new("", problem, expected).in_member("agreements"));
        }
        if agreement.url.as_deref() == Some("") {
            let (problem, expected) = ("the URL of the agreement is empty", "write a URL, or leave it out");
            return Err(ConfigError::new("", problem, expected).in_member(format!("agreements.{name}.url")));
        }
        error_format = error_format.agreement_url(name.as_str(), agreement.url.clone().unwrap_or_default());
    }
    for (kind, error_text) in &config.errors {
        let error_text =
            error_text.error_text().map_err(|error| error.in_member(format!("errors.{}", kind.0.name())))?;
        error_format = error_format.error_text(kind.0, error_text);
    }
    Ok(error_format)
}

impl ErrorTextConfig {
    fn error_text(&self) -> Result<ErrorText, ConfigError> {
        let error = |code: u16| {
            StatusCode::from_u16(code).ok().filter(|code| code.is_client_error() || code.is_server_error())
        };
        let status = match self.status {
            None => None,
            Some(code) => Some(error(code).ok_or_else(|| {
                let problem = "invalid status for a denial";
                ConfigError::new(code.to_string(), problem, "write one from 400 to 599").in_member("status")
            })?),
        };
        Ok(ErrorText {
            status,
            code: self.code.clone(),
            type_uri: self.r#type.clone(),
            title: self.title.clone(),
            message: self.message.clone(),
            members: self.members.clone().into_iter().collect(),
        })
    }
}

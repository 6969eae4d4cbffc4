//! Where in the file a fault stands.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::ConfigError;
use crate::config::{Config, text};

/// A fault that was found while the file was read: the parser knows the place.
pub(super) fn syntax(text: &str, file: &str, member: &str, error: &toml::de::Error) -> ConfigError {
    let span = error.span().or_else(|| find(text, member)).unwrap_or(0..0);
    let line = line_at(text, span.start);
    let found = text.get(span).map(str::trim).filter(|found| !found.contains('\n')).unwrap_or_default();
    let (value, problem, expected) = match text::told(error.message()) {
        Some((value, problem, expected)) => (value, problem, expected.to_owned()),
        None => explain(error.message(), found.trim_matches(['"', '\''])),
    };
    let named = match member.strip_suffix('?') {
        Some(table) => format!("{table}{value}"),
        None => member.trim_start_matches('.').to_owned(),
    };
    let fault = if may_be_secret(text, member, error.message()) {
        ConfigError::new(
            "",
            "what is written here may be a secret",
            "write `pepper = \"env:NAME\"` or `pepper = \"file:PATH\"`",
        )
    } else {
        ConfigError::new(value, problem, expected)
    };
    fault.in_member(named).in_file(file).at_line(line)
}

/// Whether saying what stands at a fault could say a pepper that was written into the file. Where the text is no TOML at
/// all, nothing tells which member a piece of it belongs to.
fn may_be_secret(text: &str, member: &str, message: &str) -> bool {
    match member {
        "" => text.contains("pepper"),
        _ => member.starts_with("hash") && !message.starts_with("unknown field"),
    }
}

/// What the parser's own words come to: value, problem, and what would be right.
fn explain<'t>(message: &'t str, found: &'t str) -> (&'t str, &'t str, String) {
    let quoted = || message.split('`').nth(1).unwrap_or(found);
    if message.starts_with("missing field") {
        return ("", message, format!("add `{}`", quoted()));
    }
    if message == "duplicate key" {
        return (found, "this is said twice", "say it once".to_owned());
    }
    let value = if message.starts_with("unknown") { quoted() } else { found };
    let Some((problem, wanted)) = message.split_once(", expected ") else {
        return (value, message, "write TOML as https://toml.io describes it".into());
    };
    (value, problem, format!("write {}", in_words(wanted)))
}

/// A Rust type as the file knows it.
fn in_words(wanted: &str) -> &str {
    match wanted {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 to 9223372036854775807",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "a table",
        table if table.starts_with("struct ") => "a table",
        plain => plain,
    }
}

/// A fault that was found later: its place is where its member stands, and in that, its value.
pub(super) fn place(config: &Config, error: ConfigError) -> ConfigError {
    if config.file.is_empty() {
        return error;
    }
    let span = find(&config.text, error.member()).unwrap_or(0..0);
    let written = config.text.get(span.clone()).unwrap_or_default();
    let value = error.value();
    // Quoted, it is the whole of a text and not the beginning of another.
    let forms = [format!("\"{value}\""), format!("'{value}'"), value.to_owned()];
    let within = forms.iter().find_map(|form| written.find(form)).unwrap_or(0);
    error.at_line(line_at(&config.text, span.start + within)).in_file(config.file.as_str())
}

fn line_at(text: &str, place: usize) -> usize {
    1 + text.get(..place).map_or(0, |before| before.matches('\n').count())
}

/// The part of the text that a member takes up, or the innermost table around it that is there.
fn find(text: &str, member: &str) -> Option<Range<usize>> {
    let mut value = &DeValue::Table(DeTable::parse(text).ok()?.into_inner());
    let (mut rest, mut found) = (member, None);
    while let Some((span, inner, behind)) = step(value, rest) {
        (found, value, rest) = (Some(span), inner, behind.strip_prefix('.').unwrap_or(behind));
    }
    found
}

/// One step down a dotted path: the part of the text, what is there, and the rest of the path.
fn step<'v, 'p>(value: &'v DeValue<'v>, path: &'p str) -> Option<(Range<usize>, &'v DeValue<'v>, &'p str)> {
    match value {
        DeValue::Table(table) => {
            let behind = |key: &str| {
                path.strip_prefix(key).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            // A name may hold dots: the longest that fits is meant.
            let fitting = table.iter().filter(|(key, _)| behind(key.get_ref()).is_some());
            let (key, inner) = fitting.max_by_key(|(key, _)| key.get_ref().len())?;
            let end = inner.span().end.max(key.span().end);
            Some((key.span().start..end, inner.get_ref(), behind(key.get_ref())?))
        }
        DeValue::Array(items) => {
            let (place, behind) = path.strip_prefix('[')?.split_once(']')?;
            let item = items.get(place.parse::<usize>().ok()?)?;
            Some((item.span(), item.get_ref(), behind))
        }
        _ => None,
    }
}

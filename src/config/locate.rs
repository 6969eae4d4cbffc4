//! Lines and columns of configuration errors in the file.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::config::{Config, members, text};
use crate::error::ConfigError;
use crate::words;

/// Converts an error of the TOML parser. The parser reports the position.
pub(super) fn syntax(text: &str, file: &str, member: &str, error: &toml::de::Error) -> ConfigError {
    let span = error.span().or_else(|| find(text, member)).unwrap_or(0..0);
    let (line, column) = position(text, span.start);
    let earlier = if error.message() == "duplicate key" { first_of(text, &span) } else { None };
    let found = text.get(span).map(str::trim).filter(|found| !found.contains('\n')).unwrap_or_default();
    let (value, problem, expected) = match text::parts_of_fault(error.message()) {
        Some((value, problem, expected)) => (value, problem, expected.to_owned()),
        None => explain(error.message(), member, found.trim_matches(['"', '\''])),
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
    let fault = match earlier {
        Some((key, place)) => fault.beside(key).other_at_line(position(text, place).0),
        None => fault,
    };
    fault.in_member(named).in_file(file).at_line(line).at_column(column)
}

/// Returns the key that is repeated at a range of the text, and the offset of its first occurrence.
fn first_of(text: &str, repeated: &Range<usize>) -> Option<(String, usize)> {
    let name = text.get(repeated.clone())?.trim_matches(['"', '\'']);
    let (read, _) = DeTable::parse_recoverable(text.get(..repeated.start)?);
    // Several tables may have a key of this name. The nearest one before the repetition is in the same table.
    let mut places = Vec::new();
    keys_named(name, &DeValue::Table(read.into_inner()), &mut places);
    let place = places.into_iter().max()?;
    Some((name.to_owned(), place))
}

fn keys_named(name: &str, value: &DeValue<'_>, places: &mut Vec<usize>) {
    match value {
        DeValue::Table(table) => {
            for (key, inner) in table {
                if key.get_ref() == name {
                    places.push(key.span().start);
                }
                keys_named(name, inner.get_ref(), places);
            }
        }
        DeValue::Array(items) => items.iter().for_each(|item| keys_named(name, item.get_ref(), places)),
        _ => {}
    }
}

/// Returns true if the text at an error may be a pepper, so that the error must not quote it. If the text is not valid
/// TOML, the member is unknown; then any text that contains the word `pepper` counts.
fn may_be_secret(text: &str, member: &str, message: &str) -> bool {
    match member {
        "" => text.contains("pepper"),
        _ => member.starts_with("hash") && !message.starts_with("unknown field"),
    }
}

/// Converts a message of the parser into a value, a problem and a remedy.
fn explain<'t>(message: &'t str, member: &str, found: &'t str) -> (&'t str, &'t str, String) {
    let quoted = || message.split('`').nth(1).unwrap_or(found);
    if message.starts_with("missing field") {
        return ("", message, format!("add `{}`", quoted()));
    }
    if message == "duplicate key" {
        return (found, "duplicate key", "write it once".to_owned());
    }
    let value = if message.starts_with("unknown") { quoted() } else { found };
    let Some((problem, wanted)) = message.split_once(", expected ") else {
        return (value, message, "write TOML as https://toml.io describes it".into());
    };
    if wanted == "a sequence" {
        return (value, problem, list_of(message, member, found));
    }
    if message.starts_with("unknown field `deny`") && member.starts_with("rules[") {
        let expected = "`deny` belongs under `[default]`, and denies the requests that no rule matches: \
            set it there, and leave this rule out";
        return (value, problem, expected.to_owned());
    }
    if message.starts_with("unknown field") && member.starts_with("sources[") {
        // `literal` is a member of a source, but names no place of a key.
        let (places, meant) = (["header", "authorization", "query"], words::meant(value, ["literal"]));
        return (value, problem, format!("{meant}{}", words::one_of(value, places.into_iter())));
    }
    let mut meant = String::new();
    if message.starts_with("unknown") {
        meant = words::meant(value, wanted.split('`').skip(1).step_by(2));
    }
    if meant.is_empty() && message.starts_with("unknown field") {
        meant = members::elsewhere(value);
    }
    (value, problem, format!("{meant}write {}", in_words(wanted)))
}

/// Returns the remedy for another value in place of a list, with an example. The items of such a list are no tables.
fn list_of(message: &str, member: &str, found: &str) -> String {
    if message.starts_with("invalid type: string") {
        format!("write a list, as in `[{found:?}]`")
    } else if member.ends_with("quotas") {
        "write a list, as in `[\"60 per minute\"]`".to_owned()
    } else {
        "write a list".to_owned()
    }
}

/// Returns the name that the file's author knows for a Rust type.
fn in_words(wanted: &str) -> &str {
    match wanted {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 to 9223372036854775807",
        "a boolean" => "`true` or `false`",
        plain => plain,
    }
}

/// Adds file, line and column to an error that was found after parsing. The position is that of the value within the
/// member, or that of the member if the value does not occur in it.
pub(super) fn place(config: &Config, error: ConfigError) -> ConfigError {
    if config.file.is_empty() {
        return error;
    }
    let span = find(&config.text.0, error.member()).unwrap_or(0..0);
    let written = config.text.0.get(span.clone()).unwrap_or_default();
    let value = error.value();
    // The quoted forms come first: a bare value could also match the start of a longer string.
    let forms = [format!("\"{value}\""), format!("'{value}'"), value.to_owned()];
    let within = forms.iter().find_map(|form| written.find(form)).unwrap_or(0);
    let (line, column) = position(&config.text.0, span.start + within);
    let other = error.other().and_then(|other| find(&config.text.0, other));
    let error = match other {
        Some(other) => error.other_at_line(position(&config.text.0, other.start).0),
        None => error,
    };
    error.at_line(line).at_column(column).in_file(config.file.as_str())
}

/// Returns the line and the column of a byte offset in a text. Both count from 1; columns count characters.
pub(super) fn position(text: &str, place: usize) -> (usize, usize) {
    let before = text.get(..place).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    (1 + before.matches('\n').count(), 1 + line.chars().count())
}

/// Returns the range of a member in the text. For an absent member, returns the range of the innermost table around it
/// that is present.
fn find(text: &str, member: &str) -> Option<Range<usize>> {
    let mut value = &DeValue::Table(DeTable::parse(text).ok()?.into_inner());
    let (mut rest, mut found) = (member, None);
    while let Some((span, inner, behind)) = step(value, rest) {
        (found, value, rest) = (Some(span), inner, behind.strip_prefix('.').unwrap_or(behind));
    }
    found
}

/// Takes one step down a dotted path. Returns the range in the text, the value there, and the remaining path.
fn step<'v, 'p>(value: &'v DeValue<'v>, path: &'p str) -> Option<(Range<usize>, &'v DeValue<'v>, &'p str)> {
    match value {
        DeValue::Table(table) => {
            let behind = |key: &str| {
                path.strip_prefix(key).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            // A name may contain dots, so the longest name that matches is taken.
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

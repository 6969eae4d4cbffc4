//! The search for the presented key of a request.

use std::borrow::Cow;

use http::header::AUTHORIZATION;

use crate::key::{KeySource, PresentedKey};
use crate::key::{Place, is_token};
use crate::query;
use crate::request::HeaderCount;
use crate::request::RequestView;

/// The result of a search in one key source.
#[derive(Debug)]
pub(crate) enum KeySearch<'a> {
    /// The source is not present.
    Absent,
    /// A credential of another scheme.
    Foreign,
    /// The source is present but contains no key.
    Malformed,
    /// The source is present more than once, or two sources are present and conflicts are denied.
    Twice,
    /// A presented key, not checked yet.
    Key(PresentedKey<'a>),
}

/// Returns the key of the first source that is present, and the index of that source.
#[inline(always)]
#[expect(clippy::inline_always, reason = "what it finds would be copied, and the copy wait for it")]
pub(crate) fn find_key<'a>(
    sources: &[KeySource],
    view: &RequestView<'a>,
    refuse_conflict: bool,
) -> (KeySearch<'a>, usize) {
    let mut missing = KeySearch::Absent;
    for (place, source) in sources.iter().enumerate() {
        let conflicts = || refuse_conflict && sources[place + 1..].iter().any(|source| is_in(source, view));
        let found = match source.place() {
            Place::Header { name, .. } => match view.field(name) {
                HeaderCount::Never => continue,
                HeaderCount::Once(value) if !conflicts() => {
                    return (KeySearch::Key(PresentedKey::borrowed(value)), place);
                }
                HeaderCount::Once(_) | HeaderCount::Often => return (KeySearch::Twice, place),
            },
            Place::Authorization { scheme, literal } => authorization(view, scheme, *literal),
            Place::Query(name) => parameter(view, name),
        };
        match found {
            KeySearch::Absent => {}
            KeySearch::Foreign => missing = KeySearch::Malformed,
            _ if conflicts() => return (KeySearch::Twice, place),
            found => return (found, place),
        }
    }
    (missing, 0)
}

#[inline(never)]
fn authorization<'a>(view: &RequestView<'a>, scheme: &str, literal: bool) -> KeySearch<'a> {
    match view.field(&AUTHORIZATION) {
        HeaderCount::Never => KeySearch::Absent,
        HeaderCount::Once(value) => credential(value, scheme.as_bytes(), literal),
        HeaderCount::Often => KeySearch::Twice,
    }
}

fn credential<'a>(value: &'a [u8], scheme: &[u8], literal: bool) -> KeySearch<'a> {
    let Some((named, rest)) = value.split_at_checked(scheme.len()) else { return KeySearch::Foreign };
    let same = if literal { named == scheme } else { named.eq_ignore_ascii_case(scheme) };
    let key = match rest {
        _ if !same => return KeySearch::Foreign,
        [b' ', key @ ..] if literal => key,
        [b' ', ..] => &rest[rest.iter().take_while(|&&byte| byte == b' ').count()..],
        [byte, ..] if is_token(*byte) => return KeySearch::Foreign,
        _ => return KeySearch::Malformed,
    };
    if key.is_empty() { KeySearch::Malformed } else { KeySearch::Key(PresentedKey::borrowed(key)) }
}

#[inline(never)]
fn parameter<'a>(view: &RequestView<'a>, name: &str) -> KeySearch<'a> {
    let mut found = KeySearch::Absent;
    let Some(query) = view.query() else { return found };
    for value in query::pairs(query).filter_map(|pair| pair.value_of(name)) {
        if !matches!(found, KeySearch::Absent) {
            return KeySearch::Twice;
        }
        found = KeySearch::Key(match value {
            Cow::Borrowed(key) => PresentedKey::borrowed(key),
            Cow::Owned(key) => PresentedKey::decoded(key),
        });
    }
    found
}

/// Returns true if a source contains anything that is meant as a key.
#[cold]
fn is_in(source: &KeySource, view: &RequestView<'_>) -> bool {
    match source.place() {
        Place::Header { name, .. } => view.field(name) != HeaderCount::Never,
        Place::Authorization { scheme, literal } => {
            !matches!(authorization(view, scheme, *literal), KeySearch::Absent | KeySearch::Foreign)
        }
        Place::Query(name) => !matches!(parameter(view, name), KeySearch::Absent),
    }
}

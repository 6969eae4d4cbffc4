//! Removal of keys from paths.

use std::borrow::Cow;

use crate::key::KeyFormat;
use crate::query::decode;

/// The text in place of a segment that contains a key.
const REDACTED: &str = "***";

/// Returns a path with `***` in place of each segment that contains a whole key, also if the segment is
/// percent-encoded.
pub(crate) fn without_keys<'p>(path: &'p str, formats: &[KeyFormat]) -> Cow<'p, str> {
    // Decoding makes no text longer.
    if formats.iter().all(|format| path.len() < format.shortest()) {
        return Cow::Borrowed(path);
    }
    let is_secret = |segment: &str| {
        let segment = decode(segment.as_bytes());
        formats.iter().any(|format| format.is_in(&segment))
    };
    if !path.split('/').any(is_secret) {
        return Cow::Borrowed(path);
    }
    let shown = path.split('/').map(|segment| if is_secret(segment) { REDACTED } else { segment });
    Cow::Owned(shown.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::without_keys;
    use crate::key::{Alphabet, KeyFormat, Length};

    #[test]
    fn checksum_tells_keys_from_other_text() {
        let format = KeyFormat::new("acme_", Length::exactly(32)).unwrap().with_checksum().unwrap();
        let issued = format.generate().unwrap();
        let key = issued.expose_secret();
        let path =
            |key: &str| without_keys(&format!("/v1/{key}x"), std::slice::from_ref(&format)).into_owned();
        assert_eq!(path(key), "/v1/***");
        let other = format!("{}{}", &key[..key.len() - 1], if key.ends_with('a') { "b" } else { "a" });
        assert_eq!(path(&other), format!("/v1/{other}x"));
    }

    #[test]
    fn only_segments_with_a_whole_key_are_hidden() {
        let format = |prefix: &str, body| KeyFormat::new(prefix, body).unwrap();
        let formats = [
            format("acme_", Length::exactly(8)),
            format("", Length::exactly(32)).with_alphabet(Alphabet::hex()),
            // It accepts ordinary words.
            format("", Length::between(5, 256)),
        ];
        let bare = "0123456789abcdef".repeat(2);
        let rows = [
            ("/v1/acme_a1b2c3d4/x".to_owned(), "/v1/***/x"),
            ("/v1/acme%5Fa1b2c3d4".to_owned(), "/v1/***"),
            ("/v1/key=acme_a1b2c3d4;x/acme_a1b2c3d4".to_owned(), "/v1/***/***"),
            (format!("/{bare}"), "/***"),
            ("/v1/acme_a1b2c3d".to_owned(), "/v1/acme_a1b2c3d"),
            ("/v1/acme_a1b2c3d45".to_owned(), "/v1/***"),
            ("/v1/aacme_a1b2c3d4.json/x".to_owned(), "/v1/***/x"),
            (format!("/{bare}0/x"), "/***/x"),
            (format!("/{}/x", &bare[1..]), &*format!("/{}/x", &bare[1..])),
            (String::new(), ""),
        ];
        for (path, shown) in rows {
            assert_eq!(without_keys(&path, &formats), shown, "{path}");
        }
    }
}

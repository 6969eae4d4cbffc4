//! Key formats and path patterns of keys, against regular expressions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use regex::bytes::Regex;
use tollgate::KeyFormat;
use tollgate::key::{Alphabet, Length, PathPattern};

/// Alphabets, with the class of a regular expression that says the same.
const ALPHABETS: [(&str, &str); 4] =
    [("base62", "[0-9A-Za-z]"), ("base64url", "[0-9A-Za-z_-]"), ("hex", "[0-9a-f]"), ("visible", "[!-~]")];

fn settings() -> ProptestConfig {
    ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() }
}

/// Bytes that are a key, or nearly: a prefix cut or folded, strange bytes in the body or behind it.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let prefix = prop::sample::select(vec!["qd_", "QD_", "qd", "_", "", "qd_qd_", " qd_", "kwery_live_"]);
    let byte = prop_oneof![
        20 => prop::sample::select(b"09azAZfg".to_vec()),
        1 => prop::sample::select(b"_-,. \n\r\t\0~!/{\x7f\x80\xff\xc2\xa0".to_vec()),
    ];
    let tail = prop::sample::select(vec![&b""[..], b"", b"", b"\n", b"\r\n", b" ", b"\0", b"\xef\xbc\x91"]);
    (prefix, prop::collection::vec(byte, 0..14), tail)
        .prop_map(|(prefix, body, tail)| [prefix.as_bytes(), &body, tail].concat())
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn format_accepts_what_its_regex_accepts(
        key in key(),
        prefix in prop::sample::select(vec!["qd_", "", "kwery_live_", "a.b"]),
        (name, class) in prop::sample::select(ALPHABETS.to_vec()),
        least in 1_usize..8,
        more in 0_usize..6,
    ) {
        let alphabet: Alphabet = name.parse().unwrap();
        let format = KeyFormat::new(prefix, Length::between(least, least + more)).unwrap().with_alphabet(alphabet);
        let pattern = format!(r"(?-u)\A{}{class}{{{least},{}}}\z", regex::escape(prefix), least + more);
        prop_assert_eq!(format.accepts(&key), Regex::new(&pattern).unwrap().is_match(&key), "{}", pattern);
    }

    #[test]
    fn start_is_a_prefix_and_hides_half(
        body in "[0-9a-z]{1,40}",
        least in 8_usize..20,
    ) {
        let format = KeyFormat::new("qd_", Length::between(least, 60)).unwrap();
        let key = format!("qd_{body}");
        let start = format.start_of(&key);
        prop_assert!(key.starts_with(start));
        if format.accepts(key.as_bytes()) {
            prop_assert!(start.len() - 3 <= body.len() / 2, "{} of {}", start, key);
        }
    }

    #[test]
    fn key_path_covers_exact_bytes_only(
        stem in "(/[ab]{1,2}){1,3}",
        below in any::<bool>(),
        path in "(/[ab]{0,2}){1,4}",
    ) {
        let text = if below { format!("{stem}/*") } else { stem.clone() };
        let pattern: PathPattern = text.parse().unwrap();
        let expression = if below { format!(r"\A{stem}/.+\z") } else { format!(r"\A{stem}\z") };
        prop_assert_eq!(pattern.covers(&path), regex::Regex::new(&expression).unwrap().is_match(&path));
    }
}

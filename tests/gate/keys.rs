//! Keys as they are made, and what is never shown of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use bytes::Bytes;
use http_body_util::Empty;
use std::collections::HashSet;

use support::World;
use support::providers::KWERY;
use tollgate::KeyFormat;
use tollgate::key::{Alphabet, KeyHasher, Length, PresentedKey};

/// The formats of the five providers that can issue, and one with a checksum.
fn formats() -> Vec<(&'static str, KeyFormat)> {
    let exactly = |prefix: &str, body| KeyFormat::new(prefix, Length::exactly(body)).unwrap();
    vec![
        ("backquant", exactly("bq_live_", 32)),
        ("quantdata", exactly("qd_", 32)),
        ("vectrade", exactly("vq_", 43).with_alphabet(Alphabet::base64_url())),
        ("quantconomy", exactly("mtk_", 44)),
        ("kwery", KeyFormat::new("kwery_live_", Length::between(1, 245)).unwrap()),
        ("checksum", exactly("acme_", 38).with_checksum().unwrap()),
        ("hex", exactly("hex_", 32).with_alphabet(Alphabet::hex())),
    ]
}

#[test]
fn generated_keys_are_accepted_and_unique() {
    for (name, format) in formats() {
        let mut seen = HashSet::new();
        for _ in 0..=100_000 / formats().len() {
            let key = format.generate().unwrap();
            let key = key.expose_secret();
            assert!(format.accepts(key.as_bytes()), "{name}");
            assert!(seen.insert(key.to_owned()), "{name}: a key came twice");
        }
    }
    let (_, format) = &formats()[0];
    let keys: HashSet<_> =
        (0..100_000).map(|_| format.generate().unwrap().expose_secret().to_owned()).collect();
    assert_eq!(keys.len(), 100_000);
}

#[test]
fn generated_characters_are_equally_likely() {
    // 36 and 62 do not divide 256: folding a random byte would show.
    let odd: Alphabet = "abcdefghijklmnopqrstuvwxyz0123456789".parse().unwrap();
    for (letters, body) in
        [(Alphabet::base62(), 40), (Alphabet::base64_url(), 40), (odd, 40), (Alphabet::hex(), 40)]
    {
        let format = KeyFormat::new("k_", Length::exactly(body)).unwrap().with_alphabet(letters.clone());
        let mut counts = [0_u32; 256];
        for _ in 0..5_000 {
            let key = format.generate().unwrap();
            key.expose_secret().bytes().skip(2).for_each(|byte| counts[usize::from(byte)] += 1);
        }
        let drawn = f64::from(counts.iter().sum::<u32>());
        let size = f64::from(u32::try_from(letters.len()).unwrap());
        let expected = drawn / size;
        let of_letters =
            (0..=255).filter(|byte| letters.holds(*byte)).map(|byte| f64::from(counts[usize::from(byte)]));
        let chi_square: f64 = of_letters.map(|count| (count - expected).powi(2) / expected).sum();
        // Mean and deviation of chi-square with size - 1 degrees of freedom; six deviations above is a bias.
        let bound = (size - 1.0) + 6.0 * (2.0 * (size - 1.0)).sqrt();
        assert!(chi_square < bound, "{letters:?}: {chi_square} of {bound}");
    }
}

#[test]
fn format_below_128_bits_issues_nothing() {
    let short = KeyFormat::new("k_", Length::exactly(21)).unwrap();
    assert!(!short.can_issue());
    assert!(short.generate().is_err());
    assert!(KeyFormat::new("k_", Length::exactly(22)).unwrap().generate().is_ok());
    // A checksum is no randomness.
    let checked = KeyFormat::new("k_", Length::exactly(27)).unwrap().with_checksum().unwrap();
    assert!(checked.generate().is_err());
}

#[test]
fn checksum_detects_any_changed_character() {
    let format = KeyFormat::new("acme_", Length::exactly(38)).unwrap().with_checksum().unwrap();
    let letters: Vec<u8> = (0..=255).filter(|byte| Alphabet::base62().holds(*byte)).collect();
    for _ in 0..20 {
        let key = format.generate().unwrap().expose_secret().as_bytes().to_vec();
        for place in 0..key.len() {
            for &letter in letters.iter().filter(|letter| **letter != key[place]) {
                let mut corrupt = key.clone();
                corrupt[place] = letter;
                assert!(!format.accepts(&corrupt), "{}", String::from_utf8_lossy(&corrupt));
            }
            let mut shorter = key.clone();
            shorter.remove(place);
            assert!(!format.accepts(&shorter));
        }
        for pair in 5..key.len() - 1 {
            let mut swapped = key.clone();
            swapped.swap(pair, pair + 1);
            assert_eq!(format.accepts(&swapped), swapped == key);
        }
    }
}

#[test]
fn checksum_is_crc32_in_base62() {
    let format = KeyFormat::new("ghp_", Length::exactly(36)).unwrap().with_checksum().unwrap();
    let body = "ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ";
    let sum = crc32(body.as_bytes());
    assert!(format.accepts(format!("{body}{}", base62(sum)).as_bytes()));
    assert!(!format.accepts(format!("{body}{}", base62(sum ^ 1)).as_bytes()));
}

/// CRC-32 (IEEE) bit by bit: slow, and plainly right.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |sum: u32, _| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), bit))
}

fn base62(mut number: u32) -> String {
    let digits: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let mut text = Vec::new();
    for _ in 0..6 {
        text.push(digits[number as usize % 62]);
        number /= 62;
    }
    text.iter().rev().collect()
}

#[test]
fn debug_of_secret_types_hides_the_secret() {
    let format = KeyFormat::new("acme_", Length::exactly(38)).unwrap().with_checksum().unwrap();
    let issued = format.generate().unwrap();
    let shown = format!("{issued:?}");
    let revealed = issued.expose_secret();
    let secret = revealed["acme_".len() + 4..].to_owned();
    assert_eq!(shown, format!("IssuedKey({}..)", &revealed[..9]));

    let bytes = revealed.as_bytes();
    let hash = KeyHasher::sha256().hash(bytes);
    let hex = hash.as_bytes().map(|byte| format!("{byte:02x}")).concat();
    let pepper = KeyHasher::hmac_sha256(b"0123456789-pepper").unwrap();
    let shown = [
        format!("{:?}", PresentedKey::borrowed(bytes)),
        format!("{:?}", PresentedKey::decoded(bytes.to_vec())),
        format!("{hash:?} {hash:#?}"),
        format!("{pepper:?} {pepper:#?}"),
    ];
    for text in &shown {
        let leaks = text.contains(&secret) || text.contains(&hex[4..]) || text.contains("pepper");
        assert!(!leaks && text.len() < 120, "{text}");
    }
}

#[tokio::test]
async fn debug_of_request_types_hides_the_key() {
    let world = World::new();
    world.plain_key(KWERY);
    let gate = world.kwery().literal("the_demo_literal").build().unwrap();
    let request = http::Request::get(format!("/v1?api-key={KWERY}")).body(Empty::<Bytes>::new()).unwrap();
    let view = tollgate::RequestView::of(&request);
    let admission = gate.admit(&view).await.unwrap();
    let principal = gate.principal(&admission).unwrap();
    let layer = tollgate::TollgateLayer::new(gate.clone());
    let other = http::Request::get("/v1").header("x-api-key", "wrong").body(Empty::<Bytes>::new()).unwrap();
    let denial = gate.admit(&tollgate::RequestView::of(&other)).await.unwrap_err();
    for text in [
        format!("{view:?}"),
        format!("{admission:?}"),
        format!("{principal:?}"),
        format!("{gate:?} {layer:?}"),
        format!("{denial:?} {denial}"),
    ] {
        assert!(
            !text.contains(KWERY) && !text.contains("wrong") && !text.contains("the_demo_literal"),
            "{text}"
        );
    }
}

#[test]
fn start_is_within_the_key_and_never_panics() {
    let format = KeyFormat::new("mtk_", Length::exactly(44)).unwrap().with_start(12).unwrap();
    let rows = [
        ("mtk_demo", "mtk_"),
        ("mtk", "mtk"),
        ("", ""),
        ("mtk_a1b2c3d\u{e9}", ""),
        ("mtk_a1b2c3d4e5f6", "mtk_a1b2c3d4"),
    ];
    for (key, start) in rows {
        let shown = format.start_of(key);
        assert!(key.starts_with(shown), "{key}");
        assert_eq!(shown, start, "{key}");
    }
    assert!(KeyFormat::new("mtk_", Length::exactly(44)).unwrap().with_start(27).is_err());
}

#[test]
fn start_of_a_short_key_is_at_most_half() {
    for (body, shown) in [(1, 0), (5, 2), (8, 4), (32, 4)] {
        let format = KeyFormat::new("acme_", Length::exactly(body)).unwrap();
        let key = format!("acme_{}", "x".repeat(body));
        assert_eq!(format.start_of(&key).len(), "acme_".len() + shown, "{body}");
    }
}

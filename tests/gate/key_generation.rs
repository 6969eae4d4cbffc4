//! A million new keys of every provider's formats: all of their shape, no two alike, every letter as likely as any other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::sync::Mutex;

use tollgate::{Config, KeyFormat};

type Fault = Box<dyn std::error::Error>;

const KEYS: usize = 1_000_000;

/// The number of standard deviations that a chi-square may lie above its mean: a fair generator exceeds it once in 10^9 runs.
const DEVIATIONS: f64 = 9.0;

/// The formats that the providers' files describe for new keys: one without a prefix is for keys made elsewhere.
fn formats() -> Result<Vec<KeyFormat>, Fault> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/providers");
    let mut formats: Vec<KeyFormat> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let gate = Config::read(&path)?.builder()?.build()?;
            let new =
                gate.formats().into_iter().filter(|format| format.can_issue() && !format.prefix().is_empty());
            formats.extend(new);
        }
    }
    assert!(formats.len() >= 5, "five providers have a format each at the least");
    Ok(formats)
}

/// Returns the remembered part of a key: sixteen bytes of its random part, of at least 95 bits of randomness.
fn mark(body: &[u8]) -> u128 {
    body.first_chunk().map_or(0, |chunk| u128::from_le_bytes(*chunk))
}

fn check(format: &KeyFormat) {
    let (mut marks, mut counts) = (Vec::with_capacity(KEYS), [0_u64; 256]);
    for _ in 0..KEYS {
        let key = format.generate().unwrap();
        let key = key.expose_secret().as_bytes();
        assert!(format.accepts(key), "a new key has not its format's shape: {format:?}");
        let body = &key[format.prefix().len()..];
        for &letter in body {
            counts[usize::from(letter)] += 1;
        }
        marks.push(mark(body));
    }
    marks.sort_unstable();
    marks.dedup();
    assert_eq!(marks.len(), KEYS, "two keys begin alike: {format:?}");
    check_evenness(format, &counts);
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn check_evenness(format: &KeyFormat, counts: &[u64; 256]) {
    let used: Vec<f64> = counts.iter().filter(|&&count| count > 0).map(|&count| count as f64).collect();
    assert_eq!(used.len(), letters_of(format), "every letter of the alphabet is used: {format:?}");
    let expected = used.iter().sum::<f64>() / used.len() as f64;
    let chi_square: f64 = used.iter().map(|count| (count - expected).powi(2) / expected).sum();
    let freedom = (used.len() - 1) as f64;
    let bound = freedom + DEVIATIONS * (2.0 * freedom).sqrt();
    println!("{}*: {} letters, chi-square {chi_square:.1} (at most {bound:.1})", format.prefix(), used.len());
    assert!(chi_square < bound, "the letters are uneven: {format:?}");
    let bits = used.len().ilog2();
    assert!(bits >= 4 && format.bits() >= 128.0);
}

/// Returns the number of letters in the alphabet, by the character class that secret scanners are given.
fn letters_of(format: &KeyFormat) -> usize {
    let pattern = format.scanner_pattern();
    let class = &pattern[format.prefix().len()..pattern.rfind('{').unwrap()];
    let letter = regex::Regex::new(&format!("^{class}$")).unwrap();
    (0..128_u8).filter(|byte| letter.is_match(char::from(*byte).encode_utf8(&mut [0; 4]))).count()
}

#[test]
fn million_generated_keys_are_distinct() -> Result<(), Fault> {
    let waiting = Mutex::new(formats()?);
    let next = || waiting.lock().unwrap().pop();
    let work = || {
        while let Some(format) = next() {
            check(&format);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    Ok(())
}

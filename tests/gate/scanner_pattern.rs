//! The regular expression that a format has for secret scanners: it finds keys in any text, and nothing that cannot be one.

use regex::Regex;
use tollgate::key::Length;
use tollgate::{ConfigError, KeyFormat};

type Fault = Box<dyn std::error::Error>;

fn formats() -> Result<Vec<KeyFormat>, ConfigError> {
    let format = |prefix: &str, body| KeyFormat::new(prefix, body);
    Ok(vec![
        format("qd_", Length::exactly(32))?,
        format("bq_live_", Length::exactly(32))?,
        format("acme-", Length::exactly(38))?.with_checksum()?,
        format("vq_", Length::exactly(43))?.with_alphabet("base64url".parse()?),
        format("hex.", Length::exactly(64))?.with_alphabet("hex".parse()?),
        format("long+", Length::between(40, 60))?,
        format("<a>[b](c)$", Length::exactly(30))?,
        format("\\d{2}^|*?/&~", Length::exactly(40))?.with_alphabet("-]^[\\<>&~abcdefgh".parse()?),
    ])
}

#[test]
fn pattern_finds_keys_in_any_text() -> Result<(), Fault> {
    for format in formats()? {
        let pattern = Regex::new(&format.scanner_pattern())?;
        for _ in 0..200 {
            let key = format.generate()?;
            let key = key.expose_secret();
            let texts = [
                key.to_owned(),
                format!("export API_KEY=\"{key}\"\n"),
                format!("{{\"key\":\"{key}\"}}"),
                format!("curl -H 'Authorization: Bearer {key}' https://api.example\r\n"),
                format!("https://api.example/v1?api-key={key} next"),
                format!("größe={key}é"),
            ];
            for text in texts {
                let found: Vec<_> = pattern.find_iter(&text).map(|found| found.as_str()).collect();
                assert_eq!(found, [key], "{} in {text}", format.scanner_pattern());
            }
        }
    }
    Ok(())
}

#[test]
fn pattern_ignores_near_misses() -> Result<(), Fault> {
    for format in formats()?.into_iter().filter(|format| format.prefix() != "long+") {
        let pattern = Regex::new(&format.scanner_pattern())?;
        for _ in 0..50 {
            let key = format.generate()?;
            let (key, prefix) = (key.expose_secret(), format.prefix());
            let (short, body) = (&key[..key.len() - 1], &key[prefix.len()..]);
            let middle = key.len() - body.len() / 2;
            let misses = [
                short.to_owned(),
                format!("{short}\n"),
                format!("{}é{}", &key[..middle], &key[middle + 1..]),
                format!("{} {}", &key[..middle], &key[middle + 1..]),
                format!("{}é{body}", &prefix[..prefix.len() - 1]),
                body.to_owned(),
                format!("{prefix} {body}"),
            ];
            for miss in misses {
                assert!(!pattern.is_match(&miss), "{} in {miss}", format.scanner_pattern());
            }
        }
    }
    Ok(())
}

#[test]
fn checksum_separates_keys_from_lookalikes() -> Result<(), Fault> {
    let format = KeyFormat::new("acme_", Length::exactly(38))?.with_checksum()?;
    let pattern = Regex::new(&format.scanner_pattern())?;
    let key = format.generate()?;
    let key = key.expose_secret();
    let flip = if key.ends_with('a') { 'b' } else { 'a' };
    let forged = format!("{}{flip}", &key[..42]);
    assert!(pattern.is_match(key) && format.accepts(key.as_bytes()));
    assert!(pattern.is_match(&forged) && !format.accepts(forged.as_bytes()));
    Ok(())
}

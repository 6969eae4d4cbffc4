//! Faults in a configuration: each is refused at start-up, and says where it stands and what would be right.

#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use tollgate::{Config, ConfigError};

/// The faults, as `== name`, TOML with `#!` on the line that the error must name, and `=> ["part of the member", "value",
/// "what else the message says"]`.
const FAULTS: &[&str] = &[
    include_str!("config_errors/unknown.txt"),
    include_str!("config_errors/types.txt"),
    include_str!("config_errors/names.txt"),
    include_str!("config_errors/contradictions.txt"),
    include_str!("config_errors/numbers.txt"),
    include_str!("config_errors/quotas.txt"),
    include_str!("config_errors/networks.txt"),
    include_str!("config_errors/in_flight.txt"),
    include_str!("config_errors/routes.txt"),
    include_str!("config_errors/empty.txt"),
    include_str!("config_errors/looks.txt"),
    include_str!("config_errors/shapes.txt"),
    include_str!("config_errors/formats.txt"),
    include_str!("config_errors/headers.txt"),
    include_str!("config_errors/management.txt"),
    include_str!("config_errors/plans.txt"),
    include_str!("config_errors/usage.txt"),
    include_str!("config_errors/alerts.txt"),
    include_str!("config_errors/anonymous.txt"),
    include_str!("config_errors/attempts.txt"),
    include_str!("config_errors/limits.txt"),
    include_str!("config_errors/credits.txt"),
    include_str!("config_errors/back_ends.txt"),
];

/// The beginning of every faulty file that has no source of its own.
const HEAD: &str = "sources = [{ header = \"X-API-Key\" }]\nformats = [{ prefix = \"acme_\", body = 32 }]\n";

struct Row<'f> {
    name: &'f str,
    toml: String,
    member: String,
    value: String,
    words: Vec<String>,
}

fn rows() -> impl Iterator<Item = Row<'static>> {
    FAULTS.iter().flat_map(|file| file.split("\n== ").skip(1)).map(|row| {
        let (name, rest) = row.split_once('\n').unwrap();
        let (toml, told) = rest.split_once("\n=> ").unwrap_or_else(|| panic!("{name}: what is told?"));
        let mut told: Vec<String> =
            serde_json::from_str(told).unwrap_or_else(|error| panic!("{name}: {error}"));
        let words = told.split_off(2);
        let [member, value] = told.try_into().unwrap();
        let head = if toml.contains("sources") { "" } else { HEAD };
        Row { name, toml: format!("{head}{toml}"), member, value, words }
    })
}

/// The line at which the row's mark stands.
fn line_of(row: &Row<'_>) -> usize {
    let mark = row.toml.find("#!").unwrap_or_else(|| panic!("{}: no mark", row.name));
    1 + row.toml[..mark].matches('\n').count()
}

/// Returns the defects of an error's text.
fn faults_of(row: &Row<'_>, error: &ConfigError) -> Vec<String> {
    let (said, line) = (error.to_string(), line_of(row));
    let mut demands = vec![
        (error.file() == Some("acme.toml"), "no file".to_owned()),
        (error.line() == Some(line), format!("not line {line}")),
        (error.member().contains(&row.member), format!("not the member {:?}", row.member)),
        (error.value() == row.value, format!("not the value {:?}", row.value)),
        (!error.expected().is_empty(), "no remedy".to_owned()),
    ];
    demands.extend(row.words.iter().map(|word| (said.contains(word), format!("no {word:?}"))));
    let failed = demands.into_iter().filter(|(holds, _)| !holds);
    failed.map(|(_, what)| format!("{}: {what} in: {said}", row.name)).collect()
}

#[test]
fn error_names_place_value_and_remedy() {
    let (mut wrong, mut rows_seen) = (Vec::new(), 0);
    for row in rows() {
        rows_seen += 1;
        match Config::from_toml(&row.toml, "acme.toml") {
            Ok(_) => wrong.push(format!("{}: taken without a complaint", row.name)),
            Err(error) => wrong.extend(faults_of(&row, &error)),
        }
    }
    assert!(rows_seen > 250, "{rows_seen} rows were read");
    assert!(wrong.is_empty(), "{} of {rows_seen}:\n{}", wrong.len(), wrong.join("\n"));
}

const SECRET: &str = "correct-horse-battery-staple";

/// Returns the error of a pepper, and checks that it does not contain the secret.
fn pepper_error(toml: &str) -> String {
    let error = Config::from_toml(&format!("{HEAD}{toml}"), "acme.toml").unwrap_err();
    let told = format!("{error} {error:?}");
    let piece =
        |length: usize| SECRET.as_bytes().windows(length).map(|piece| std::str::from_utf8(piece).unwrap());
    assert!(!piece(8).any(|piece| told.contains(piece)), "{toml}: the secret is in {told}");
    assert_eq!((error.file(), error.line().is_some()), (Some("acme.toml"), true), "{told}");
    told
}

#[test]
fn secret_in_the_file_is_not_repeated() {
    let ways = [
        format!("hash = {{ pepper = '{SECRET}' }}"),
        format!("[hash]\npepper = '{SECRET}'"),
        format!("[hash]\npepper = {SECRET}"),
        format!("[hash]\npepper = '{SECRET}"),
        format!("[hash]\npepper = \"\"\"\n{SECRET}\\q\n\"\"\""),
        format!("[hash]\npepper = ['{SECRET}']"),
        format!("[hash]\npepper = {{ value = '{SECRET}' }}"),
        format!("[hash]\npepper = ':{SECRET}'"),
        format!("[hash]\npepper = 'secret:{SECRET}'"),
        format!("hash = '{SECRET}'"),
        format!("hash = ['{SECRET}']"),
    ];
    for way in &ways {
        pepper_error(way);
    }
    assert!(pepper_error(&ways[1]).contains("env:NAME"));
}

#[test]
fn unresolved_pepper_stops_the_start() {
    let folder = std::env::temp_dir().join(format!("tollgate-pepper-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let written = |name: &str, text: &[u8]| {
        std::fs::write(folder.join(name), text).unwrap();
        format!("file:{}", folder.join(name).display())
    };
    let rows = [
        ("env:TOLLGATE_NO_SUCH_PEPPER".to_owned(), "not set"),
        (format!("file:{}", folder.join("none").display()), "cannot be read"),
        (format!("file:{}", folder.display()), "cannot be read"),
        (written("empty", b""), "empty"),
        (written("breaks", b"\r\n"), "empty"),
        (written("short", b"correct-horse-\n"), "too short"),
    ];
    for (reference, word) in &rows {
        let told = pepper_error(&format!("\n[hash]\npepper = '{reference}'"));
        assert!(told.contains(word), "{reference}: {told}");
        assert!(
            told.contains("acme.toml:5:10: `hash.pepper`") && told.contains(reference.as_str()),
            "{told}"
        );
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn changes_by_the_caller_are_checked() {
    let mut config = Config::from_toml(HEAD, "acme.toml").unwrap();
    let other =
        Config::from_toml(&format!("{HEAD}[plans.pro]\nquotas = ['1 per second']"), "other.toml").unwrap();
    config.plans.clone_from(&other.plans);
    config.builder().unwrap().build().unwrap();
    config.plans.get_mut("pro").unwrap().quotas.push(tollgate::config::OneOf::Text("burst".parse().unwrap()));
    let error = config.builder().unwrap_err();
    assert_eq!((error.member(), error.value()), ("plans.pro.quotas[1]", "burst"));
}

/// Returns the error of a file that cannot be read, or that holds these bytes.
fn read_error(name: &str, bytes: Option<&[u8]>) -> ConfigError {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("config_errors");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    if let Some(bytes) = bytes {
        std::fs::write(&path, bytes).unwrap();
    }
    Config::read(path).unwrap_err()
}

#[test]
fn unreadable_file_error_has_a_remedy() {
    let error = Config::read("no/such/acme.toml").unwrap_err();
    assert_eq!(error.file(), Some("no/such/acme.toml"));
    let told = error.to_string();
    for word in
        ["failed to read the configuration", "the file does not exist", "create it", "is resolved from `/"]
    {
        assert!(told.contains(word), "{word}: {told}");
    }
    let told = read_error("absent.toml", None).to_string();
    assert!(told.contains("does not exist") && !told.contains("is resolved from"), "{told}");
    let told = read_error("", None).to_string();
    assert!(told.contains("it is a directory") && told.contains("gate.toml`"), "{told}");
}

#[test]
fn wrong_encoding_error_names_line_and_byte() {
    let latin = b"sources = [{ query = 'k' }]\n# caf\xe9\n";
    let utf16 = b"\xff\xfes\0o\0";
    let cut = b"a = '\xe2\x82";
    let places =
        [(&latin[..], 2, 6, "byte 33 of the file is 0xE9"), (utf16, 1, 1, "byte 0"), (cut, 1, 6, "byte 5")];
    for (bytes, line, column, told) in places {
        let error = read_error("encoding.toml", Some(bytes));
        assert_eq!((error.line(), error.column()), (Some(line), Some(column)), "{error}");
        assert!(error.to_string().contains(told) && error.expected().contains("UTF-8"), "{error}");
    }
}

#[test]
fn control_characters_are_escaped() {
    let rows = [
        (r#"request_id.prefix = "\u001b[31m\u0000""#, "found `\\u{1b}[31m\\0`"),
        (r#"plans."a\u001b".rank = "x""#, "`plans.a\\u{1b}.rank`"),
        (r#"proxies.trusted = ["\u009b\u007f"]"#, "found `\\u{9b}\\u{7f}`"),
        (r#"plans.p.credits = { amount = 1, every = "a\u001fb\tc" }"#, "\\tc`"),
        (r#"presentation.template = "{ \"a\": \"{\u001b}\" }""#, "\\u{1b}"),
    ];
    for (toml, shown) in rows {
        let error = Config::from_toml(&format!("{HEAD}{toml}"), "acme.toml").unwrap_err();
        let told = error.to_string();
        assert!(told.contains(shown) && !told.contains(char::is_control), "{toml}: {told:?}");
    }
    // What it says otherwise stands as it was written.
    let error = ConfigError::new("\u{e9}\"\\\n", "it is 'odd'", "write \u{1f511}");
    assert_eq!(
        (error.to_string().as_str(), error.value()),
        ("found `\u{e9}\"\\\\n`: it is 'odd'; write \u{1f511}", "\u{e9}\"\\\n")
    );
}

#[test]
fn debug_output_is_display_output() {
    let error = Config::from_toml("sources = 'x'", "acme.toml").unwrap_err();
    assert_eq!(format!("{error:?}"), error.to_string());
    assert_eq!(format!("{:?}", Box::<dyn std::error::Error>::from(error.clone())), error.to_string());
}

#[test]
fn errors_have_line_and_column() {
    let rows = [
        ("sources = [{ query = 'k' }]\nformats = [ { body = 32 }, { bodi = 32 } ]", (2, 30)),
        ("a = ", (1, 5)),
        ("sources = [{ query = 'k' }]\n  [[rules]\n", (2, 11)),
        ("sources = [{ query = 'ü' }, { query = 'k', literal = 1 }]", (1, 54)),
    ];
    for (toml, place) in rows {
        let error = Config::from_toml(toml, "acme.toml").unwrap_err();
        assert_eq!((error.line(), error.column()), (Some(place.0), Some(place.1)), "{error}");
        assert!(error.to_string().starts_with(&format!("acme.toml:{}:{}: ", place.0, place.1)), "{error}");
    }
}

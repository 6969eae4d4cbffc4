//! Faults in a configuration: each is refused at start-up, and says where it stands and what would be right.

#[path = "config_errors/rows.rs"]
mod rows;

use rows::{FAULTS, Row};
use tollgate::{Config, ConfigError};

/// What every row has but those that say otherwise.
const HEAD: &str = "sources = [{ header = \"X-API-Key\" }]\nformats = [{ prefix = \"acme_\", body = 32 }]\n";

fn error_of(row: &Row) -> Option<ConfigError> {
    let text = if row.toml.contains("sources") { row.toml.to_owned() } else { format!("{HEAD}{}", row.toml) };
    Config::from_toml(&text, "acme.toml").err()
}

/// The line at which the row's mark stands: the text in front of it is the fault's place.
fn line_of(row: &Row) -> usize {
    let head = if row.toml.contains("sources") { 0 } else { HEAD.matches('\n').count() };
    let mark = row.toml.find("#!").unwrap_or_else(|| panic!("{}: no mark", row.name));
    head + 1 + row.toml[..mark].matches('\n').count()
}

#[test]
fn every_fault_names_file_line_member_value_and_remedy() {
    let mut wrong = Vec::new();
    for row in FAULTS {
        let Some(error) = error_of(row) else {
            wrong.push(format!("{}: taken without a complaint", row.name));
            continue;
        };
        let said = error.to_string();
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!(
                    "{}: {what} in: {said} [member {:?}, value {:?}]",
                    row.name,
                    error.member(),
                    error.value()
                ));
            }
        };
        demand(error.file() == Some("acme.toml"), "no file");
        demand(error.line() == Some(line_of(row)), &format!("not line {}", line_of(row)));
        demand(error.member().contains(row.member), &format!("not the member {:?}", row.member));
        demand(error.value() == row.value, &format!("not the value {:?}", row.value));
        demand(!error.expected().is_empty(), "no remedy");
        for word in row.words {
            demand(said.contains(word), &format!("no {word:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), FAULTS.len(), wrong.join("\n"));
}

const SECRET: &str = "correct-horse-battery-staple";

/// What the error says of a pepper: nothing of the secret, whatever else.
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
fn a_secret_in_the_file_is_refused_and_not_said_again() {
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
fn a_pepper_that_does_not_resolve_stops_the_start() {
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
        assert!(told.contains("acme.toml:5: `hash.pepper`") && told.contains(reference.as_str()), "{told}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_a_caller_changed_is_checked_again() {
    let mut config = Config::from_toml(HEAD, "acme.toml").unwrap();
    let other =
        Config::from_toml(&format!("{HEAD}[plans.pro]\nquotas = ['1 per second']"), "other.toml").unwrap();
    config.plans.clone_from(&other.plans);
    config.builder().unwrap().build().unwrap();
    config.plans.get_mut("pro").unwrap().quotas.push(tollgate::config::OneOf::Text("burst".parse().unwrap()));
    let error = config.builder().unwrap_err();
    assert_eq!((error.member(), error.value()), ("plans.pro.quotas[1]", "burst"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::read("no/such/acme.toml").unwrap_err();
    assert_eq!(error.file(), Some("no/such/acme.toml"));
    assert!(error.to_string().contains("failed to read the configuration"), "{error}");
}

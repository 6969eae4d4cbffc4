//! Where in the file a fault stands.

use crate::ConfigError;
use crate::config::Config;

/// A fault that the TOML parser found: it knows the place.
pub(super) fn syntax(text: &str, file: &str, member: &str, error: &toml::de::Error) -> ConfigError {
    let span = error.span().unwrap_or(0..0);
    let line = text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
    let found = text.get(span).map(str::trim).filter(|found| !found.contains('\n')).unwrap_or_default();
    // A message of this crate's own says value and remedy already.
    let message = error.message();
    let problem = message
        .split_once("`: ")
        .filter(|_| message.starts_with("found `"))
        .map_or(message, |(_, said)| said);
    let (problem, expected) =
        problem.rsplit_once("; ").unwrap_or((problem, "see the description of the member"));
    let secret = member.ends_with("pepper");
    ConfigError::new(if secret { "" } else { found.trim_matches('"') }, problem, expected)
        .in_member(member.trim_end_matches(".?"))
        .in_file(file)
        .at_line(line)
}

/// A fault that was found later: its place is where its value is written, within the part that its member names.
pub(super) fn place(config: &Config, error: ConfigError) -> ConfigError {
    let error = error.in_file(config.file.as_str());
    match line_of(&config.text, &error) {
        Some(line) => error.at_line(line),
        None => error,
    }
}

fn line_of(text: &str, error: &ConfigError) -> Option<usize> {
    let member = error.member();
    let part = part_of(text, member);
    let last = member.rsplit(['.', '[']).next().unwrap_or(member);
    let quoted = [format!("\"{}\"", error.value()), format!("'{}'", error.value())];
    let written = |line: &&(usize, &str)| {
        let (_, line) = line;
        !error.value().is_empty()
            && (quoted.iter().any(|value| line.contains(value.as_str()))
                || line.split('=').nth(1).is_some_and(|value| value.trim() == error.value()))
    };
    let names = |line: &&(usize, &str)| line.1.trim_start().starts_with(last) && !last.is_empty();
    let lines: Vec<(usize, &str)> = text.lines().enumerate().skip(part).collect();
    let found = lines.iter().find(written).or_else(|| lines.iter().find(names)).or_else(|| lines.first());
    found.map(|(place, _)| place + 1)
}

/// The line, from 0, at which the part of the file begins that a member is in.
fn part_of(text: &str, member: &str) -> usize {
    let line_with = |wanted: &str| text.lines().position(|line| line.contains(wanted)).unwrap_or(0);
    if let Some(route) = member.strip_prefix("rule `").and_then(|rest| rest.strip_suffix('`')) {
        return line_with(route);
    }
    if let Some((list, place)) = member.split_once('[') {
        let place: usize = place.trim_end_matches(']').parse().unwrap_or(0);
        let header = format!("[[{list}]]");
        let tables = text.lines().enumerate().filter(|(_, line)| line.trim() == header);
        return tables.map(|(line, _)| line).nth(place).unwrap_or_else(|| line_with(list));
    }
    let mut path = member;
    loop {
        let header = format!("[{path}]");
        if let Some(line) = text.lines().position(|line| line.trim() == header) {
            return line;
        }
        match path.rsplit_once('.') {
            Some((above, _)) => path = above,
            None => return 0,
        }
    }
}

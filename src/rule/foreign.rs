//! Detection of parameters in the syntax of other routers. Read as plain text, they would make a rule that no request
//! matches.

/// Returns the first segment that has the parameter syntax of another router, and its correct spelling.
pub(super) fn segment(pattern: &str) -> Option<(&str, String)> {
    let segments = segments(pattern);
    let last = segments.len().checked_sub(1)?;
    // A lone `*` is this crate's own syntax: it is correct at the end, and elsewhere it has an error of its own.
    let is_own = |(_, segment): &(usize, &str)| *segment != "*";
    let numbered = segments.into_iter().enumerate().filter(is_own);
    numbered.take(last + 1).find_map(|(_, segment)| right(segment).map(|right| (segment, right)))
}

/// Returns a pattern's segments. A slash within braces does not separate segments, because actix-web's parameters may
/// contain a regular expression.
fn segments(pattern: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let parts = |letter: char| {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == '/' && depth == 0
    };
    pattern.split(parts).collect()
}

fn right(segment: &str) -> Option<String> {
    if let Some(named) = segment.strip_prefix(':') {
        return (!named.is_empty()).then(|| parameter(named, named.ends_with(['*', '+'])));
    }
    if let Some((before, named, behind)) = enclosed(segment, '<', '>') {
        return Some(format!("{before}{}{behind}", typed(named)));
    }
    if let Some(("" | "$" | "#", named, "")) = enclosed(segment, '[', ']') {
        return Some(parameter(named, named.starts_with("...")));
    }
    if let Some(named) = segment.strip_prefix("${").or(segment.strip_prefix("{{")) {
        return Some(parameter(named, false));
    }
    if let Some(named) = segment.strip_prefix('*') {
        return Some(parameter(named, true));
    }
    let (before, named, behind) = enclosed(segment, '{', '}')?;
    if behind.starts_with('*') {
        return Some(parameter(named, true));
    }
    let own = named.strip_prefix('*').unwrap_or(named);
    let is_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let is_several = named.split_once('}').is_some_and(|(first, _)| !first.contains('{'));
    // A parameter without a name, and several parameters in one segment, have errors of their own.
    if named.is_empty()
        || is_several
        || (!own.is_empty() && own.chars().all(is_name) && !own.ends_with("..."))
    {
        return None;
    }
    let (name, expression) = named.split_once([':', '|']).unwrap_or((named, ""));
    let is_rest = name.starts_with(['*', '+']) || name.ends_with("...") || matches!(expression, ".*" | ".+");
    Some(format!("{before}{}{behind}", parameter(name, is_rest)))
}

/// Returns the text before, between and after the first `open` and the last `close`.
fn enclosed(segment: &str, open: char, close: char) -> Option<(&str, &str, &str)> {
    let (before, rest) = segment.split_once(open)?;
    let (named, behind) = rest.rsplit_once(close)?;
    Some((before, named, behind))
}

/// Returns the correct spelling of `<name>`, `<type:name>`, `<name:type>`, `<name..>` or `<**name>`.
fn typed(named: &str) -> String {
    const TYPES: [&str; 9] = ["any", "float", "guid", "int", "num", "path", "slug", "str", "string"];
    let (first, second) = named.split_once(':').unwrap_or((named, ""));
    let name = if TYPES.contains(&first) && !second.is_empty() { second } else { first };
    let is_rest = named.contains("..") || named.contains('*') || named.starts_with("path:");
    parameter(name, is_rest)
}

/// Returns a parameter in this crate's syntax, named by the first letters that can be a name.
fn parameter(named: &str, is_rest: bool) -> String {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let from = named.trim_start_matches(|letter| !is_name(letter));
    let name = from.split(|letter| !is_name(letter)).next().unwrap_or_default();
    match (name, is_rest) {
        ("", true) => "{*rest}".to_owned(),
        ("", false) => "{name}".to_owned(),
        (name, true) => format!("{{*{name}}}"),
        (name, false) => format!("{{{name}}}"),
    }
}

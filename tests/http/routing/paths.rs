//! Hostile spellings of paths.

/// A generator of numbers that are good enough for a test (xorshift).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    pub(crate) fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    pub(crate) fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }
}

/// The values of a parameter, or of a replaced segment.
const VALUES: &[&str] = &[
    "x",
    "a",
    "b",
    "c",
    "d",
    "e",
    "p-",
    "p-a",
    "p-x",
    "x.js",
    "x.min.js",
    ".js",
    "p-x.js",
    "q-",
    "q-x",
    "0",
    "",
    "",
    "",
    ".",
    "..",
    "...",
    "%2e",
    "%2E%2e",
    ".%2E",
    "%252e%252e",
    "..;",
    "..;v=1",
    ";",
    ";v=1",
    "a;v=1",
    "b;",
    "%3b",
    "a%2Fb",
    "a%2fb",
    "%2F",
    "%5C",
    "a\\b",
    "%00",
    "%",
    "%2",
    "%zz",
    "%61",
    "%62",
    "%ff",
    "%c0%af",
    "{x}",
    "{*rest}",
    "*",
    "+",
    "%2B",
    "~",
    "A",
    "B",
    "caf\u{e9}",
    "caf%C3%A9",
    "caf%c3%a9",
    "cafe%CC%81",
    "%63af\u{e9}",
    "\u{1F511}",
    "a%0a",
    "a%20",
    "%3f",
    "%23",
];

/// A path with something for the parameters of a pattern.
pub(crate) fn filled(pattern: &str, rng: &mut Rng) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').unwrap();
        path.push_str(before);
        let segments = if name.starts_with('*') { 1 + rng.below(3) } else { 1 };
        let values: Vec<&str> = (0..segments).map(|_| *rng.pick(VALUES)).collect();
        path.push_str(&values.join("/"));
        rest = behind;
    }
    path + rest
}

/// A target for a request: a path that one of the patterns matches, spelt in another way.
pub(crate) fn target(patterns: &[String], rng: &mut Rng) -> String {
    let mut path = filled(rng.pick::<String>(patterns), rng);
    for _ in 0..rng.below(4) {
        path = spelt(&path, rng);
    }
    match rng.below(200) {
        0..6 => format!("http://example.com{path}"),
        6..9 => format!("http://example.com:80{path}?x=/a"),
        9..12 => path.trim_start_matches('/').to_owned(),
        12..18 => format!("{path}?/a/b"),
        18 => format!("{path}/{}", "a/".repeat(3_000)),
        19 => format!("{path}{}", "x".repeat(20_000)),
        _ => path,
    }
}

/// The place of a letter of a path.
fn place(path: &str, rng: &mut Rng) -> usize {
    let places: Vec<usize> = path.char_indices().map(|(place, _)| place).collect();
    if places.is_empty() { 0 } else { *rng.pick(&places) }
}

fn spelt(path: &str, rng: &mut Rng) -> String {
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    let nth = rng.below(segments.len());
    match rng.below(16) {
        0 | 1 => format!("{path}/"),
        2 => format!("/{path}"),
        3 => path.replacen('/', "//", 1 + rng.below(2)),
        4 => path.trim_end_matches('/').to_owned(),
        5 | 6 => {
            (*rng.pick(VALUES)).clone_into(&mut segments[nth]);
            segments.join("/")
        }
        7 => {
            segments.insert(nth, (*rng.pick(VALUES)).to_owned());
            segments.join("/")
        }
        8 => {
            segments.remove(nth);
            segments.join("/")
        }
        9 => {
            segments[nth].push_str(rng.pick::<&str>(&[";", ";v=1", "%3B", "."]));
            segments.join("/")
        }
        10 => {
            let other = rng.below(segments.len());
            segments.swap(nth, other);
            segments.join("/")
        }
        11..=13 => {
            let at = place(path, rng);
            let Some(letter) = path[at..].chars().next() else { return path.to_owned() };
            let mut bytes = [0; 4];
            let sent = letter.encode_utf8(&mut bytes).bytes();
            let upper = rng.one_in(2);
            let hex = |byte: u8| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
            let sent: String = sent.map(hex).collect();
            format!("{}{sent}{}", &path[..at], &path[at + letter.len_utf8()..])
        }
        14 => {
            let at = place(path, rng);
            format!("{}{}{}", &path[..at], rng.pick(VALUES), &path[at..])
        }
        _ => {
            let at = place(path, rng);
            format!("{}{}", &path[..at], path[at..].to_uppercase())
        }
    }
}

/// Returns a target's path, as it was sent.
fn path_of(target: &str) -> &str {
    let path = target.split('?').next().unwrap();
    path.strip_prefix("http://").map_or(path, |rest| &rest[rest.find('/').unwrap_or(rest.len())..])
}

/// Returns whether a target's path is one that grants nothing, as far as its letters show it.
pub(crate) fn is_odd(target: &str) -> bool {
    let path = path_of(target).to_ascii_lowercase();
    let marks = ["//", "/../", "/./", "/..;", "/.;", "/;", "/%2e%2e/", "/%3b", "%2f", "%5c", "\\", "%00"];
    marks.iter().any(|mark| path.contains(mark))
}

/// Returns true if a target's decoded path reads as a pattern's, as written or decoded, where parameters may be empty and
/// a slash at the end is nothing. actix-web decodes a path before the gate reads it, and the gate decodes it once more.
pub(crate) fn is_beside(pattern: &str, target: &str) -> bool {
    let once = decoded(path_of(target));
    let twice = decoded(&once);
    let (written, read) = (pattern.trim_end_matches('/'), decoded(pattern.trim_end_matches('/')));
    [&once, &twice].into_iter().any(|path| reads_as(written, path) || reads_as(&read, path))
}

fn reads_as(pattern: &str, path: &str) -> bool {
    let (above, has_rest) = pattern.split_once("/{*").map_or((pattern, false), |(above, _)| (above, true));
    let (mut path, mut segments) = (path.trim_end_matches('/').split('/'), above.split('/'));
    let fits = segments.all(|segment| {
        let here = path.next();
        let (before, behind) = match segment.split_once('{') {
            Some((before, rest)) => (before, rest.split_once('}').unwrap().1),
            None => return here == Some(segment),
        };
        here.and_then(|here| here.strip_prefix(before)).is_some_and(|rest| rest.ends_with(behind))
    });
    fits && (has_rest || path.next().is_none())
}

/// Decodes what is no slash.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [byte, behind @ ..] = rest {
        let sent = rest.get(1..3).filter(|_| *byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match sent.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|byte| *byte != b'/') {
            Some(sent) => (bytes.push(sent), rest = &rest[3..]).1,
            None => (bytes.push(*byte), rest = behind).1,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

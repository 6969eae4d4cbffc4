//! The format of keys, which is checked before a key is hashed or looked up.

use crate::error::ConfigError;
use crate::key::Alphabet;
use crate::key::alphabet::base62;
use crate::name::Environment;

/// A range of numbers of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    least: usize,
    most: usize,
}

impl Length {
    /// Creates a range of exactly this many characters.
    pub const fn exactly(characters: usize) -> Self {
        Self { least: characters, most: characters }
    }

    /// Creates a range from `least` to `most`, both included.
    pub const fn between(least: usize, most: usize) -> Self {
        Self { least, most }
    }

    fn allows(self, characters: usize) -> bool {
        (self.least..=self.most).contains(&characters)
    }
}

/// The number of characters of the checksum: a CRC-32 in base 62.
const CHECKSUM: usize = 6;

/// The maximum number of characters of a key. The limit exists because a key is read from a header.
pub(crate) const LONGEST: usize = 512;

/// The minimum number of bits of randomness of an issued key.
const LEAST_BITS: f64 = 128.0;

/// The format of a key: a prefix, a number of characters of an alphabet, and optionally a checksum at the end.
///
/// Bytes are compared as received. They are never trimmed, case-folded or normalised.
///
/// # Example
///
/// ```
/// use tollgate::key::Length;
/// use tollgate::KeyFormat;
///
/// let format = KeyFormat::new("qd_", Length::exactly(32))?;
/// assert!(format.accepts(b"qd_dFP5qU9rsg84w767lTOWosT6O3AetIny"));
/// assert!(!format.accepts(b"qd_dFP5qU9rsg84w767lTOWosT6O3AetIn"));
/// assert!(!format.accepts(b"QD_dFP5qU9rsg84w767lTOWosT6O3AetIny"));
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFormat {
    prefix: String,
    body: Length,
    alphabet: Alphabet,
    checksum: bool,
    start: usize,
    environment: Environment,
    issued: bool,
}

impl KeyFormat {
    /// Creates a format of keys that begin with `prefix`, followed by `body` characters of base 62. A checksum counts
    /// as part of the body.
    ///
    /// # Errors
    ///
    /// Returns an error if the prefix is not visible ASCII, if the length is empty or impossible, or if a key could be
    /// longer than 512 characters.
    pub fn new(prefix: impl Into<String>, body: Length) -> Result<Self, ConfigError> {
        let prefix = prefix.into();
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = "a prefix must be visible ASCII";
            return Err(ConfigError::new(prefix, problem, "write it as in `acme_live_`").in_member("prefix"));
        }
        if body.least == 0 || body.least > body.most || prefix.len().saturating_add(body.most) > LONGEST {
            let (value, problem) = (format!("{}..={}", body.least, body.most), "invalid key length");
            let expected = format!(
                "write at least 1, the minimum first, and at most {LONGEST} together with the prefix"
            );
            return Err(ConfigError::new(value, problem, expected).in_member("body"));
        }
        let start = prefix.len() + (body.least / 2).min(4);
        let (alphabet, environment) = (Alphabet::base62(), Environment::live());
        Ok(Self { prefix, body, alphabet, checksum: false, start, environment, issued: true })
    }

    /// Sets the alphabet. Defaults to base 62.
    #[must_use]
    pub fn with_alphabet(mut self, alphabet: Alphabet) -> Self {
        self.alphabet = alphabet;
        self
    }

    /// Adds a checksum as the last six characters: the CRC-32 (IEEE) of all characters before them, in base 62 with
    /// leading zeros.
    ///
    /// # Errors
    ///
    /// Returns an error if the body has no room for the checksum, or if the alphabet lacks a character of base 62.
    pub fn with_checksum(mut self) -> Result<Self, ConfigError> {
        let lacks = !Alphabet::base62().letters().iter().all(|&letter| self.alphabet.holds(letter));
        if self.body.least <= CHECKSUM || lacks {
            let problem = "the format does not fit a checksum of six base 62 characters";
            let expected = "use a body of more than six characters, and an alphabet that includes base 62";
            return Err(ConfigError::new("true", problem, expected).in_member("checksum"));
        }
        self.checksum = true;
        Ok(self)
    }

    /// Sets the number of first characters that may be shown, the prefix included. Defaults to the prefix and four
    /// characters after it, or half of the shortest body if that is less.
    ///
    /// # Errors
    ///
    /// Returns an error if the start contains more than half of the characters after the prefix.
    pub fn with_start(mut self, characters: usize) -> Result<Self, ConfigError> {
        if characters.saturating_sub(self.prefix.len()) > self.body.least / 2 {
            let problem = "the start would reveal more than half of the secret";
            let expected = "write fewer characters";
            return Err(ConfigError::new(characters.to_string(), problem, expected).in_member("start"));
        }
        self.start = characters;
        Ok(self)
    }

    /// Sets the environment of keys that are issued in this format. Defaults to `live`.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Makes the format accept keys and issue none, as for keys that were created elsewhere. Only such a format may
    /// have less than 128 bits of randomness. The builder of a gate rejects any other such format.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::key::Length;
    /// use tollgate::KeyFormat;
    ///
    /// let imported = KeyFormat::new("old_", Length::exactly(8))?.accepted_only();
    /// assert!(imported.accepts(b"old_a1b2c3d4") && !imported.can_issue());
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    #[must_use]
    pub fn accepted_only(mut self) -> Self {
        self.issued = false;
        self
    }

    /// Returns true if new keys are meant to have this format.
    pub(crate) fn is_issued(&self) -> bool {
        self.issued
    }

    /// Returns the smallest number of characters after the prefix that gives a new key enough randomness.
    pub(crate) fn least_issued(&self) -> usize {
        let enough =
            |length: &usize| Self { body: Length::exactly(*length), ..self.clone() }.bits() >= LEAST_BITS;
        (1..LONGEST).find(enough).unwrap_or(LONGEST)
    }

    /// Returns the lengths after the prefix, as a configuration writes them.
    pub(crate) fn body_text(&self) -> String {
        let Length { least, most } = self.body;
        if least == most { most.to_string() } else { format!("{least}..={most}") }
    }

    /// Returns the prefix of every key.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the environment of keys that are issued in this format.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns true if the bytes have this format.
    #[inline]
    pub fn accepts(&self, key: &[u8]) -> bool {
        let Some((prefix, body)) = key.split_at_checked(self.prefix.len()) else { return false };
        // Compared in a loop: for a short text, the call of a function takes longer (`benches/stack`, 64 keys).
        prefix.iter().eq(self.prefix.as_bytes())
            && self.body.allows(body.len())
            && self.alphabet.holds_all(body)
            && (!self.checksum || has_checksum(key))
    }

    /// Returns true if a text contains what looks like a key of this format or most of one. It looks for the prefix and
    /// eight characters of the alphabet after it. If there is no prefix, it looks for as many characters as a key has.
    pub(crate) fn is_hinted_in(&self, text: &str) -> bool {
        let least = if self.prefix.is_empty() { self.body.least } else { self.body.least.min(8) };
        let runs = |bytes: &[u8]| {
            bytes.iter().take_while(|byte| self.alphabet.holds(**byte)).take(least).count() == least
        };
        let places = text.match_indices(self.prefix.as_str());
        places.map(|(place, prefix)| place + prefix.len()).any(|body| runs(&text.as_bytes()[body..]))
    }

    /// Returns the number of bytes of the shortest key.
    pub(crate) fn shortest(&self) -> usize {
        self.prefix.len() + self.body.least
    }

    /// Returns true if a text contains a whole key of this format, whatever stands around it.
    ///
    /// A format without a prefix is not looked for if its keys may be short, because it also accepts ordinary words.
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        if self.prefix.is_empty() && self.body.least < self.least_issued() {
            return false;
        }
        (0..(text.len() + 1).saturating_sub(self.shortest())).any(|from| {
            let Some(body) = text[from..].strip_prefix(self.prefix.as_bytes()) else { return false };
            let longest =
                body.iter().take(self.body.most).take_while(|byte| self.alphabet.holds(**byte)).count();
            let key = |body: usize| &text[from..from + self.prefix.len() + body];
            longest >= self.body.least
                && (!self.checksum || (self.body.least..=longest).any(|body| has_checksum(key(body))))
        })
    }

    /// Returns true if a text contains a whole key of this format. A key without a prefix is only found as a word, which
    /// ends at a character that no key of the format contains, because the text may contain longer words.
    pub(crate) fn is_word_in(&self, text: &[u8]) -> bool {
        if !self.prefix.is_empty() {
            return self.is_in(text);
        }
        let mut words = text.split(|byte| !self.alphabet.holds(*byte));
        words.any(|word| self.accepts(word)) && self.body.least >= self.least_issued()
    }

    /// Returns true if every key of the other format also has this format.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let Some(rest) = other.prefix.strip_prefix(&self.prefix) else { return false };
        [other.body.least, other.body.most].into_iter().all(|body| self.body.allows(rest.len() + body))
            && self.alphabet.holds_all(rest.as_bytes())
            && self.alphabet.holds_all(other.alphabet.letters())
            && (!self.checksum || other.checksum)
    }

    /// Returns the start of a key: the first characters, which may be shown. Returns nothing of the secret if the key
    /// is too short for that.
    pub fn start_of<'k>(&self, key: &'k str) -> &'k str {
        let shown = if key.len() > self.start { self.start } else { self.prefix.len().min(key.len()) };
        key.get(..shown).unwrap_or_default()
    }

    /// Returns the number of a key's first characters that may be shown, the prefix included.
    pub(crate) fn start_length(&self) -> usize {
        self.start
    }

    /// Returns the alphabet as a character class of a regular expression, without the brackets.
    pub(crate) fn alphabet_class(&self, escape: impl Fn(u8) -> String) -> String {
        let mut sorted = self.alphabet.letters().to_vec();
        sorted.sort_unstable();
        let runs = sorted.chunk_by(|a, b| a + 1 == *b);
        let class = |run: &[u8]| match run {
            [first, _, .., last] => format!("{}-{}", escape(*first), escape(*last)),
            few => few.iter().map(|byte| escape(*byte)).collect(),
        };
        runs.map(class).collect()
    }

    /// Returns the number of characters after the prefix, as a repetition of a regular expression.
    pub(crate) fn body_repetition(&self) -> String {
        let Length { least, most } = self.body;
        if least == most { most.to_string() } else { format!("{least},{most}") }
    }

    /// Returns the number of bits of randomness in a new key of this format.
    pub fn bits(&self) -> f64 {
        let random = self.issued_length().saturating_sub(if self.checksum { CHECKSUM } else { 0 });
        #[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
        let bits = random as f64 * (self.alphabet.len() as f64).log2();
        bits
    }

    /// Returns true if new keys can have this format: it is not [only accepted](Self::accepted_only), and it has at
    /// least 128 bits of randomness.
    pub fn can_issue(&self) -> bool {
        self.issued && self.bits() >= LEAST_BITS
    }

    /// Returns the number of characters after the prefix of a new key. It is 44 if the format allows that, or else the
    /// nearest number that the format allows.
    fn issued_length(&self) -> usize {
        44.clamp(self.body.least, self.body.most)
    }

    /// Generates a new key from the operating system's randomness. Every possible key is equally likely.
    ///
    /// # Errors
    ///
    /// Returns an error if no randomness is available, or if the format has no room for 128 bits of it.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::key::Length;
    /// use tollgate::KeyFormat;
    ///
    /// let format = KeyFormat::new("acme_", Length::exactly(38))?.with_checksum()?;
    /// let key = format.generate()?;
    /// assert!(format.accepts(key.expose_secret().as_bytes()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn generate(&self) -> Result<crate::key::IssuedKey, crate::key::RandomnessError> {
        self.generate_from(&crate::key::OsRandomness)
    }

    /// Generates a new key from a source of randomness; see [`generate`](KeyFormat::generate).
    ///
    /// # Errors
    ///
    /// Returns an error if no randomness is available, or if the format has no room for 128 bits of it.
    pub fn generate_from(
        &self,
        source: &dyn crate::key::Randomness,
    ) -> Result<crate::key::IssuedKey, crate::key::RandomnessError> {
        use crate::key::issued::draw_letters;

        if !self.can_issue() {
            return Err(crate::key::RandomnessError::too_little(self.bits()));
        }
        let length = self.issued_length();
        let mut key = zeroize::Zeroizing::new(Vec::with_capacity(self.prefix.len() + length));
        key.extend_from_slice(self.prefix.as_bytes());
        let random = if self.checksum { length - CHECKSUM } else { length };
        draw_letters(source, self.alphabet.letters(), random, &mut key)?;
        if self.checksum {
            let sum = checksum(&key);
            key.extend_from_slice(&sum);
        }
        Ok(crate::key::IssuedKey::new(&key, self.start))
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    base62(crc32fast::hash(bytes), &mut sum);
    sum
}

fn has_checksum(key: &[u8]) -> bool {
    key.split_last_chunk::<CHECKSUM>().is_some_and(|(rest, sum)| checksum(rest) == *sum)
}

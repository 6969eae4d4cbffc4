//! The shape of a key, checked before it is hashed or looked up.

use crate::error::ConfigError;
use crate::key::Alphabet;
use crate::key::alphabet::base62;
use crate::name::Environment;

/// How many characters there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    least: usize,
    most: usize,
}

impl Length {
    /// Exactly so many.
    pub const fn exactly(characters: usize) -> Self {
        Self { least: characters, most: characters }
    }

    /// From `least` to `most`, both allowed.
    pub const fn between(least: usize, most: usize) -> Self {
        Self { least, most }
    }

    fn allows(self, characters: usize) -> bool {
        (self.least..=self.most).contains(&characters)
    }
}

/// Characters of the checksum: a CRC-32 in base 62.
const CHECKSUM: usize = 6;

/// The most characters a key may have: it is read from a header.
pub(crate) const LONGEST: usize = 512;

/// The least bits of randomness that an issued key must have.
const LEAST_BITS: f64 = 128.0;

/// The shape of a key: a prefix, so many characters of an alphabet, and at the end, if so configured, a checksum.
///
/// Bytes are compared as they came: never trimmed, folded or normalised.
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
    /// Keys that begin with `prefix`, followed by `body` characters of base 62 (the checksum, if any, counted).
    ///
    /// # Errors
    ///
    /// A prefix that is not visible ASCII, an empty or impossible length, a key longer than 512 characters.
    pub fn new(prefix: impl Into<String>, body: Length) -> Result<Self, ConfigError> {
        let prefix = prefix.into();
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = "a prefix is made of visible ASCII";
            return Err(ConfigError::new(prefix, problem, "write it as in `acme_live_`").in_member("prefix"));
        }
        if body.least == 0 || body.least > body.most || prefix.len().saturating_add(body.most) > LONGEST {
            let (value, problem) = (format!("{}..={}", body.least, body.most), "no key can have this length");
            let expected =
                format!("write at least 1, least before most, and {LONGEST} with the prefix at the most");
            return Err(ConfigError::new(value, problem, expected).in_member("body"));
        }
        let start = prefix.len() + (body.least / 2).min(4);
        let (alphabet, environment) = (Alphabet::base62(), Environment::live());
        Ok(Self { prefix, body, alphabet, checksum: false, start, environment, issued: true })
    }

    /// Another alphabet than base 62.
    #[must_use]
    pub fn with_alphabet(mut self, alphabet: Alphabet) -> Self {
        self.alphabet = alphabet;
        self
    }

    /// The last six characters are the CRC-32 (IEEE) of all before them, in base 62 with leading zeros.
    ///
    /// # Errors
    ///
    /// A body without room for it, or an alphabet that lacks its characters.
    pub fn with_checksum(mut self) -> Result<Self, ConfigError> {
        let lacks = !Alphabet::base62().letters().iter().all(|&letter| self.alphabet.holds(letter));
        if self.body.least <= CHECKSUM || lacks {
            let problem = "there is no room for a checksum of six characters of base 62";
            let expected = "give the key more than six characters of an alphabet that holds base 62";
            return Err(ConfigError::new("true", problem, expected).in_member("checksum"));
        }
        self.checksum = true;
        Ok(self)
    }

    /// How many of a key's first characters may be shown, the prefix included: four past the prefix by default.
    ///
    /// # Errors
    ///
    /// More than half of what is behind the prefix.
    pub fn with_start(mut self, characters: usize) -> Result<Self, ConfigError> {
        if characters.saturating_sub(self.prefix.len()) > self.body.least / 2 {
            let problem = "the start would give away more than half of the secret";
            let expected = "write fewer characters";
            return Err(ConfigError::new(characters.to_string(), problem, expected).in_member("start"));
        }
        self.start = characters;
        Ok(self)
    }

    /// The environment that keys of this format are issued for: `live` by default.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Accepts keys of this format and issues none, as for keys that were made elsewhere. Only such a format may have
    /// less than 128 bits of randomness: a gate refuses another at its start.
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

    /// Whether new keys are meant to have this format.
    pub(crate) fn is_issued(&self) -> bool {
        self.issued
    }

    /// The least length behind the prefix that a new key may have.
    pub(crate) fn least_issued(&self) -> usize {
        let enough =
            |length: &usize| Self { body: Length::exactly(*length), ..self.clone() }.bits() >= LEAST_BITS;
        (1..LONGEST).find(enough).unwrap_or(LONGEST)
    }

    /// The lengths behind the prefix, as a configuration spells them.
    pub(crate) fn body_text(&self) -> String {
        let Length { least, most } = self.body;
        if least == most { most.to_string() } else { format!("{least}..={most}") }
    }

    /// What stands in front of every key.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The environment that keys of this format are issued for.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Whether these bytes have the shape of a key.
    #[inline]
    pub fn accepts(&self, key: &[u8]) -> bool {
        let Some(body) = key.strip_prefix(self.prefix.as_bytes()) else { return false };
        self.body.allows(body.len()) && self.alphabet.holds_all(body) && (!self.checksum || has_checksum(key))
    }

    /// Whether a text holds what looks like a key of this format, or like most of one: the prefix and eight characters that may
    /// follow it, or as many as a key has where there is no prefix.
    #[cfg(feature = "keygen")]
    pub(crate) fn is_hinted_in(&self, text: &str) -> bool {
        let least = if self.prefix.is_empty() { self.body.least } else { self.body.least.min(8) };
        let runs = |bytes: &[u8]| {
            bytes.iter().take_while(|byte| self.alphabet.holds(**byte)).take(least).count() == least
        };
        let places = text.match_indices(self.prefix.as_str());
        places.map(|(place, prefix)| place + prefix.len()).any(|body| runs(&text.as_bytes()[body..]))
    }

    /// Whether every key of another format has this shape too.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let Some(rest) = other.prefix.strip_prefix(&self.prefix) else { return false };
        [other.body.least, other.body.most].into_iter().all(|body| self.body.allows(rest.len() + body))
            && self.alphabet.holds_all(rest.as_bytes())
            && self.alphabet.holds_all(other.alphabet.letters())
            && (!self.checksum || other.checksum)
    }

    /// The first characters of a key, which may be shown: none of the secret where the key is too short for that.
    pub fn start_of<'k>(&self, key: &'k str) -> &'k str {
        let shown = if key.len() > self.start { self.start } else { self.prefix.len().min(key.len()) };
        key.get(..shown).unwrap_or_default()
    }

    /// How many of a key's first characters may be shown, the prefix included.
    #[cfg(feature = "keygen")]
    pub(crate) fn start_length(&self) -> usize {
        self.start
    }

    /// The alphabet as a character class of a regular expression, without its brackets.
    #[cfg(feature = "keygen")]
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

    /// How often a character of the alphabet stands in a key, as a repetition of a regular expression.
    #[cfg(feature = "keygen")]
    pub(crate) fn body_repetition(&self) -> String {
        let Length { least, most } = self.body;
        if least == most { most.to_string() } else { format!("{least},{most}") }
    }

    /// How many bits of randomness a new key of this format has.
    pub fn bits(&self) -> f64 {
        let random = self.issued_length().saturating_sub(if self.checksum { CHECKSUM } else { 0 });
        #[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
        let bits = random as f64 * (self.alphabet.len() as f64).log2();
        bits
    }

    /// Whether new keys have this format: it is [not only accepted](Self::accepted_only), and random enough (128 bits).
    pub fn can_issue(&self) -> bool {
        self.issued && self.bits() >= LEAST_BITS
    }

    /// Characters behind the prefix of a new key: 44 where the format leaves a choice.
    fn issued_length(&self) -> usize {
        44.clamp(self.body.least, self.body.most)
    }

    /// A new key, from the operating system's randomness, every one as likely as any other.
    ///
    /// # Errors
    ///
    /// Randomness that cannot be had, or a format without room for 128 bits of it.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::key::Length;
    /// use tollgate::KeyFormat;
    ///
    /// let format = KeyFormat::new("acme_", Length::exactly(38))?.with_checksum()?;
    /// let key = format.generate()?;
    /// assert!(format.accepts(key.reveal().as_bytes()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "keygen")]
    pub fn generate(&self) -> Result<crate::key::IssuedKey, crate::key::RandomnessError> {
        self.generate_from(&crate::key::OsRandomness)
    }

    /// A new key from a source of randomness; see [`generate`](KeyFormat::generate).
    ///
    /// # Errors
    ///
    /// Randomness that cannot be had, or a format without room for 128 bits of it.
    #[cfg(feature = "keygen")]
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

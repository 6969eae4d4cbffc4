//! Request ids, for responses and logs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, str};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::amount::random;
use crate::error::ConfigError;
use crate::header;
use crate::key::{KeyFormat, KeySource};
use crate::request::{HeaderCount, KeySearch, RequestView, find_key};

/// The maximum length of an id that is accepted from a client.
const LONGEST: usize = 64;

/// The headers that the gate's responses already use for something else.
const TAKEN: [HeaderName; 9] = [
    ALLOW,
    CACHE_CONTROL,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    RETRY_AFTER,
    VARY,
    WWW_AUTHENTICATE,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
];

/// The number of characters after the prefix of a new id: 130 bits in base 32.
const LETTERS: usize = 26;

/// The id of a request. It is the client's id if that is short, plain and not a key, or else a new one.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(SmallVec<[u8; LONGEST]>);

impl RequestId {
    /// Returns the id as text: at most 64 characters of `[A-Za-z0-9_-]`.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the id as a header value.
    pub(crate) fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.0).ok()
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.as_str())
    }
}

/// The settings of request ids: their header, the prefix of new ids, and the responses that have one.
///
/// A client's id is accepted if it matches `[A-Za-z0-9_-]{1,64}`, is sent once, and neither has the form of a key nor
/// contains one. Otherwise, a new id is generated. Ids are part of logs and events, where no key may be.
/// Responses to denied requests always have the id.
///
/// # Example
///
/// ```
/// use tollgate::respond::RequestIds;
///
/// let ids = RequestIds::default().with_prefix("req_")?.in_every_answer();
/// # Ok::<(), tollgate::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct RequestIds {
    header: HeaderName,
    /// The header's name as the configuration writes it; `None` for the default.
    named: Option<String>,
    prefix: String,
    everywhere: bool,
    seed: u64,
    count: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        let (header, prefix) = (HeaderName::from_static("x-request-id"), "req_".to_owned());
        let (seed, count) = (random(), AtomicU64::new(random()));
        Self { header, named: None, prefix, everywhere: false, seed, count }
    }
}

impl RequestIds {
    /// Sets the prefix of new ids. Defaults to `req_`.
    ///
    /// # Errors
    ///
    /// Returns an error if the prefix has more than 32 characters, or characters other than `[A-Za-z0-9_-]`.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, ConfigError> {
        if prefix.len() > 32 || !prefix.bytes().all(is_plain) {
            let expected = "write at most 32 letters, digits, `_` or `-`, as in `req_`";
            return Err(ConfigError::new(prefix, "invalid prefix", expected).in_member("prefix"));
        }
        prefix.clone_into(&mut self.prefix);
        Ok(self)
    }

    /// Sets the header of the id. Defaults to `X-Request-ID`.
    ///
    /// # Errors
    ///
    /// Returns an error for a name that no header can have. Also returns an error for a header that has another meaning
    /// in a denial's response, or to clients, proxies and servers, such as `Location` and `Authorization`.
    pub fn with_header(mut self, name: &str) -> Result<Self, ConfigError> {
        let expected = "write one as in `X-Request-ID`";
        let refuse = |problem| ConfigError::new(name, problem, expected).in_member("header");
        self.header = name.parse().map_err(|_| refuse("invalid header name"))?;
        if TAKEN.contains(&self.header) {
            return Err(refuse("this header has another meaning in a denial"));
        }
        if header::is_reserved(&self.header) {
            return Err(refuse(header::MEANS_SOMETHING_ELSE));
        }
        self.named = Some(name.to_owned());
        Ok(self)
    }

    /// Adds the id also to the service's responses, and to the requests that the service receives. This allocates
    /// memory.
    #[must_use]
    pub fn in_every_answer(mut self) -> Self {
        self.everywhere = true;
        self
    }

    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Returns the header's name as the configuration writes it, or `None` for the default.
    pub(crate) fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

    pub(crate) fn everywhere(&self) -> bool {
        self.everywhere
    }

    /// Returns the id of a request. A client's id that has the form of a key, or contains a part of the presented key, is
    /// not accepted, because ids are logged.
    pub(crate) fn of(
        &self,
        view: &RequestView<'_>,
        formats: &[KeyFormat],
        sources: &[KeySource],
    ) -> RequestId {
        let may_be_key = |id: &[u8]| {
            formats.iter().any(|format| format.is_in(id) || format.accepts(id))
                || contains_a_part(id, view, formats, sources)
        };
        match view.field(&self.header) {
            HeaderCount::Once(id)
                if (1..=LONGEST).contains(&id.len())
                    && id.iter().copied().all(is_plain)
                    && !may_be_key(id) =>
            {
                RequestId(SmallVec::from_slice(id))
            }
            _ => self.generate(),
        }
    }

    /// Returns true if the client's id contains a part of the key that the request bears.
    pub(crate) fn bears_key(
        &self,
        view: &RequestView<'_>,
        formats: &[KeyFormat],
        sources: &[KeySource],
    ) -> bool {
        let mut bears = false;
        view.each(&self.header, &mut |id| bears = bears || contains_a_part(id, view, formats, sources));
        bears
    }

    /// Returns an example of an id, which is the same each time.
    pub(crate) fn example(&self) -> RequestId {
        let letters = b"0123456789abcdefghjkmnpqrs".iter().copied();
        RequestId(self.prefix.bytes().chain(letters.take(LETTERS)).collect())
    }

    /// Generates a new id. It is unique and not a secret.
    fn generate(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let (upper, lower) = (mixed(count ^ self.seed), mixed(count.wrapping_add(self.seed)));
        let mut number = u128::from(upper) << 64 | u128::from(lower);
        let mut letters = [0; LETTERS];
        for letter in &mut letters {
            *letter = b"0123456789abcdefghjkmnpqrstvwxyz"[(number & 31) as usize];
            number >>= 5;
        }
        let mut id = SmallVec::from_slice(self.prefix.as_bytes());
        id.extend_from_slice(&letters);
        RequestId(id)
    }
}

/// Returns true if an id contains a part of a key that the request bears, in whatever form and number, without the prefix: each
/// 15 characters of a key that follow each other are found.
fn contains_a_part(id: &[u8], view: &RequestView<'_>, formats: &[KeyFormat], sources: &[KeySource]) -> bool {
    const PART: usize = 8;
    let shares = |key: &[u8]| {
        let body =
            formats.iter().find_map(|format| key.strip_prefix(format.prefix().as_bytes())).unwrap_or(key);
        body.rchunks_exact(PART).any(|part| id.windows(PART).any(|window| window == part))
    };
    let mut contains = false;
    for header in sources.iter().filter_map(KeySource::header_name) {
        view.each(header, &mut |value| {
            contains = contains || value.split(|byte| *byte == b' ').any(shares);
        });
    }
    contains
        || sources.iter().filter(|source| source.parameter().is_some()).any(|source| {
            let (found, _) = find_key(std::slice::from_ref(source), view, false);
            matches!(found, KeySearch::Key(key) if shares(key.as_bytes()))
        })
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Spreads a count over all bits (splitmix64's finisher). The function is a bijection, so no id is generated twice.
fn mixed(count: u64) -> u64 {
    let count = (count ^ (count >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let count = (count ^ (count >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    count ^ (count >> 31)
}

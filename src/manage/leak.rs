//! Keys that are found in the open.

use crate::audit::Action;
use crate::key::{KeyFormat, KeyHash, KeyId, KeyRecord, Retiring};
use crate::manage::{KeyManager, ManageError};

impl KeyManager {
    /// Revokes a key that was found in the open, if it is one of this gate's; says which it was, to the operator alone: who
    /// reports a leak is to learn nothing of it.
    ///
    /// A secret that is on its way out after a rotation takes its key with it: who had it may have had the key rotated. One
    /// whose overlap is over is no key any more, and a key that everybody knows is no secret: nothing becomes of those.
    ///
    /// # Errors
    ///
    /// A store that fails.
    pub async fn report_leak(&self, secret: &str) -> Result<Option<KeyId>, ManageError> {
        let secret = secret.as_bytes();
        let shaped = self.desk.gate.formats().iter().any(|format| format.accepts(secret));
        if !shaped || self.desk.gate.0.is_literal(secret) {
            return Ok(None);
        }
        let schemes = self.desk.gate.hashers();
        let hashes: Vec<KeyHash> = schemes.iter().map(|scheme| scheme.hash(secret)).collect();
        // A key may be put under the newest scheme between two look-ups: that is looked under once more.
        let again = hashes.first().filter(|_| hashes.len() > 1);
        for hash in hashes.iter().chain(again) {
            // A cache may know of no such key though there is one.
            if let Some(record) = self.store.find_now(hash).await? {
                return self.end_leaked(record.id, &hashes).await;
            }
        }
        Ok(None)
    }

    /// Revokes a key that still has one of these hashes when it is written: it may have been rotated meanwhile.
    async fn end_leaked(&self, id: KeyId, hashes: &[KeyHash]) -> Result<Option<KeyId>, ManageError> {
        let is_its = |record: &KeyRecord| {
            let retires = |old: &Retiring| hashes.contains(&old.hash) && self.now() < old.until;
            let held = hashes.contains(&record.hash) || record.retiring.as_ref().is_some_and(retires);
            if held { Ok(()) } else { Err(ManageError::NotFound("key")) }
        };
        match self.end(id, Action::Leaked, is_its).await {
            Ok(_) => Ok(Some(id)),
            // Erased or rotated meanwhile, or another account's: nothing is told of it.
            Err(ManageError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl KeyFormat {
    /// A regular expression for secret scanners, such as GitHub's partner programme takes: it finds keys of this format in
    /// any text. With a checksum, what it finds can be told from what only looks like a key.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::key::Length;
    /// use tollgate::KeyFormat;
    ///
    /// let format = KeyFormat::new("qd_", Length::exactly(32))?;
    /// assert_eq!(format.scanner_pattern(), "qd_[0-9A-Za-z]{32}");
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn scanner_pattern(&self) -> String {
        let escape = |byte: u8| match byte {
            // A backslash in front of an angle bracket would make a word boundary of it.
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'<' | b'>' => char::from(byte).to_string(),
            other => format!("\\{}", char::from(other)),
        };
        let prefix: String = self.prefix().bytes().map(escape).collect();
        format!("{prefix}[{}]{{{}}}", self.alphabet_class(escape), self.body_repetition())
    }
}

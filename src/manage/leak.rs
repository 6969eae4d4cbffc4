//! Handling of leaked keys.

use crate::audit::Action;
use crate::key::{KeyFormat, KeyHash, KeyId, KeyRecord, PreviousSecret};
use crate::manage::{KeyManager, ManageError};

impl KeyManager {
    /// Revokes a leaked key if it belongs to this gate, and returns its id. The id is for the operator only: a party
    /// that reports a leak must not learn anything from the result.
    ///
    /// A secret that is retiring after a rotation revokes its key too, because its holder may have caused the rotation.
    /// A secret whose overlap is over is no longer a key, and a literal key is no secret: neither has any effect.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails.
    pub async fn report_leak(&self, secret: &str) -> Result<Option<KeyId>, ManageError> {
        let (secret, core) = (secret.as_bytes(), self.context.gate.core());
        let shaped = core.formats().iter().any(|format| format.accepts(secret));
        if !shaped || core.is_literal(secret) {
            return Ok(None);
        }
        let schemes = core.hashers();
        let hashes: Vec<KeyHash> = schemes.iter().map(|scheme| scheme.hash(secret)).collect();
        // A key may be rehashed with the newest scheme between two look-ups. Therefore look up the newest hash again.
        let again = hashes.first().filter(|_| hashes.len() > 1);
        for hash in hashes.iter().chain(again) {
            // Bypass caches: they may have a negative entry for a key that exists.
            if let Some(record) = self.store.find_now(hash).await? {
                return self.end_leaked(record.id, &hashes).await;
            }
        }
        Ok(None)
    }

    /// Revokes a key if it still has one of these hashes at the time of the write. It may have been rotated in the
    /// meantime.
    async fn end_leaked(&self, id: KeyId, hashes: &[KeyHash]) -> Result<Option<KeyId>, ManageError> {
        let is_its = |record: &KeyRecord| {
            let retires = |old: &PreviousSecret| hashes.contains(&old.hash) && self.now() < old.until;
            let held = hashes.contains(&record.hash) || record.retiring.as_ref().is_some_and(retires);
            if held { Ok(()) } else { Err(ManageError::NotFound("key")) }
        };
        match self.end(id, Action::Leaked, is_its).await {
            Ok(_) => Ok(Some(id)),
            // The key was erased or rotated in the meantime, or belongs to another account: report nothing.
            Err(ManageError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl KeyFormat {
    /// Returns a regular expression for secret scanners, such as GitHub's secret scanning partner program. It finds
    /// keys of this format in any text. If the format has a checksum, the operator can use it to separate keys from
    /// text that only resembles one.
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
            // An escaped angle bracket would be a word boundary.
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'<' | b'>' => char::from(byte).to_string(),
            other => format!("\\{}", char::from(other)),
        };
        let prefix: String = self.prefix().bytes().map(escape).collect();
        format!("{prefix}[{}]{{{}}}", self.alphabet_class(escape), self.body_repetition())
    }
}

//! Keys that are found in the open.

use crate::manage::{Action, KeyManager, ManageError};
use crate::{KeyFormat, KeyId, KeyStatus};

impl KeyManager {
    /// Revokes a key that was found in the open, if it is one of this gate's; says which it was, to the operator alone: who
    /// reports a leak is to learn nothing of it.
    ///
    /// # Errors
    ///
    /// A store that fails.
    pub async fn report_leak(&self, secret: &str) -> Result<Option<KeyId>, ManageError> {
        if !self.gate.formats().iter().any(|format| format.accepts(secret.as_bytes())) {
            return Ok(None);
        }
        for hasher in self.gate.hashers() {
            let Some(record) = self.store.find(&hasher.hash(secret.as_bytes())).await? else { continue };
            if record.status != KeyStatus::Revoked {
                self.end(record.id, Action::Leaked).await?;
            }
            return Ok(Some(record.id));
        }
        Ok(None)
    }
}

impl KeyFormat {
    /// A regular expression for secret scanners, such as GitHub's partner programme takes: it finds keys of this format in
    /// any text. With a checksum, what it finds can be told from what only looks like a key.
    ///
    /// # Example
    ///
    /// ```
    /// use tollgate::{KeyFormat, Length};
    ///
    /// let format = KeyFormat::new("qd_", Length::exactly(32))?;
    /// assert_eq!(format.scanner_pattern(), "qd_[0-9A-Za-z]{32}");
    /// # Ok::<(), tollgate::ConfigError>(())
    /// ```
    pub fn scanner_pattern(&self) -> String {
        let escape = |byte: u8| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' => char::from(byte).to_string(),
            other => format!("\\{}", char::from(other)),
        };
        let prefix: String = self.prefix().bytes().map(escape).collect();
        format!("{prefix}[{}]{{{}}}", self.alphabet_class(escape), self.body_repetition())
    }
}

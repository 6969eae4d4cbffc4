//! The secret that signs the requests of a webhook.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::ConfigError;

/// The text before the Base64 of a secret.
const PREFIX: &str = "whsec_";

/// A decoder that accepts a secret with and without padding.
const DECODER: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The secret that a webhook's requests are signed with: `whsec_` and 24 to 64 random bytes in Base64.
///
/// `echo whsec_$(openssl rand -base64 32)` prints a new one. Give each receiver its own.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

impl WebhookSecret {
    /// Returns the signature of a message, as in `v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=`.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        // A key of any length is accepted.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl FromStr for WebhookSecret {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.strip_prefix(PREFIX).and_then(|text| DECODER.decode(text).ok()).map(Zeroizing::new);
        let bytes = bytes.filter(|bytes| (24..=64).contains(&bytes.len()));
        bytes.map(Self).ok_or_else(|| {
            let expected =
                "write `whsec_` and 24 to 64 bytes in Base64, as `echo whsec_$(openssl rand -base64 32)` prints";
            // The error does not quote the secret.
            ConfigError::new("", "invalid secret of a webhook", expected)
        })
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_equals_that_of_the_specification() -> Result<(), ConfigError> {
        // The example of the reference libraries.
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        Ok(())
    }

    #[test]
    fn secrets_are_parsed_and_never_quoted() {
        let bytes = |count: usize| STANDARD.encode(vec![7_u8; count]);
        for (text, is_valid) in [
            (format!("whsec_{}", bytes(24)), true),
            (format!("whsec_{}", bytes(32)), true),
            (format!("whsec_{}", bytes(32).trim_end_matches('=')), true),
            (format!("whsec_{}", bytes(64)), true),
            (format!("whsec_{}", bytes(23)), false),
            (format!("whsec_{}", bytes(65)), false),
            (bytes(32), false),
            ("whsec_!".to_owned(), false),
            (String::new(), false),
        ] {
            let secret = text.parse::<WebhookSecret>();
            assert_eq!(secret.is_ok(), is_valid, "{text}");
            let shown = format!("{secret:?}");
            assert!(text.len() < 12 || !shown.contains(&text[6..12]), "{shown}");
        }
    }
}

//! Signing as Standard Webhooks 1.0.0 describes it: HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a signing key begins with when it is written down.
const PREFIX: &str = "whsec_";

/// A channel's signing key. It is not shown by `Debug`.
pub struct SigningKey(Hmac<Sha256>);

/// Why a text is no signing key. The text itself is never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing key is not 'whsec_' and base64; define the channel again")]
pub struct NotAKey;

impl SigningKey {
    /// Reads `whsec_<base64>`; the prefix may be missing.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let text = text.trim();
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).map_err(|_| NotAKey)?;
        if bytes.is_empty() {
            return Err(NotAKey);
        }
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_| NotAKey)
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

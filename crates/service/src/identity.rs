//! A service's own age key: the gateway encrypts to it what this service alone may read.

use crate::file;
use age::secrecy::{ExposeSecret, SecretString};
use age::x25519::Identity;
use anyhow::Context;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const FILE: &str = "identity.txt";

/// Reads the key, or makes it at the first start. A damaged one is no reason to make another: what was encrypted to it
/// could never be read again.
pub fn open(state_dir: &Path) -> anyhow::Result<Identity> {
    let path = state_dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            // The error is not shown: it could quote the key.
            text.trim().parse().map_err(|_| {
                anyhow::anyhow!(
                    "{} holds no age key; restore it, or remove it and give again every secret that was encrypted to it",
                    path.display()
                )
            })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let identity = Identity::generate();
            let text = format!("{}\n", identity.to_string().expose_secret());
            file::write_private(&path, text.as_bytes()).with_context(|| path.display().to_string())?;
            Ok(identity)
        }
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Decrypts a text; the error says nothing of its content.
pub fn decrypt(identity: &Identity, ciphertext: &[u8]) -> Result<SecretString, &'static str> {
    let bytes = age::decrypt(identity, ciphertext).map_err(|_| "is not encrypted to this key")?;
    String::from_utf8(bytes).map(SecretString::from).map_err(|_| "is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_is_private_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let key = open(folder.path()).unwrap();
        assert_eq!(open(folder.path()).unwrap().to_public().to_string(), key.to_public().to_string());
        let path = folder.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let ciphertext = age::encrypt(&key.to_public(), b"hello").unwrap();
        assert_eq!(decrypt(&key, &ciphertext).unwrap().expose_secret(), "hello");
        assert!(decrypt(&Identity::generate(), &ciphertext).is_err());

        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..30]).unwrap();
        let refused = open(folder.path()).err().unwrap().to_string();
        assert!(!refused.contains(&text[..30]), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), &text[..30]);
    }
}

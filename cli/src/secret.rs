//! Secrets that this program draws or is given in files.
//!
//! They are drawn here and not by the server: an answer that is lost on its way would take the only copy along.

use crate::client::ClientError;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::path::Path;

/// A passphrase of 256 bits, of letters and digits that survive being copied.
pub fn draw_passphrase() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// A signing secret as Standard Webhooks writes it.
pub fn draw_signing_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// A secret is the file's one line: an editor's line break at the end is no part of it.
pub fn read(file: &Path) -> Result<String, ClientError> {
    let text =
        std::fs::read_to_string(file).map_err(|e| ClientError::Usage(format!("{}: {e}", file.display())))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') {
        return Err(ClientError::Usage(format!("{}: it must hold one line, the secret", file.display())));
    }
    Ok(line.to_owned())
}

/// A secret of as many lines as the file has, as keys have them.
pub fn read_lines(file: &Path) -> Result<String, ClientError> {
    let text =
        std::fs::read_to_string(file).map_err(|e| ClientError::Usage(format!("{}: {e}", file.display())))?;
    if text.trim().is_empty() {
        return Err(ClientError::Usage(format!("{}: it is empty", file.display())));
    }
    // The one line of a key or a password is without its end; keys of many lines need theirs.
    let single = text.trim_end_matches(['\n', '\r']);
    Ok(if single.contains('\n') { text } else { single.to_owned() })
}

/// A key that opens archives: of age its one line, whatever `age-keygen` has written around it; of OpenPGP all lines.
pub fn read_identity(file: &Path) -> Result<String, ClientError> {
    let text = read_lines(file)?;
    let of_age = text.lines().map(str::trim).find(|line| line.starts_with("AGE-SECRET-KEY-"));
    Ok(of_age.map_or_else(|| text.clone(), str::to_owned))
}

/// Nobody knows what became of the request: if it was done, this is the secret.
pub fn warn_of_unknown(error: &ClientError, what: &str, drawn: Option<&str>) {
    if let (true, Some(drawn)) = (error.leaves_it_open(), drawn) {
        eprintln!(
            "it is not known whether this was done; if it was, this is its {what}, shown this once:\n\n  {drawn}\n"
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_key_is_found_in_what_its_program_has_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_identity(&file).unwrap()
        };
        assert_eq!(read("# created: x\n# public key: age1\nAGE-SECRET-KEY-1ABC\n"), "AGE-SECRET-KEY-1ABC");
        assert_eq!(read("AGE-SECRET-KEY-1ABC"), "AGE-SECRET-KEY-1ABC");
        let armored = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nx\n-----END PGP PRIVATE KEY BLOCK-----\n";
        assert_eq!(read(armored), armored);
        assert_eq!(read("a passphrase\n"), "a passphrase");
    }

    #[test]
    fn a_secret_is_one_line_as_it_stands_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        for (text, secret) in [("a b ", "a b "), ("x\n", "x"), ("x\r\n", "x")] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(&file).unwrap(), secret);
        }
        for bad in ["", "\n", "two\nlines"] {
            std::fs::write(&file, bad).unwrap();
            assert!(read(&file).is_err(), "{bad:?}");
        }
        assert!(read(&folder.path().join("none")).is_err());
        for (text, secret) in [("x\n", "x"), ("a\nb\n", "a\nb\n")] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_lines(&file).unwrap(), secret);
        }
        std::fs::write(&file, " \n").unwrap();
        assert!(read_lines(&file).is_err());
    }
}

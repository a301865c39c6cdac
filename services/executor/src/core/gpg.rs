//! How gpg is told what to do, and what it says.

use strongroom_domain::FailureCode;

const ALWAYS: [&str; 4] = ["--batch", "--no-tty", "--quiet", "--no-autostart"];

fn with(more: &[&str]) -> Vec<String> {
    ALWAYS.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

/// Encrypts to the keys in these files. What flows is compressed already, or is not to be.
pub fn encrypt(keys: &[String]) -> Vec<String> {
    let mut arguments = with(&["--trust-model", "always", "--compress-algo", "none"]);
    for key in keys {
        arguments.extend(["--recipient-file".to_owned(), key.clone()]);
    }
    arguments.extend(["--output".to_owned(), "-".into(), "--encrypt".into()]);
    arguments
}

/// Takes a secret key in.
pub fn import() -> Vec<String> {
    with(&["--import"])
}

/// Decrypts.
pub fn decrypt() -> Vec<String> {
    with(&["--output", "-", "--decrypt"])
}

/// An agent, and a program that does nothing but to be its parent.
pub fn agent(home: &str) -> Vec<String> {
    ["--homedir", home, "--quiet", "--no-detach", "--daemon", "cat"].map(str::to_owned).to_vec()
}

/// What people read of the last lines.
pub fn words(tail: &[String]) -> String {
    let said = tail.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
    let about = |line: &&str| !line.contains("encrypted with") && !line.starts_with('"');
    let lines: Vec<&str> = said.filter(about).collect();
    if lines.is_empty() { "it said nothing".to_owned() } else { lines.join("; ") }
}

/// Why it could not decrypt.
pub fn cause(tail: &[String]) -> FailureCode {
    let says = |words: &str| tail.iter().any(|line| line.contains(words));
    if says("No secret key") || says("Bad passphrase") || says("No pinentry") || says("Inappropriate ioctl") {
        FailureCode::WrongPassphrase
    } else if says("No space left on device") {
        FailureCode::NoSpace
    } else {
        FailureCode::ArchiveDamaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn keys_come_from_files_and_from_no_keyring() {
        let told = encrypt(&["/a b".into(), "/c".into()]).join("|");
        assert!(told.ends_with("|--recipient-file|/a b|--recipient-file|/c|--output|-|--encrypt"), "{told}");
        assert!(told.contains("--trust-model|always") && told.contains("--batch|--no-tty"));
    }

    #[test]
    fn another_key_is_told_from_what_is_damaged() {
        let other = "gpg: encrypted with RSA key, ID 07A0DB38592E1DA0\ngpg: decryption failed: No secret key";
        assert_eq!(cause(&tail(other)), FailureCode::WrongPassphrase);
        assert_eq!(words(&tail(other)), "gpg: decryption failed: No secret key");
        assert_eq!(
            cause(&tail("gpg: WARNING: encrypted message has been manipulated!")),
            FailureCode::ArchiveDamaged
        );
        assert_eq!(words(&[]), "it said nothing");
    }
}

//! Repository: a borg repository or a dump store inside a destination.

use crate::definition::{Validate, check_text};
use crate::destination::Location;
use crate::{DestinationId, FieldError, RepositoryId, SecretRef, ServerId, destination, settings};
use serde::{Deserialize, Serialize};

/// How a repository is defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Whose data it holds.
    pub server: ServerId,
    /// Where it lies.
    pub destination: DestinationId,
    /// What it is; chosen once.
    #[serde(default)]
    pub kind: Kind,
    /// How it is encrypted; chosen once, when it is made.
    pub encryption: Encryption,
    /// The passphrase's reference; set by the gateway, absent without encryption.
    #[serde(default)]
    pub passphrase: Option<SecretRef>,
    /// To whom a dump store encrypts: with `age` public keys, `age1...`; with `gpg` public keys of OpenPGP in ASCII armor.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// The reference of a secret key that opens what is encrypted to one of them; set by the gateway. Without it whoever
    /// restores gives one.
    #[serde(default)]
    pub identity: Option<SecretRef>,
    /// Whether a dump store keeps what its archives have in common once; chosen once, when it is made.
    #[serde(default)]
    pub deduplicate: bool,
    /// How many jobs may run at once in it, of those that only read: one that writes is there alone; the system's default, when absent.
    #[serde(default)]
    pub max_concurrent_jobs: Option<u32>,
    /// Words for people.
    #[serde(default)]
    pub description: String,
}

/// The kinds of repositories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Kind {
    /// A borg repository.
    #[default]
    Borg,
    /// Dumps as objects of their own, which can be read with common tools alone.
    DumpStore,
}

/// Borg's modes (`borg init --encryption`), and those of dump stores. Borg's keyfile modes are left out on purpose: their
/// key would lie on the node alone, and a backup whose only key is on the machine that burns is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Encryption {
    /// No encryption, no authentication.
    None,
    /// Authenticated, not encrypted.
    Authenticated,
    /// Authenticated with BLAKE2b, not encrypted.
    AuthenticatedBlake2,
    /// AES-CTR with the key in the repository, protected by the passphrase.
    Repokey,
    /// The same with BLAKE2b: faster without SHA instructions.
    RepokeyBlake2,
    /// Of dump stores: age, to a key that lies in the store, protected by the passphrase.
    Passphrase,
    /// Of dump stores: age, to the keys of people. The node cannot read what it has stored.
    Age,
    /// Of dump stores: OpenPGP, by the gpg program, to the keys of people. The node cannot read what it has stored.
    Gpg,
}

impl Encryption {
    /// Whether a passphrase opens it in this mode.
    pub fn needs_passphrase(self) -> bool {
        !matches!(self, Self::None) && !self.is_to_people()
    }

    /// Whether it is to the keys of people.
    pub fn is_to_people(self) -> bool {
        matches!(self, Self::Age | Self::Gpg)
    }

    /// Whether a repository of this kind has this mode.
    pub fn is_of(self, kind: Kind) -> bool {
        match self {
            Self::None => true,
            Self::Passphrase | Self::Age | Self::Gpg => kind == Kind::DumpStore,
            Self::Authenticated | Self::AuthenticatedBlake2 | Self::Repokey | Self::RepokeyBlake2 => {
                kind == Kind::Borg
            }
        }
    }
}

impl Spec {
    /// How a node reaches it and writes into it. What opens archives that are encrypted to people is left out: whoever
    /// writes needs it not.
    pub fn access(&self, id: &RepositoryId, destination: &destination::Spec) -> Access {
        let store = (self.kind == Kind::DumpStore).then(|| destination.location.clone());
        Access {
            repository: id.clone(),
            location: destination.location.repository_path(&self.server, id),
            encryption: self.encryption,
            passphrase: self.passphrase.clone(),
            store,
            recipients: self.recipients.clone(),
            identity: None,
            deduplicate: self.deduplicate,
        }
    }
}

impl Spec {
    /// Why it cannot keep what its archives have in common once, when it is asked to.
    fn cannot_deduplicate(&self) -> Option<&'static str> {
        if !self.deduplicate {
            None
        } else if self.kind == Kind::Borg {
            Some("is for dump stores: borg deduplicates by itself, and always")
        } else if self.encryption.is_to_people() {
            Some(
                "cannot be had with what only people can read: the node must know again what it has stored, and which archive \
                 needs which piece of it, and has no key to do so; choose 'passphrase' or 'none'",
            )
        } else {
            None
        }
    }

    /// Why archives of this repository cannot be copied into that one by whoever cannot read them.
    pub fn cannot_be_copied_to(&self, other: &Self) -> Option<&'static str> {
        let same_recipients = || {
            self.recipients.iter().all(|r| other.recipients.contains(r))
                && other.recipients.iter().all(|r| self.recipients.contains(r))
        };
        if self.kind != Kind::DumpStore || other.kind != Kind::DumpStore {
            Some("both must be dump stores: borg has no way to copy an archive")
        } else if self.server != other.server {
            Some("it must belong to the same server, whose node makes the copy")
        } else if self.encryption.is_to_people()
            && (other.encryption != self.encryption || !same_recipients())
        {
            Some(
                "archives that only people can read are copied as they are: it must have the same recipients",
            )
        } else {
            None
        }
    }
}

impl Validate for Spec {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        problems.extend(settings::too_few("max_concurrent_jobs", self.max_concurrent_jobs));
        check_text(&mut problems, "description", &self.description, 500);
        if self.encryption.needs_passphrase() != self.passphrase.is_some() {
            let message = if self.encryption.needs_passphrase() {
                "is needed for this encryption"
            } else {
                "must be absent without encryption"
            };
            problems.push(FieldError::new("passphrase", message));
        }
        if !self.encryption.is_of(self.kind) {
            let modes = match self.kind {
                Kind::Borg => {
                    "'none', 'authenticated', 'authenticated-blake2', 'repokey' or 'repokey-blake2'"
                }
                Kind::DumpStore => "'none', 'passphrase', 'age' or 'gpg'",
            };
            problems
                .push(FieldError::new("encryption", format!("must be {modes} for this kind of repository")));
        }
        let message = match (self.encryption.is_to_people(), self.recipients.is_empty()) {
            (true, true) => Some("must name at least one key for this encryption"),
            (false, false) => Some("are for the encryptions 'age' and 'gpg'"),
            _ => None,
        };
        problems.extend(message.map(|message| FieldError::new("recipients", message)));
        for (n, recipient) in self.recipients.iter().enumerate() {
            let message = match self.encryption {
                Encryption::Gpg => is_armored(recipient, "PUBLIC").then_some(()).ok_or(
                    "must be one public key of OpenPGP in ASCII armor, as gpg --armor --export prints it, of at most 64 KiB",
                ),
                _ => is_recipient(recipient)
                    .then_some(())
                    .ok_or("must be a public key of age, as age-keygen prints it: 'age1...'"),
            };
            if let Err(message) = message {
                problems.push(FieldError::new(format!("recipients[{n}]"), message));
            }
        }
        if self.identity.is_some() && !self.encryption.is_to_people() {
            problems.push(FieldError::new("identity", "is for the encryptions 'age' and 'gpg'"));
        }
        problems.extend(self.cannot_deduplicate().map(|why| FieldError::new("deduplicate", why)));
        problems
    }
}

/// Whether this has the form of an X25519 key of age: Bech32 of 32 bytes after `age1` (age-encryption.org/v1).
fn is_recipient(text: &str) -> bool {
    let bech32 = |c: char| c.is_ascii_digit() || (c.is_ascii_lowercase() && !matches!(c, 'b' | 'i' | 'o'));
    text.len() == 62 && text.strip_prefix("age1").is_some_and(|rest| rest.chars().all(bech32))
}

/// The longest key of OpenPGP that is taken.
const ARMOR_BYTES: usize = 64 << 10;

/// Whether this has the form of one key of OpenPGP in ASCII armor (RFC 4880, 6.2).
pub fn is_armored(text: &str, kind: &str) -> bool {
    let text = text.trim();
    let body = text
        .strip_prefix(&format!("-----BEGIN PGP {kind} KEY BLOCK-----"))
        .and_then(|text| text.strip_suffix(&format!("-----END PGP {kind} KEY BLOCK-----")));
    let fits = |c: char| c.is_ascii() && (!c.is_ascii_control() || matches!(c, '\n' | '\r' | '\t'));
    text.len() <= ARMOR_BYTES && body.is_some_and(|body| !body.contains("-----") && body.chars().all(fits))
}

/// All that a node needs to open a repository, as a job carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Which repository.
    pub repository: RepositoryId,
    /// Where borg finds it; of a dump store, its path at the destination, or what the names of its objects begin with.
    pub location: String,
    /// How it is encrypted.
    pub encryption: Encryption,
    /// Which passphrase opens it.
    #[serde(default)]
    pub passphrase: Option<SecretRef>,
    /// The destination of a dump store; absent for borg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Location>,
    /// To whom a dump store encrypts, with the encryption `age` or `gpg`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Which secret key opens that, for a restore; a backup is given none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<SecretRef>,
    /// Whether a dump store keeps what its archives have in common once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deduplicate: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Access {
    /// The secrets that a node needs to reach and open it.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let place = self.store.as_ref().and_then(Location::secret);
        self.passphrase.iter().chain(place).chain(self.identity.iter())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::{Value, json};

    fn fields(more: Value) -> Vec<String> {
        let mut spec = json!({ "server": "s", "destination": "d", "encryption": "none" });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec: Spec = serde_json::from_value(spec).unwrap();
        spec.problems().into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn what_cannot_be_read_is_copied_as_it_is_or_not_at_all() {
        let spec = |encryption: &str, recipients: &[&str]| -> Spec {
            let json = json!({ "server": "s", "destination": "d", "kind": "dump-store", "encryption": encryption,
                "recipients": recipients });
            serde_json::from_value(json).unwrap()
        };
        let (a, ab) = (spec("age", &["a"]), spec("age", &["a", "b"]));
        assert_eq!(ab.cannot_be_copied_to(&spec("age", &["b", "a"])), None);
        assert!(a.cannot_be_copied_to(&ab).is_some() && ab.cannot_be_copied_to(&a).is_some());
        assert!(a.cannot_be_copied_to(&spec("passphrase", &[])).is_some());
        assert_eq!(spec("passphrase", &[]).cannot_be_copied_to(&a), None);
        assert_eq!(spec("none", &[]).cannot_be_copied_to(&spec("passphrase", &[])), None);
        let borg = Spec { kind: Kind::Borg, ..spec("none", &[]) };
        assert!(borg.cannot_be_copied_to(&a).is_some() && a.cannot_be_copied_to(&borg).is_some());
        let other = Spec { server: "t".parse().unwrap(), ..spec("none", &[]) };
        assert!(spec("none", &[]).cannot_be_copied_to(&other).is_some());
    }

    #[test]
    fn each_kind_has_its_own_encryptions() {
        let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let secret = json!({ "reference": "r", "version": 1 });
        assert_eq!(fields(json!({})), Vec::<String>::new());
        assert_eq!(fields(json!({ "kind": "dump-store" })), Vec::<String>::new());
        let age =
            json!({ "kind": "dump-store", "encryption": "age", "recipients": [key], "identity": secret });
        assert_eq!(fields(age), Vec::<String>::new());
        assert_eq!(fields(json!({ "encryption": "age", "recipients": [key] })), ["encryption"]);
        let repokey = json!({ "kind": "dump-store", "encryption": "repokey", "passphrase": secret });
        assert_eq!(fields(repokey), ["encryption"]);
        assert_eq!(fields(json!({ "kind": "dump-store", "encryption": "age" })), ["recipients"]);
        assert_eq!(fields(json!({ "recipients": [key], "identity": secret })), ["recipients", "identity"]);
        let armor = |kind: &str| {
            format!("-----BEGIN PGP {kind} KEY BLOCK-----\n\nmQGN=\n-----END PGP {kind} KEY BLOCK-----\n")
        };
        let gpg = |key: &str| json!({ "kind": "dump-store", "encryption": "gpg", "recipients": [key] });
        assert_eq!(fields(gpg(&armor("PUBLIC"))), Vec::<String>::new());
        for odd in [key.to_owned(), armor("PRIVATE"), armor("PUBLIC").repeat(2), String::new()] {
            assert_eq!(fields(gpg(&odd)), ["recipients[0]"], "{odd}");
        }
        let once = |more: Value| {
            let mut store = json!({ "kind": "dump-store", "deduplicate": true });
            store.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            fields(store)
        };
        assert_eq!(once(json!({})), Vec::<String>::new());
        assert_eq!(once(json!({ "encryption": "passphrase", "passphrase": secret })), Vec::<String>::new());
        assert_eq!(once(json!({ "kind": "borg" })), ["deduplicate"]);
        assert_eq!(once(json!({ "encryption": "age", "recipients": [key] })), ["deduplicate"]);
        assert_eq!(once(json!({ "encryption": "gpg", "recipients": [armor("PUBLIC")] })), ["deduplicate"]);
        for odd in ["AGE-SECRET-KEY-1", "age1", "ssh-ed25519 AAAA", &key.to_uppercase()] {
            let age = json!({ "kind": "dump-store", "encryption": "age", "recipients": [odd] });
            assert_eq!(fields(age), ["recipients[0]"], "{odd}");
        }
    }
}

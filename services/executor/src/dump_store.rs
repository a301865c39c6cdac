//! A dump store that is open: what it is, the keys to it, its archives, and their parts.
//!
//! The accident that this file prevents: another store, or none, in the place of the one that backups are believed to be
//! in. And an archive that is read back as another one than was stored: what the log knows is the digest of its manifest,
//! which holds the digests of all of it.

mod chunks;
mod reading;
mod sweeping;

pub use reading::missing_in;

use crate::core::chunks::Naming;
use crate::core::dump_store::{self as forms, Description};
use crate::core::manifest::Manifest;
use crate::core::sum;
use crate::gpg::{Opener, Sealer};
use crate::jobs::Bench;
use crate::pipeline::Recipe;
use crate::stores::Store;
use crate::streams::Streams;
use age::scrypt;
use age::secrecy::{ExposeSecret, SecretString};
use age::x25519::{Identity, Recipient};
use std::path::PathBuf;
use strongroom_domain::archive::{Compressed, Facts, Stored, Target};
use strongroom_domain::destination::Location;
use strongroom_domain::plan::Compression;
use strongroom_domain::repository::{Access, Encryption};
use strongroom_domain::{Failure, FailureCode};
use strongroom_service::clock;

/// The largest of its small objects.
const SMALL_BYTES: u64 = 64 << 10;
/// How hard a passphrase is to be guessed: 2^15 rounds of scrypt, which take 32 MiB of memory and some 0.1 s each time. The
/// passphrases that are drawn are beyond guessing in any case.
const SCRYPT_WORK_FACTOR: u8 = 15;

/// A store whose place is known.
pub struct Found<'a> {
    /// Where its objects are.
    pub store: Box<dyn Store>,
    access: &'a Access,
    passphrase: Option<SecretString>,
    /// The private folder of the job.
    private: PathBuf,
    /// Where children are noted.
    notes: PathBuf,
}

/// A store that is open.
pub struct Opened<'a> {
    /// Where its objects are.
    pub store: Box<dyn Store>,
    /// How it is defined.
    pub access: &'a Access,
    recipients: Vec<Recipient>,
    identity: Option<Identity>,
    gpg: Option<ByGpg>,
    /// How it names its chunks, when it is deduplicated.
    naming: Option<Naming>,
}

/// What gpg encrypts and decrypts with.
struct ByGpg {
    sealer: Sealer,
    opener: Option<Opener>,
}

/// An archive in it.
pub struct Archive {
    /// What is known of it.
    pub facts: Facts,
    /// What it consists of.
    pub manifest: Manifest,
}

/// Finds the place.
pub async fn find<'a>(
    bench: &Bench<'_>,
    access: &'a Access,
    place: &Location,
    streams: &Streams,
) -> Result<Found<'a>, Failure> {
    let store = bench.store(place, &access.location, streams).await?;
    let passphrase = access.passphrase.as_ref().map(|reference| bench.secret(reference)).transpose()?;
    let (private, notes) = (streams.path().to_owned(), bench.state.children());
    Ok(Found { store, access, passphrase, private, notes })
}

impl<'a> Found<'a> {
    /// Makes what is not there, and says whether it was, and its id.
    pub async fn make(&self) -> Result<(String, bool), Failure> {
        if let Some(there) = self.description().await? {
            let id = self.as_asked(there)?;
            if self.access.encryption == Encryption::Passphrase {
                self.open_key().await?.ok_or_else(|| damaged_key("it is not there"))?;
            }
            return Ok((id, true));
        }
        match self.access.encryption {
            Encryption::Passphrase => self.make_key().await?,
            Encryption::Gpg => Box::pin(self.sealer()?.check()).await?,
            _ => {}
        }
        let id = sum::of(uuid::Uuid::now_v7().as_bytes()).sha256;
        let description = Description::new(id, self.access.encryption, self.access.deduplicate, clock::now());
        let text = serde_json::to_vec_pretty(&description)
            .map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
        let made = self.store.create(forms::DESCRIPTION, text).await?;
        let there = self.description().await?.ok_or_else(|| {
            let message = "the store was made, but cannot be read back";
            Failure::new(FailureCode::NotReadBack, message)
        })?;
        Ok((self.as_asked(there)?, !made))
    }

    /// A key that lies there from an attempt that was killed opens with the same passphrase, or nothing is stored with it.
    async fn make_key(&self) -> Result<(), Failure> {
        match self.open_key().await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(e) if e.code == FailureCode::WrongPassphrase => self.store.delete(forms::KEY).await?,
            Err(e) => return Err(e),
        }
        let mut recipient = scrypt::Recipient::new(self.passphrase()?);
        recipient.set_work_factor(SCRYPT_WORK_FACTOR);
        let identity = Identity::generate().to_string();
        let sealed = age::encrypt(&recipient, identity.expose_secret().as_bytes())
            .map_err(|e| Failure::new(FailureCode::Unknown, format!("the key cannot be encrypted: {e}")))?;
        self.store.create(forms::KEY, sealed).await?;
        // Of two that make one, one counts, and it is read back.
        self.open_key().await?.map(|_| ()).ok_or_else(|| {
            Failure::new(
                FailureCode::NotReadBack,
                "the key of the store was written, but cannot be read back",
            )
        })
    }

    async fn open_key(&self) -> Result<Option<Identity>, Failure> {
        if self.access.encryption != Encryption::Passphrase {
            return Ok(None);
        }
        let Some(sealed) = self.store.read(forms::KEY, SMALL_BYTES).await? else { return Ok(None) };
        let passphrase = self.passphrase()?;
        let opening = tokio::task::spawn_blocking(move || {
            let mut opener = scrypt::Identity::new(passphrase);
            opener.set_max_work_factor(SCRYPT_WORK_FACTOR);
            age::decrypt(&opener, &sealed)
        });
        let opened = opening.await.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
        let text = opened.map_err(|e| match e {
            age::DecryptError::DecryptionFailed | age::DecryptError::NoMatchingKeys => Failure::new(
                FailureCode::WrongPassphrase,
                "the passphrase does not open the key of the store",
            ),
            other => damaged_key(&other.to_string()),
        })?;
        let text = SecretString::from(String::from_utf8(text).map_err(|_| damaged_key("it is no text"))?);
        text.expose_secret().trim().parse().map(Some).map_err(damaged_key)
    }

    fn passphrase(&self) -> Result<SecretString, Failure> {
        self.passphrase.clone().ok_or_else(|| {
            let message = "no passphrase came with the work, and the store needs one";
            Failure::new(FailureCode::SecretMissing, message)
        })
    }

    async fn description(&self) -> Result<Option<Description>, Failure> {
        let Some(text) = self.store.read(forms::DESCRIPTION, SMALL_BYTES).await? else { return Ok(None) };
        Description::read(&text).map(Some).map_err(|why| {
            let message = format!("what is at {} is no dump store of ours: {why}", self.access.location);
            Failure::new(FailureCode::RepositoryExists, message)
        })
    }

    fn as_asked(&self, there: Description) -> Result<String, Failure> {
        let says = |what: &str| {
            let message = format!("the dump store at {} {what}", self.access.location);
            Err(Failure::new(FailureCode::RepositoryExists, message))
        };
        if there.encryption != self.access.encryption {
            let (has, asked) = (there.encryption, self.access.encryption);
            return says(&format!("has the encryption '{has}', and not '{asked}'"));
        }
        match (there.deduplicate, self.access.deduplicate) {
            (true, false) => says("is deduplicated, and is defined as one that is not"),
            (false, true) => says("is not deduplicated, and is defined as one that is"),
            _ => Ok(there.id),
        }
    }

    /// Opens it, if it is the one that was made, when it is known which one that is.
    pub async fn open(self, bench: &Bench<'_>, expected: Option<&str>) -> Result<Opened<'a>, Failure> {
        let missing = || {
            let message = format!("there is no dump store at {}", self.access.location);
            Failure::new(FailureCode::RepositoryMissing, message)
        };
        let found = self.description().await?.ok_or_else(missing)?;
        if let Some(expected) = expected.filter(|id| **id != found.id) {
            let message = format!(
                "another dump store lies at {}: its id is {}, that of the one that was made is {expected}",
                self.access.location, found.id
            );
            return Err(Failure::new(FailureCode::RepositoryReplaced, message));
        }
        self.as_asked(found)?;
        let (recipients, identity) = match self.access.encryption {
            Encryption::Passphrase => {
                let identity = self.open_key().await?;
                let identity = identity.ok_or_else(|| damaged_key("it is not there"))?;
                (vec![identity.to_public()], Some(identity))
            }
            Encryption::Age => {
                let read = |text: &String| {
                    text.parse::<Recipient>()
                        .map_err(|why| Failure::new(FailureCode::Unknown, format!("{text} is no key: {why}")))
                };
                let recipients = self.access.recipients.iter().map(read).collect::<Result<Vec<_>, _>>()?;
                (recipients, self.given_identity(bench)?)
            }
            _ => (Vec::new(), None),
        };
        let gpg = match self.access.encryption {
            Encryption::Gpg => Some(self.by_gpg(bench)?),
            _ => None,
        };
        if self.access.encryption != Encryption::None && recipients.is_empty() && gpg.is_none() {
            let message = "there is nobody to encrypt to, and nothing is stored for all to read";
            return Err(Failure::new(FailureCode::SecretMissing, message));
        }
        let naming = self.access.deduplicate.then(|| match &identity {
            Some(identity) => Naming::of_secret(identity.to_string().expose_secret().as_bytes()),
            None => Naming::open(),
        });
        Ok(Opened { store: self.store, access: self.access, recipients, identity, gpg, naming })
    }

    /// Encrypts to the keys of people.
    fn sealer(&self) -> Result<Sealer, Failure> {
        if self.access.recipients.is_empty() {
            let message = "there is nobody to encrypt to, and nothing is stored for all to read";
            return Err(Failure::new(FailureCode::SecretMissing, message));
        }
        let home = format!("gpg-{}", self.access.repository);
        Sealer::new(&self.access.recipients, &self.private, &home, &self.notes)
    }

    fn by_gpg(&self, bench: &Bench<'_>) -> Result<ByGpg, Failure> {
        let opener = self.access.identity.as_ref().map(|reference| {
            let home = format!("gpg-{}", self.access.repository);
            Opener::new(bench.secret(reference)?, &self.private, &home, &self.notes)
        });
        Ok(ByGpg { sealer: self.sealer()?, opener: opener.transpose()? })
    }

    /// The key that opens what is encrypted to people: for a restore.
    fn given_identity(&self, bench: &Bench<'_>) -> Result<Option<Identity>, Failure> {
        let Some(reference) = &self.access.identity else { return Ok(None) };
        let text = bench.secret(reference)?;
        let identity = text.expose_secret().trim().parse();
        identity.map(Some).map_err(|_| {
            let message = "the secret key is none of age, which begins with AGE-SECRET-KEY-1";
            Failure::new(FailureCode::WrongPassphrase, message)
        })
    }
}

fn damaged_key(why: &str) -> Failure {
    Failure::new(FailureCode::RepositoryDamaged, format!("the key of the store cannot be read: {why}"))
}

impl Opened<'_> {
    /// How what is stored in it is packed.
    pub fn recipe(&self, compression: &Compression) -> Result<Recipe, Failure> {
        let known = compression.for_store().ok_or_else(|| {
            let message = format!("a dump store does not know the compression '{}'", compression.as_str());
            Failure::new(FailureCode::Unknown, message)
        });
        let (compression, level) = known?;
        Ok(Recipe { compression, level, recipients: self.recipients.clone(), gpg: self.sealer() })
    }

    /// How it names its chunks, when it is deduplicated.
    pub fn naming(&self) -> Option<&Naming> {
        self.naming.as_ref()
    }

    /// Whether who can open what is stored in one can open what is stored in the other, so that objects can be copied as
    /// they are. Each store with a passphrase has a key of its own, and of one that is deduplicated the objects are none
    /// without its chunks.
    pub fn opens_like(&self, other: &Self) -> bool {
        if self.naming.is_some() || other.naming.is_some() {
            return false;
        }
        let keys = |opened: &Self| {
            let mut keys: Vec<String> = opened.recipients.iter().map(ToString::to_string).collect();
            keys.extend(opened.gpg.iter().flat_map(|gpg| gpg.sealer.recipients.iter().cloned()));
            keys.sort();
            keys
        };
        keys(self) == keys(other)
    }

    /// How a part that is packed so is packed here.
    pub fn recipe_of(&self, stored: &Stored) -> Recipe {
        let compression = match stored.compression {
            // Of chunks there are no zips.
            Compressed::Zip if self.naming.is_some() => Compressed::Zstd,
            other => other,
        };
        let recipients = self.recipients.clone();
        Recipe { compression, level: None, recipients, gpg: self.sealer() }
    }

    fn sealer(&self) -> Option<Sealer> {
        self.gpg.as_ref().map(|gpg| gpg.sealer.clone())
    }

    /// The archive of this name; `None` when there is none.
    pub async fn archive(&self, name: &str) -> Result<Option<Archive>, Failure> {
        let text = self.store.read(&forms::manifest_of(name), forms::MANIFEST_BYTES).await?;
        let Some(text) = text else { return Ok(None) };
        let (facts, manifest) = forms::facts(&text, name, &self.access.repository).map_err(|e| {
            Failure::new(FailureCode::ArchiveDamaged, format!("the archive {name} cannot be read: {e}"))
        })?;
        Ok(Some(Archive { facts, manifest }))
    }

    /// The archive that a job is about, and no other one that came to have its name.
    pub async fn target(&self, target: &Target) -> Result<Archive, Failure> {
        let missing = || {
            let message = format!("the archive {} is not in the repository", target.name);
            Failure::new(FailureCode::ArchiveMissing, message)
        };
        let found = self.archive(&target.name).await?.ok_or_else(missing)?;
        if found.facts.borg_id == target.borg_id {
            return Ok(found);
        }
        let message = format!(
            "the list of what is in the archive {} is not what was stored: its digest is {}, and that of what was stored is {}",
            target.name, found.facts.borg_id, target.borg_id
        );
        Err(Failure::new(FailureCode::ArchiveDamaged, message))
    }
}

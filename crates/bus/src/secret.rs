//! The secret store: ciphertext by reference and version, outside of the log, so that it can be shredded.

use crate::{Bus, Fault, subjects};
use bytes::Bytes;
use strongroom_domain::SecretRef;

impl Bus {
    /// Stores the ciphertext of a version of a secret.
    pub async fn put_secret(&self, secret: &SecretRef, ciphertext: Vec<u8>) -> Result<(), Fault> {
        let subject = subjects::secret(&secret.reference, secret.version);
        self.nats.store(&subject, Vec::new(), ciphertext.into()).await.map(|_| ())
    }

    /// The ciphertext; `None` when it was never stored or was shredded.
    pub async fn get_secret(&self, secret: &SecretRef) -> Result<Option<Vec<u8>>, Fault> {
        let subject = subjects::secret(&secret.reference, secret.version);
        let message = self.nats.newest(subjects::SECRETS, &subject).await?;
        Ok(message
            .filter(|(_, ciphertext)| !ciphertext.is_empty())
            .map(|(_, ciphertext)| ciphertext.to_vec()))
    }

    /// Replaces the ciphertext by nothing. The stream keeps one message a subject, so the old one is dropped.
    pub async fn shred_secret(&self, secret: &SecretRef) -> Result<(), Fault> {
        let subject = subjects::secret(&secret.reference, secret.version);
        self.nats.store(&subject, Vec::new(), Bytes::new()).await.map(|_| ())
    }
}

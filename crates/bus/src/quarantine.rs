//! Setting aside what cannot be taken in, so that its aggregate halts and everything else goes on.
//!
//! One message an aggregate and consumer; a redrive writes an empty one over it.

use crate::{Bus, Fault, subjects};
use bytes::Bytes;
use strongroom_domain::Aggregate;
use strongroom_domain::view::Quarantined;

/// A message of the log that cannot be read or handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// Where it stands.
    pub sequence: u64,
    /// What it is about, when its subject says so.
    pub aggregate: Option<Aggregate>,
    /// Its subject.
    pub subject: String,
    /// Why it cannot be taken in.
    pub reason: String,
}

impl Bus {
    /// Sets a message aside for people to look at. Safe to repeat.
    pub async fn quarantine(
        &self,
        consumer: &str,
        poison: &Poison,
        at: jiff::Timestamp,
    ) -> Result<(), Fault> {
        let key = poison
            .aggregate
            .as_ref()
            .map_or_else(|| format!("unknown.{}", poison.sequence), ToString::to_string);
        let item = Quarantined {
            id: format!("{consumer}.{key}"),
            consumer: consumer.to_owned(),
            aggregate: key.clone(),
            sequence: poison.sequence,
            reason: poison.reason.clone(),
            at,
        };
        let payload = serde_json::to_vec(&item).map_err(|e| Fault::permanent("quarantine", e))?;
        self.nats.store(&subjects::quarantine(consumer, &key), Vec::new(), payload.into()).await.map(|_| ())
    }

    /// Takes a message out of quarantine, once its aggregate was taken in after all.
    pub async fn release(&self, consumer: &str, aggregate: &Aggregate) -> Result<(), Fault> {
        let subject = subjects::quarantine(consumer, &aggregate.to_string());
        self.nats.store(&subject, Vec::new(), Bytes::new()).await.map(|_| ())
    }

    /// All that is set aside.
    pub async fn quarantined(&self) -> Result<Vec<Quarantined>, Fault> {
        let raw = self.nats.read_all(subjects::QUARANTINE, "strongroom.quarantine.>").await?;
        Ok(raw.iter().filter_map(|m| serde_json::from_slice(&m.payload).ok()).collect())
    }
}

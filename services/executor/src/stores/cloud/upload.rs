//! An object that goes to a cloud in parts, two of them at a time.

use super::notes::{Note, Noted};
use super::{Shared, Upload};
use crate::core::clouds::{MOST_PARTS, part_bytes};
use async_trait::async_trait;
use bytes::Bytes;
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload};
use std::sync::Arc;
use strongroom_domain::{Failure, FailureCode};
use tokio::task::JoinSet;

/// How many parts are on their way at once.
const FLYING: usize = 2;

/// It, as far as it is.
pub struct Uploading {
    shared: Arc<Shared>,
    path: Path,
    part_bytes: usize,
    filling: Vec<Bytes>,
    filled: usize,
    parts: Option<Parts>,
}

/// An upload that the service knows of.
struct Parts {
    upload_id: String,
    note: Note,
    /// What came of those that have arrived, by their number.
    arrived: Vec<Option<PartId>>,
    /// Dropped, they are ended.
    flying: JoinSet<(usize, object_store::Result<PartId>)>,
    sent_bytes: u64,
}

impl Uploading {
    pub fn new(shared: Arc<Shared>, path: Path, expected_bytes: Option<u64>) -> Self {
        let part_bytes = usize::try_from(part_bytes(expected_bytes)).unwrap_or(usize::MAX);
        Self { shared, path, part_bytes, filling: Vec::new(), filled: 0, parts: None }
    }

    fn doing(&self) -> String {
        format!("write '{}'", self.shared.name(&self.path))
    }

    fn attributes(&self) -> Attributes {
        let class = self.shared.service.storage_class.clone();
        class.map(|class| (Attribute::StorageClass, class)).into_iter().collect()
    }

    /// Begins in parts. Its note is on the disk before a part is sent.
    async fn begin(&self) -> Result<Parts, Failure> {
        let Shared { service, teller, place, notes, .. } = &*self.shared;
        let attributes = self.attributes();
        let begun = if attributes.is_empty() {
            service.beginning().create_multipart(&self.path).await
        } else {
            let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
            service.beginning().create_multipart_opts(&self.path, options).await
        };
        let upload_id = begun.map_err(|e| teller.failed(&self.doing(), &e))?;
        let noted =
            Noted { place: place.clone(), object: self.path.to_string(), upload_id: upload_id.clone() };
        let notes = notes.clone();
        let noting = tokio::task::spawn_blocking(move || notes.keep(&noted)).await;
        match noting.map_err(std::io::Error::other).and_then(|noted| noted) {
            Ok(note) => {
                Ok(Parts { upload_id, note, arrived: Vec::new(), flying: JoinSet::new(), sent_bytes: 0 })
            }
            Err(e) => {
                let _ = service.client.abort_multipart(&self.path, &upload_id).await;
                let message = format!("an upload cannot be noted in the executor's state folder: {e}");
                Err(Failure::new(FailureCode::Unknown, message))
            }
        }
    }

    /// Sends what is filled, when there is room for it.
    async fn send(&mut self) -> Result<(), Failure> {
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => self.begin().await?,
        };
        let made_room = self.make_room(&mut parts, FLYING - 1).await;
        let number = parts.arrived.len();
        if made_room.is_ok() && number < MOST_PARTS {
            let (shared, path, id) = (self.shared.clone(), self.path.clone(), parts.upload_id.clone());
            let payload = PutPayload::from_iter(std::mem::take(&mut self.filling));
            parts.sent_bytes += self.filled as u64;
            self.filled = 0;
            parts.arrived.push(None);
            parts.flying.spawn(async move {
                (number, shared.service.client.put_part(&path, &id, number, payload).await)
            });
        }
        self.parts = Some(parts);
        made_room?;
        if number < MOST_PARTS { Ok(()) } else { Err(self.too_large()) }
    }

    async fn make_room(&self, parts: &mut Parts, flying: usize) -> Result<(), Failure> {
        while parts.flying.len() > flying {
            let Some(joined) = parts.flying.join_next().await else { break };
            let (number, sent) = joined.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
            let sent = sent.map_err(|e| self.shared.teller.failed(&self.doing(), &e))?;
            if let Some(part) = parts.arrived.get_mut(number) {
                *part = Some(sent);
            }
        }
        Ok(())
    }

    fn too_large(&self) -> Failure {
        let mib = self.part_bytes >> 20;
        let words = format!(
            "'{}' became much larger than was expected: it was begun in parts of {mib} MiB, of which the service takes {MOST_PARTS}",
            self.shared.name(&self.path)
        );
        let mut failure = self.shared.teller.say(FailureCode::DestinationError, &words);
        failure.advice = "Split the plan into smaller ones (fewer databases or folders each), let it compress more, or let it \
             store to SFTP or a local folder, where objects may have any size."
            .to_owned();
        failure
    }

    /// Joins the parts. When the answer was lost, the object itself says whether it is there: it was not before.
    async fn join(&self, parts: Parts) -> Result<(), Failure> {
        let Shared { service, teller, .. } = &*self.shared;
        let Parts { upload_id, note, arrived, sent_bytes, .. } = parts;
        let Some(arrived) = arrived.into_iter().collect::<Option<Vec<_>>>() else {
            return Err(teller.say(FailureCode::Unknown, "a part has not arrived"));
        };
        if let Err(e) = service.client.complete_multipart(&self.path, &upload_id, arrived).await {
            let there = service.client.head(&self.path).await;
            if !there.is_ok_and(|there| there.size == sent_bytes) {
                return Err(teller.failed(&self.doing(), &e));
            }
        }
        note.done();
        Ok(())
    }
}

#[async_trait]
impl Upload for Uploading {
    async fn write(&mut self, mut piece: Bytes) -> Result<(), Failure> {
        while !piece.is_empty() {
            if self.filled >= self.part_bytes {
                self.send().await?;
            }
            let room = self.part_bytes - self.filled;
            let taken = piece.split_to(room.min(piece.len()));
            self.filled += taken.len();
            self.filling.push(taken);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        if self.parts.is_none() {
            let payload = PutPayload::from_iter(std::mem::take(&mut self.filling));
            let options = PutOptions { attributes: self.attributes(), ..PutOptions::default() };
            let put = self.shared.service.writing().put_opts(&self.path, payload, options).await;
            return put.map(|_| ()).map_err(|e| self.shared.teller.failed(&self.doing(), &e));
        }
        if self.filled > 0 {
            self.send().await?;
        }
        let Some(mut parts) = self.parts.take() else { return Ok(()) };
        self.make_room(&mut parts, 0).await?;
        self.join(parts).await
    }

    async fn abort(self: Box<Self>) {
        let Some(parts) = self.parts else { return };
        let Parts { upload_id, note, mut flying, .. } = parts;
        // A part that arrives after the upload was given up would be kept.
        flying.shutdown().await;
        let noted = Noted { place: self.shared.place.clone(), object: self.path.to_string(), upload_id };
        match self.shared.give_up(&noted).await {
            Ok(()) => note.done(),
            Err(e) => {
                let failure = self.shared.teller.failed("give up an upload", &e);
                tracing::warn!(error = %failure.message, object = noted.object, "what was half written was not removed");
            }
        }
    }
}

//! An archive, out of one dump store into another.
//!
//! The accident that this file prevents: a copy that is believed in, of something that was damaged before it was copied.
//! Every byte is summed up on its way and compared with what was stored at first; what differs is never stored anew under
//! a digest that fits it.

use crate::control::NoOutcome;
use crate::core::dump_store as forms;
use crate::core::findings::Findings;
use crate::core::manifest::{self, About};
use crate::dump_store::{self, Archive, Opened};
use crate::jobs::store::making::{self, Came, Made};
use crate::jobs::store::stoppable;
use crate::jobs::store::storing::{Kept, Place, Storing, all_of_it};
use crate::jobs::{Bench, Finished, finished};
use crate::parts::{NotFed, Sink};
use crate::pipeline::{Flow, Recipe};
use crate::streams::Streams;
use strongroom_domain::archive::{Artefact, Compressed, Dump, Encrypted, Stored};
use strongroom_domain::job::{CopySpec, JobResult};
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;

/// Pieces that wait on their way.
const PIECES: usize = 4;

/// Copies.
pub async fn run(
    bench: &Bench<'_>,
    spec: &CopySpec,
    to: &Opened<'_>,
    streams: &Streams,
) -> Result<Finished, NoOutcome> {
    let place = spec.from.store.as_ref().ok_or_else(|| {
        let message = format!("repository '{}' is no dump store", spec.from.repository);
        Failure::new(FailureCode::Unknown, message)
    })?;
    let opening = async {
        let from = dump_store::find(bench, &spec.from, place, streams).await?.open(bench, None).await?;
        let archive = from.target(&spec.archive).await?;
        Ok::<_, NoOutcome>((from, archive))
    };
    let (from, archive) = stoppable(bench, opening).await?;
    let physical = archive.manifest.dump.physical.as_ref();
    if let Some(base) = physical.and_then(|physical| physical.base.as_ref()) {
        let message =
            format!("{} needs {}, and a copy of it alone would be nothing", spec.archive.name, base.name);
        return Err(Failure::new(FailureCode::SourceUnfit, message).into());
    }
    let storing = Box::pin(stoppable(bench, copy_all(bench, &from, to, &archive)));
    let (copy, recovered) = match making::make(bench, to, &spec.archive.name, storing).await? {
        Came::Now { archive, .. } => (archive, false),
        Came::Before(archive) => (archive, true),
    };
    let result = JobResult::CopyArchive { archive: copy.facts, recovered };
    Ok(finished(result, Findings::default(), Vec::new()))
}

async fn copy_all(
    bench: &Bench<'_>,
    from: &Opened<'_>,
    to: &Opened<'_>,
    archive: &Archive,
) -> Result<Made, NoOutcome> {
    bench.step("copy");
    let name = &archive.facts.name;
    let storing = Storing::begin(bench, to, None).await?;
    let mut artefacts: Vec<Artefact> = Vec::new();
    for (n, part) in archive.manifest.dump.artefacts.iter().enumerate() {
        let copying = Copying { storing: &storing, part, parts: n as u64 };
        let stored = if from.opens_like(to) {
            copying.as_it_is(bench, from, name, n + 1).await?
        } else {
            copying.anew(from, to, name, n + 1).await?
        };
        artefacts.push(Artefact { stored: Some(stored), ..part.clone() });
    }
    making::all_are_there(bench, to, name, &artefacts).await?;
    let repository_bytes = storing.chunks_are_there().await?;
    let dump = Dump { artefacts, ..archive.manifest.dump.clone() };
    // It is of the same moment, wherever and whenever it is copied.
    let dumped_at = archive.manifest.dumped_at;
    let about = archive.manifest.archive.clone().map(|about| About { repository_bytes, ..about });
    let manifest = manifest::write(
        &dump,
        &archive.manifest.properties,
        archive.manifest.tables.clone(),
        about,
        dumped_at,
    )
    .map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?;
    Ok(Made { manifest, findings: Findings::default(), tail: Vec::new() })
}

struct Copying<'a> {
    storing: &'a Storing<'a>,
    part: &'a Artefact,
    parts: u64,
}

impl Copying<'_> {
    fn was(&self) -> Result<&Stored, Failure> {
        self.part.stored.as_ref().ok_or_else(|| {
            Failure::new(FailureCode::ArchiveDamaged, format!("{} has no object", self.part.path))
        })
    }

    /// The object byte for byte: whoever could open it can open the copy.
    async fn as_it_is(
        &self,
        bench: &Bench<'_>,
        from: &Opened<'_>,
        name: &str,
        n: usize,
    ) -> Result<Stored, Failure> {
        let was = self.was()?;
        let plain = Recipe { compression: Compressed::None, level: None, recipients: Vec::new(), gpg: None };
        let kind = Recipe { compression: was.compression, ..plain.clone() };
        let suffix = match was.encryption {
            Encrypted::None => kind.suffix(),
            Encrypted::Age => format!("{}.age", kind.suffix()),
            Encrypted::Gpg => format!("{}.gpg", kind.suffix()),
        };
        let object = forms::object(name, bench.epoch, n, &self.part.path, &suffix);
        let stored = self.storing.object(&plain, object, Some(was.size_bytes), async |give| {
            let (pieces, mut come) = mpsc::channel(PIECES);
            let passing = async {
                let mut whole = false;
                while let Some(flow) = come.recv().await {
                    if let Flow::Piece(piece) = &flow {
                        self.storing.tell(piece.len() as u64, &self.part.path, self.parts);
                    }
                    whole = matches!(flow, Flow::End);
                    if give.send(flow).await.is_err() {
                        return false;
                    }
                }
                whole
            };
            let (fetched, whole) = tokio::join!(from.fetch(self.part, pieces), passing);
            fetched.map_err(NotFed::Failed)?;
            if whole { Ok(Some(())) } else { Err(NotFed::ReaderGone) }
        });
        let Kept { stored, .. } = stored.await?.ok_or_else(|| nothing(&self.part.path))?;
        Ok(Stored { compression: was.compression, encryption: was.encryption, ..stored })
    }

    /// Unpacked, compared with what was dumped, and packed for the other store.
    async fn anew(
        &self,
        from: &Opened<'_>,
        to: &Opened<'_>,
        name: &str,
        n: usize,
    ) -> Result<Stored, Failure> {
        let was = self.was()?;
        let recipe = to.recipe_of(was);
        let place = Place { archive: name, n, path: &self.part.path };
        let stored = self.storing.part(&recipe, place, Some(was.packed_bytes()), async |give| {
            let (pieces, come) = mpsc::channel::<Vec<u8>>(PIECES);
            let mut sink = self.storing.counting(give, &self.part.path, self.parts);
            let passing = async {
                // Dropped with its end, so that who reads does not wait for ever.
                let mut come = come;
                while let Some(piece) = come.recv().await {
                    sink.give(piece.into()).await?;
                }
                Ok::<_, NotFed>(())
            };
            let (read, passed) = tokio::join!(from.read(self.part, pieces), passing);
            passed?;
            // Its digests were compared.
            read.map_err(NotFed::Failed)?;
            sink.end().await?;
            Ok(Some(()))
        });
        let Kept { plain_bytes, stored, .. } = stored.await?.ok_or_else(|| nothing(&self.part.path))?;
        all_of_it(&self.part.path, plain_bytes, self.part.size_bytes)?;
        Ok(stored)
    }
}

fn nothing(path: &str) -> Failure {
    Failure::new(FailureCode::Unknown, format!("nothing was stored of {path}"))
}

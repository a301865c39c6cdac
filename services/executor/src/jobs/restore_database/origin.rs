//! Where a dump comes from that is restored: one of borg's archives, or a dump store.

use crate::borg::{Call, NotDone};
use crate::control::{Control, NoOutcome};
use crate::core::manifest::{self, Manifest};
use crate::core::sum::Summed;
use crate::core::{command, sum};
use crate::dump_store::Opened;
use crate::foreign::Foreign;
use crate::jobs::dump::manifest_of;
use crate::jobs::{Bench, index};
use serde::de::DeserializeOwned;
use strongroom_domain::archive::{Artefact, Target};
use strongroom_domain::job::RestoreDatabaseSpec;
use strongroom_domain::repository::Access;
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;

/// Pieces of a small part that wait to be put together.
const PIECES: usize = 4;

/// Where it comes from.
pub enum Origin<'a> {
    /// One of borg's archives.
    Borg {
        /// Its repository.
        access: &'a Access,
        /// Its name there.
        archive: String,
    },
    /// A dump store.
    Store(&'a Opened<'a>),
    /// A file that somebody has named.
    File(&'a Foreign),
}

impl<'a> Origin<'a> {
    /// Finds it, and what is in it.
    pub async fn find(
        bench: &Bench<'_>,
        spec: &'a RestoreDatabaseSpec,
        store: Option<&'a Opened<'a>>,
    ) -> Result<(Self, Manifest), NoOutcome> {
        Self::of(bench, &spec.access, &spec.archive, store).await
    }

    /// The same of any archive.
    pub async fn of(
        bench: &Bench<'_>,
        access: &'a Access,
        target: &Target,
        store: Option<&'a Opened<'a>>,
    ) -> Result<(Self, Manifest), NoOutcome> {
        if let Some(opened) = store {
            let archive = opened.target(target).await?;
            let mut manifest = archive.manifest;
            let origin = Self::Store(opened);
            let part = |path: &str| manifest.dump.artefacts.iter().find(|a| a.path == path).cloned();
            let (properties, tables) = (part(manifest::PROPERTIES), part(manifest::TABLES));
            if let Some(part) = properties {
                manifest.properties = origin.listed(bench, &part).await?;
            }
            if let Some(part) = tables {
                manifest.tables = origin.listed(bench, &part).await?;
            }
            return Ok((origin, manifest));
        }
        let archive = index::name_of(bench, access, target).await?;
        let manifest = manifest_of(bench, access, &archive).await?;
        Ok((Self::Borg { access, archive }, manifest))
    }

    async fn listed<T: DeserializeOwned>(&self, bench: &Bench<'_>, part: &Artefact) -> Result<T, NoOutcome> {
        let text = self.whole(bench, part).await?;
        let read = serde_json::from_slice(&text);
        Ok(read.map_err(|e| Failure::new(FailureCode::ArchiveDamaged, format!("{}: {e}", part.path)))?)
    }

    /// Gives a part piece by piece; the last lines of who reads it. Whether they were all, and the right ones, is for who
    /// takes them to say.
    pub async fn pieces(
        &self,
        bench: &Bench<'_>,
        part: &Artefact,
        mut control: Control,
        give: mpsc::Sender<Vec<u8>>,
    ) -> Result<Vec<String>, NotDone> {
        match self {
            Self::Borg { access, archive } => {
                let arguments = command::extract_to_stdout(access, archive, &part.path);
                let done = bench.borg.run_pieces(Call { control, ..bench.call(arguments) }, give).await?;
                if done.never_matched.is_empty() && done.findings.incomplete_total == 0 {
                    return Ok(done.tail);
                }
                let failure = self.other(part).with_log(done.tail);
                Err(NotDone::Failed(failure, Box::default()))
            }
            Self::File(foreign) => {
                foreign.pieces(bench, control, give).await.map(|()| Vec::new()).map_err(|why| match why {
                    NoOutcome::Failed(failure) => NotDone::Failed(failure, Box::default()),
                    NoOutcome::Stopped(why) => NotDone::Stopped(why),
                })
            }
            Self::Store(opened) => {
                let read = tokio::select! {
                    read = opened.read(part, give) => read,
                    why = control.stopped() => return Err(NotDone::Stopped(why)),
                };
                read.map(|()| Vec::new()).map_err(|failure| NotDone::Failed(failure, Box::default()))
            }
        }
    }

    /// A small part as a whole.
    pub async fn whole(&self, bench: &Bench<'_>, part: &Artefact) -> Result<Vec<u8>, NoOutcome> {
        let (give, mut come) = mpsc::channel::<Vec<u8>>(PIECES);
        let taking = async {
            let mut bytes = Vec::new();
            while let Some(piece) = come.recv().await {
                bytes.extend(piece);
            }
            bytes
        };
        let (read, bytes) = tokio::join!(self.pieces(bench, part, bench.control.clone(), give), taking);
        let tail = read?;
        if sum::of(&bytes).sha256 != part.sha256 {
            return Err(self.other(part).with_log(tail).into());
        }
        Ok(bytes)
    }

    /// Whether what was passed on is all of the part, and the right thing. Of a file that somebody names nobody knows its
    /// digest: it is whole when all that it is wrapped in is.
    pub fn is_whole(&self, part: &Artefact, passed: &Summed) -> bool {
        match self {
            Self::File(foreign) => foreign.ended().is_some(),
            _ => (passed.bytes, &passed.sha256) == (part.size_bytes, &part.sha256),
        }
    }

    /// A part that is not what was dumped.
    pub fn other(&self, part: &Artefact) -> Failure {
        let code = match self {
            Self::Borg { .. } => FailureCode::RepositoryDamaged,
            Self::Store(_) => FailureCode::ArchiveDamaged,
            Self::File(_) => FailureCode::FileDamaged,
        };
        Failure::new(code, format!("{} is not what was dumped: its digest is another one", part.path))
    }
}

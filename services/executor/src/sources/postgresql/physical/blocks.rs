//! The blocks of a PostgreSQL server that have changed, from one archive to the next.
//!
//! The accident that this file prevents: changes that are counted from something else than the archive they are put on. The
//! server counts them from a list of files; that list is taken out of the very bytes that go into an archive, which says its
//! digest, and an archive of changes says where its base begins.

use super::{Server, not_written};
use crate::control::NoOutcome;
use crate::core::along::Held;
use crate::core::base_tar::{BaseTar, Label, MANIFEST};
use crate::core::blocks::{cannot_be_followed, cause, goes_on_from, words};
use crate::core::hex::is_of_32_bytes;
use crate::core::sum::Sum;
use crate::dump_store::Opened;
use crate::jobs::Bench;
use crate::jobs::restore_database::origin::Origin;
use crate::manifests::Manifests;
use crate::parts::{From, Hear, Part, Program, Reader};
use crate::streams::Streams;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_domain::archive::Target;
use strongroom_domain::chain::{Base, Blocks, Lsn, Physical, Position, Variant, WalPosition};
use strongroom_domain::job::BackupSpec;
use strongroom_domain::{Failure, FailureCode};
use tokio::sync::mpsc;

/// What the list of files is among the parts of an archive.
const KIND: &str = "backup_manifest";
/// Bytes of it that are given on at once.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces of it that wait to be written.
const PIECES: usize = 4;

/// What is known of an archive before it is made.
pub struct Pending {
    /// Which cluster.
    pub system_identifier: String,
    /// Bytes of a segment of its log.
    pub segment_bytes: u64,
    timeline: u32,
    variant: Variant,
    /// What it is made on, and where that begins.
    base: Option<(Target, Lsn)>,
    listing: Arc<Mutex<Listing>>,
    manifests: Manifests,
}

/// Makes ready what an archive needs: its parts, but for the settings.
pub async fn prepare(
    server: &Server<'_>,
    spec: &BackupSpec,
    streams: &Streams,
    store: Option<&Opened<'_>>,
    manifests: Manifests,
) -> Result<(Vec<Part>, String, Pending), NoOutcome> {
    let state = &server.state;
    let timeline = cannot_be_followed(state, server.survey.major(), &server.survey.version)?;
    let file = streams.path().join(MANIFEST);
    let on = match &spec.base {
        Some(base) => {
            let (position, known) = goes_on_from(state, base, timeline)?;
            list_of(server.bench, spec, base, &known.manifest_sha256, (store, &manifests, &file)).await?;
            Some((base, position.start_lsn, format!("--incremental=./{}", known.manifest_sha256)))
        }
        None => None,
    };
    let more: Vec<&str> = on.iter().map(|(_, _, since)| since.as_str()).collect();
    let (mut plan, version) = server.files(&spec.archive_name(server.bench.job), &more).await?;
    if on.is_some() {
        // It works in the folder and needs no way to it, which is not open to other users.
        plan.folder = Some(manifests.path().to_owned());
    }
    let listing = Arc::new(Mutex::new(Listing::new(&file)?));
    let program = Program { plan, cause, words, counting: None, told: None };
    let files = server.base_part(From::Heard(Box::new(program), Box::new(listing.clone())));
    let files = match &on {
        Some(_) => {
            Part { path: "postgresql/changes.tar".into(), kind: "changes", expected_bytes: None, ..files }
        }
        None => files,
    };
    let list = Part {
        path: format!("postgresql/{MANIFEST}"),
        kind: KIND,
        database: None,
        format: Some("json".into()),
        expected_bytes: None,
        may_vanish: false,
        from: From::Reader(reader(file)),
    };
    let pending = Pending {
        system_identifier: state.system_identifier.clone(),
        segment_bytes: state.segment_bytes,
        timeline,
        variant: match spec.variant {
            Variant::Differential => Variant::Differential,
            Variant::Full | Variant::Incremental => Variant::Incremental,
        },
        base: on.map(|(base, start_lsn, _)| (base.archive.clone(), start_lsn)),
        listing,
        manifests,
    };
    Ok((vec![files, list], version, pending))
}

/// Makes sure that the list of the base's files is at hand, and no others are: the log of Strongroom names this one. What
/// went with a disk is fetched out of the archive.
async fn list_of(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    base: &Base,
    sha256: &str,
    (store, manifests, scratch): (Option<&Opened<'_>>, &Manifests, &Path),
) -> Result<(), NoOutcome> {
    let failed = |e: io::Error| not_written(&manifests.path().display().to_string(), &e);
    let broken = |why: &str| {
        let message = format!("nothing can be added to {}: {why}", base.archive.name);
        Failure::new(FailureCode::ChainBroken, message)
    };
    // It becomes the name of a file.
    if !is_of_32_bytes(sha256) {
        return Err(broken("the digest of the list of its files is none").into());
    }
    let (there, of) = (manifests.clone(), sha256.to_owned());
    let looking = tokio::task::spawn_blocking(move || there.holds(&of)).await;
    if !looking.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))?.map_err(failed)? {
        bench.step("fetch");
        // Named by nothing but what comes of it: what it goes through would make its type too deep.
        let fetching: Pin<Box<dyn Future<Output = _> + Send + '_>> =
            Box::pin(fetch(bench, spec, base, store, scratch));
        match fetching.await {
            Ok(found) if found == sha256 => manifests.take_in(scratch, sha256).map_err(failed)?,
            Ok(_) => return Err(broken("the list of its files is not the one that it was made with").into()),
            // Whoever can read archives may not be this node, and what is damaged is no base.
            Err(NoOutcome::Failed(failure)) if !may_pass(failure.code) => {
                let why = format!(
                    "the list of its files is not on this node any more, and cannot be fetched out of it: {}",
                    failure.message
                );
                return Err(broken(&why).into());
            }
            Err(why) => return Err(why),
        }
    }
    manifests.keep_only(sha256).map_err(failed)?;
    Ok(())
}

/// Whether it may be another way the next time, without anything else being done.
fn may_pass(code: FailureCode) -> bool {
    use FailureCode::{
        DestinationDenied, DestinationError, DestinationMissing, DestinationUnreachable, NoSpace,
        PermissionDenied, RepositoryLocked, RepositoryMissing, WrongPassphrase,
    };
    matches!(
        code,
        DestinationDenied
            | DestinationError
            | DestinationMissing
            | DestinationUnreachable
            | NoSpace
            | PermissionDenied
            | RepositoryLocked
            | RepositoryMissing
            | WrongPassphrase
    )
}

/// Writes the list out of an archive into a file; its digest.
async fn fetch(
    bench: &Bench<'_>,
    spec: &BackupSpec,
    base: &Base,
    store: Option<&Opened<'_>>,
    into: &Path,
) -> Result<String, NoOutcome> {
    let (origin, contents) = Origin::of(bench, &spec.access, &base.archive, store).await?;
    let part = contents.dump.artefacts.iter().find(|part| part.kind == KIND).ok_or_else(|| {
        Failure::new(FailureCode::PathNotInArchive, format!("{} has no {MANIFEST}", base.archive.name))
    })?;
    let (give, mut come) = mpsc::channel::<Vec<u8>>(PIECES);
    let mut listing = Listing::new(into)?;
    let writing = async {
        while let Some(piece) = come.recv().await {
            listing.write(&piece)?;
        }
        // Who does not take any more must not be waited for.
        drop(come);
        Ok::<_, Failure>(())
    };
    let (read, written) = tokio::join!(origin.pieces(bench, part, bench.control.clone(), give), writing);
    written?;
    read?;
    Ok(std::mem::take(&mut listing.sum).finish().sha256)
}

/// Gives a file piece by piece, which is there when its turn has come.
fn reader(path: PathBuf) -> Reader {
    Box::new(move |give| {
        let failed = |e: io::Error| Failure::new(FailureCode::Unknown, format!("{}: {e}", path.display()));
        let mut file = File::open(&path).map_err(failed)?;
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            Read::by_ref(&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(failed)?;
            // When nobody takes it, somebody else knows why.
            if piece.is_empty() || give.blocking_send(piece).is_err() {
                return Ok(None);
            }
        }
    })
}

/// Takes the list of files out of what flows by.
struct Listing {
    tar: BaseTar,
    path: PathBuf,
    file: File,
    sum: Sum,
    /// What it was, and the digest of its list.
    whole: Option<(Label, String)>,
}

impl Listing {
    fn new(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|e| not_written(&path.display().to_string(), &e))?;
        Ok(Self { tar: BaseTar::default(), path: path.to_owned(), file, sum: Sum::default(), whole: None })
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.sum.add(piece);
        self.file.write_all(piece).map_err(|e| not_written(&self.path.display().to_string(), &e))
    }
}

impl Hear for Listing {
    fn hear(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let listed =
            self.tar.take(piece).map_err(|e| Failure::new(FailureCode::DumpFailed, e.to_string()))?;
        listed.into_iter().try_for_each(|part| self.write(part))
    }

    fn end(&mut self) -> Result<Held, Failure> {
        let label = self.tar.finish().map_err(|e| Failure::new(FailureCode::DumpFailed, e.to_string()))?;
        self.whole = Some((label, std::mem::take(&mut self.sum).finish().sha256));
        Ok(Held::Unknown)
    }
}

impl Pending {
    /// What the archive is, which goes from there to there. The list of its files stays on this node; whether it is ever
    /// asked for is for the log of Strongroom to say.
    pub async fn conclude(self, position: WalPosition) -> Result<Physical, Failure> {
        let (path, whole) = {
            let listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
            (listing.path.clone(), listing.whole.clone())
        };
        let failed = |message: String| Failure::new(FailureCode::DumpFailed, message);
        let (label, manifest_sha256) =
            whole.ok_or_else(|| failed("the files were not read to their end".into()))?;
        let since_lsn = self.base.as_ref().map(|(_, since)| *since);
        if (label.start_lsn, label.since_lsn) != (position.start_lsn, since_lsn) {
            let shown =
                |lsn: Option<Lsn>| lsn.map_or_else(|| "the beginning".to_owned(), |lsn| lsn.to_string());
            return Err(failed(format!(
                "the server was asked for what has changed since {}, and gave what has changed since {} (at {}, and not {})",
                shown(since_lsn),
                shown(label.since_lsn),
                label.start_lsn,
                position.start_lsn
            )));
        }
        if position.timeline != self.timeline {
            let message = "the server was promoted while it was read";
            return Err(Failure::new(FailureCode::ChainBroken, message));
        }
        let (manifests, sha256) = (self.manifests, manifest_sha256.clone());
        let keeping = tokio::task::spawn_blocking(move || {
            manifests
                .take_in(&path, &sha256)
                .map_err(|e| not_written(&manifests.path().display().to_string(), &e))
        });
        keeping.await.map_err(|e| Failure::new(FailureCode::Unknown, e.to_string()))??;
        let blocks = Some(Blocks { since_lsn, manifest_sha256 });
        let variant = if self.base.is_some() { self.variant } else { Variant::Full };
        let base = self.base.map(|(target, _)| target);
        let position = Position::Postgresql(WalPosition { blocks, ..position });
        Ok(Physical { variant, base, position })
    }
}

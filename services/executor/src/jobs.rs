//! The kinds of work: one file each, and one line in [`run`].

mod backup;
mod compact;
mod delete;
mod download;
mod dump;
mod entries;
pub mod ground;
mod halves;
mod hooks;
mod index;
mod init;
mod placing;
mod preview;
mod prune;
mod quiesce;
mod renames;
mod restore;
mod restore_cluster;
pub mod restore_database;
mod scan;
mod store;
mod test;

pub use init::file_failure;

use crate::borg::{Borg, Call, Done, NotDone, SharedMeter};
use crate::container::Containers;
use crate::control::{Control, NoOutcome};
use crate::core::finding::Work;
use crate::core::findings::Findings;
use crate::core::{archive, command};
use crate::repository;
use crate::state::State;
use crate::stores::{self, Ground, Store};
use crate::streams::Streams;
use age::secrecy::SecretString;
use age::x25519::Identity;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use strongroom_bus::NodeBus;
use strongroom_domain::archive::Facts;
use strongroom_domain::destination::Location;
use strongroom_domain::job::{Completeness, JobResult, JobSpec, Outcome};
use strongroom_domain::repository::Access;
use strongroom_domain::wire::SealedSecret;
use strongroom_domain::{Failure, FailureCode, JobId, SecretRef};
use strongroom_service::{clock, identity};

/// What a kind of work has at hand.
pub struct Bench<'a> {
    /// The node's borg.
    pub borg: &'a Borg,
    /// The way to the log's side.
    pub bus: &'a NodeBus,
    /// The state folder.
    pub state: &'a State,
    /// Folders of programs that plans may run.
    pub allow_hooks: &'a [PathBuf],
    /// Folders of programs of database systems.
    pub programs: &'a [PathBuf],
    /// Where such programs run that the node does not have.
    pub containers: &'a Containers,
    /// Which job.
    pub job: JobId,
    /// Its fencing token.
    pub epoch: u64,
    /// 1, 2, ...
    pub attempt: u32,
    /// Borg's id of the repository, as its init job told it.
    pub borg_repository_id: Option<&'a str>,
    /// What opens the repository.
    pub passphrase: Option<SecretString>,
    /// The secrets that came with the work, sealed.
    pub sealed: &'a [SealedSecret],
    /// Hears when to stop.
    pub control: Control,
    /// Where progress goes.
    pub meter: SharedMeter,
    /// What is said beside the work.
    pub aside: Mutex<quiesce::Aside>,
}

/// What came of a job, and the last lines of its log.
pub struct Finished {
    /// The outcome.
    pub outcome: Outcome,
    /// The last lines.
    pub tail: Vec<String>,
}

/// Does the work.
pub async fn run(bench: &Bench<'_>, spec: &JobSpec) -> Result<Finished, NoOutcome> {
    let done = match spec {
        JobSpec::Backup(backup) => Box::pin(hooks::around(bench, backup, work(bench, spec))).await,
        _ => work(bench, spec).await,
    };
    match done {
        Err(why) => Err(Box::pin(restore_database::leftover::told(bench, spec, why)).await),
        done => done,
    }
}

async fn work(bench: &Bench<'_>, spec: &JobSpec) -> Result<Finished, NoOutcome> {
    if let JobSpec::DeleteArchive { archive, held: Some(held), .. } = spec {
        let message = format!("{} is held by {held}", archive.name);
        return Err(Failure::new(FailureCode::ArchiveHeld, message).into());
    }
    if let JobSpec::DeleteArchive { archive, needed_by, .. } = spec
        && !needed_by.is_empty()
    {
        let message = format!("{} is needed by {}", archive.name, needed_by.join(", "));
        return Err(Failure::new(FailureCode::ArchiveIsBase, message).into());
    }
    if let Some(access) = spec.access() {
        if let Some(place) = &access.store {
            // On the heap: it is large, and every job would carry it along.
            return Box::pin(store::run(bench, spec, access, place)).await;
        }
        bench.borg.version().await?;
        if !matches!(spec, JobSpec::InitRepository { .. }) {
            repository::is_the_one(Path::new(&access.location), bench.borg_repository_id)?;
        }
    }
    match spec {
        JobSpec::InitRepository { access } => init::run(bench, access).await,
        JobSpec::Backup(spec) => backup::run(bench, spec).await,
        JobSpec::Restore(spec) => restore::run(bench, spec, None).await,
        JobSpec::RestoreDatabase(spec) => Box::pin(restore_database::run(bench, spec, None)).await,
        JobSpec::RestoreDump(spec) => Box::pin(restore_database::run_file(bench, spec)).await,
        JobSpec::RestoreCluster(spec) => Box::pin(restore_cluster::run(bench, spec, None)).await,
        JobSpec::DeleteArchive { access, archive, .. } => delete::run(bench, access, archive).await,
        JobSpec::Prune(spec) => prune::run(bench, spec).await,
        JobSpec::ScanRepository { access } => scan::run(bench, access).await,
        JobSpec::IndexArchive { access, archive, sample } => {
            index::run(bench, access, archive, *sample).await
        }
        JobSpec::Download(spec) => Box::pin(download::run(bench, spec, None)).await,
        JobSpec::CopyArchive(spec) => {
            let message = format!("repository '{}' is no dump store", spec.access.repository);
            Err(Failure::new(FailureCode::Unknown, message).into())
        }
        JobSpec::TestSource { source, variant } => test::source(bench, source, *variant).await,
        JobSpec::TestDestination { place } => Box::pin(test::destination(bench, place)).await,
    }
}

impl Bench<'_> {
    /// A call of borg.
    pub fn call(&self, arguments: Vec<String>) -> Call<'_> {
        Call {
            arguments,
            passphrase: self.passphrase.as_ref(),
            folder: None,
            work: Work::Other,
            control: self.control.clone(),
            meter: Some(&self.meter),
        }
    }

    /// A secret that came with the work.
    pub fn secret(&self, reference: &SecretRef) -> Result<SecretString, Failure> {
        secret(&self.state.identity, self.sealed, reference)
    }

    /// The store at a place, below this path or beginning of names.
    pub async fn store(
        &self,
        place: &Location,
        below: &str,
        streams: &Streams,
    ) -> Result<Box<dyn Store>, Failure> {
        let secret = place.secret().map(|reference| self.secret(reference)).transpose()?;
        let (notes, children) = (self.state.uploads(), self.state.children());
        let ground = Ground { private: streams.path(), notes: &notes, children: &children };
        stores::open(place, below, secret, &ground).await
    }

    /// The private folder of the job.
    pub fn streams(&self) -> Result<Streams, Failure> {
        Streams::make(&self.state.streams(), self.job, self.epoch)
            .map_err(|e| Failure::new(FailureCode::Unknown, format!("the folder of pipes: {e}")))
    }

    /// Runs borg to its end.
    pub async fn borg(&self, arguments: Vec<String>) -> Result<Done, NotDone> {
        self.borg.run(self.call(arguments)).await
    }

    /// The same, past the point where a cancel counts.
    pub async fn borg_past_cancel(&self, arguments: Vec<String>) -> Result<Done, NotDone> {
        let call = Call { control: self.control.past_cancel(), ..self.call(arguments) };
        self.borg.run(call).await
    }

    /// Tells what is being done.
    pub fn step(&self, step: &str) {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner).step(step, clock::now());
    }

    /// All archives that are really there.
    pub async fn archives(&self, access: &Access) -> Result<Vec<Facts>, NoOutcome> {
        let listed = self.borg(command::list_archives(access)).await?;
        Ok(archive::all(&listed.stdout, &access.repository).map_err(unreadable)?)
    }
}

/// A secret among those that came with the work.
pub fn secret(
    identity: &Identity,
    sealed: &[SealedSecret],
    reference: &SecretRef,
) -> Result<SecretString, Failure> {
    let missing =
        |why: &str| Failure::new(FailureCode::SecretMissing, format!("the secret {reference} {why}"));
    let sealed = sealed.iter().find(|s| s.reference == *reference);
    let sealed = sealed.ok_or_else(|| missing("is not in the secret store"))?;
    identity::decrypt(identity, &sealed.ciphertext).map_err(missing)
}

/// An answer of borg that cannot be read.
pub fn unreadable(error: archive::Unreadable) -> Failure {
    Failure::new(FailureCode::BorgError, error.to_string())
}

/// A job that was done.
pub fn finished(result: JobResult, findings: Findings, tail: Vec<String>) -> Finished {
    let Findings { kept, incomplete_total, benign_total } = findings;
    let mut outcome = Outcome::new(result, kept);
    // All were counted, not all were kept.
    outcome.incomplete_total = incomplete_total.max(outcome.incomplete_total);
    outcome.benign_total = benign_total.max(outcome.benign_total);
    if outcome.incomplete_total > 0 {
        outcome.completeness = Completeness::Incomplete;
    }
    Finished { outcome, tail }
}

//! Archives: what can be restored.
//!
//! Two sorts of aggregates speak of one archive: the job that made it (or its index), and the archive itself. A halted
//! aggregate is folded later than the others, so nothing here depends on which is heard first: what each says is
//! weighed by its sequence. A deletion voids all that was said before it.

use super::jobs::{JobRecord, id_of, never_requested};
use super::{FoldError, View};
use crate::core::framed;
use crate::core::key::{By, Listed, number_of, suffix};
use crate::core::overlay::{AnyRecord, Overlay, Places, Record};
use crate::core::store::StoreError;
use serde::{Deserialize, Serialize};
use strongroom_bus::Recorded;
use strongroom_domain::archive::{Adopted, Facts, IndexFacts};
use strongroom_domain::job::{Completeness, JobResult, JobSpec, Requested, Succeeded};
use strongroom_domain::retention::Holds;
use strongroom_domain::view::Archive;
use strongroom_domain::{ArchiveId, Event, Kind, NodeId, RepositoryId};

/// The view.
pub struct Archives;

impl View for Archives {
    fn name(&self) -> &'static str {
        "archives"
    }

    fn apply(&self, views: &mut Overlay<'_>, event: &Recorded) -> Result<(), FoldError> {
        match (&event.event, event.aggregate.kind) {
            (Event::JobSucceeded(succeeded), _) => job_succeeded(views, event, succeeded),
            (_, Kind::Archive) => archive_event(views, event),
            _ => Ok(()),
        }
    }
}

/// All that was said of an archive and still counts: each word with its sequence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ArchiveRecord {
    /// By the job that made it, which knows more than a scan that found it.
    made: Option<(u64, Archive)>,
    adopted: Option<(u64, Archive)>,
    deleted: Option<u64>,
    missing: Option<(u64, bool)>,
    /// By a job that made an index later.
    indexed: Option<(u64, NodeId, IndexFacts)>,
    /// By people. All of it is the archive's own history, which comes in its order.
    holds: Holds,
}

impl ArchiveRecord {
    /// The archive as it is; `None` when it is deleted or was never said to be there.
    pub fn shown(&self) -> Option<Archive> {
        let (there, archive) = self.made.as_ref().or(self.adopted.as_ref())?;
        let mut archive = archive.clone();
        archive.missing = self.missing.is_some_and(|(_, missing)| missing);
        archive.holds = self.holds.to_vec();
        if let Some((sequence, node, index)) = &self.indexed
            && (archive.facts.index.is_none() || sequence > there)
        {
            archive.facts.index = Some(index.clone());
            archive.node = node.clone();
        }
        Some(archive)
    }

    fn deleted(&mut self, sequence: u64) {
        let deleted = self.deleted.max(Some(sequence));
        self.deleted = deleted;
        let counts = |sequence: u64| deleted.is_none_or(|deleted| sequence > deleted);
        self.made.take_if(|(s, _)| !counts(*s));
        self.adopted.take_if(|(s, _)| !counts(*s));
        self.missing.take_if(|(s, _)| !counts(*s));
        self.indexed.take_if(|(s, ..)| !counts(*s));
    }

    fn made(&mut self, sequence: u64, archive: Archive) {
        if self.counts(sequence) && self.made.as_ref().is_none_or(|(s, _)| *s < sequence) {
            self.made = Some((sequence, archive));
        }
    }

    fn adopted(&mut self, sequence: u64, archive: Archive) {
        if self.counts(sequence) && self.adopted.as_ref().is_none_or(|(s, _)| *s < sequence) {
            self.adopted = Some((sequence, archive));
        }
    }

    fn missing(&mut self, sequence: u64, missing: bool) {
        if self.counts(sequence) && self.missing.is_none_or(|(s, _)| s < sequence) {
            self.missing = Some((sequence, missing));
        }
    }

    fn indexed(&mut self, sequence: u64, node: NodeId, index: IndexFacts) {
        if self.counts(sequence) && self.indexed.as_ref().is_none_or(|(s, ..)| *s < sequence) {
            // What was recorded when the archive had just been made is known once, and a later index does not take it away.
            let before = self.indexed.take().map(|(.., before)| before.sample).unwrap_or_default();
            let sample = if index.sample.is_empty() { before } else { index.sample };
            self.indexed = Some((sequence, node, IndexFacts { sample, ..index }));
        }
    }

    fn counts(&self, sequence: u64) -> bool {
        self.deleted.is_none_or(|deleted| sequence > deleted)
    }

    /// The archive's own history begins anew: what it said before is void.
    fn forget_own_history(&mut self) {
        *self = Self { made: self.made.take(), indexed: self.indexed.take(), ..Self::default() };
    }
}

/// A record beside what is shown of it, as it is written.
#[derive(Serialize, Deserialize)]
struct Kept {
    made: Option<Word>,
    adopted: Option<Word>,
    deleted: Option<u64>,
    missing: Option<(u64, bool)>,
    indexed: Option<(u64, NodeId, IndexFacts)>,
    #[serde(default, skip_serializing_if = "Holds::is_empty")]
    holds: Holds,
}

/// Who said that it is there. The archive is left out when it is just as it is shown, which is the usual case.
#[derive(Serialize, Deserialize)]
struct Word {
    sequence: u64,
    archive: Option<Archive>,
}

impl AnyRecord for ArchiveRecord {
    fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let shown = self.shown();
        let word = |(sequence, archive): &(u64, Archive)| Word {
            sequence: *sequence,
            archive: (shown.as_ref() != Some(archive)).then(|| archive.clone()),
        };
        let kept = Kept {
            made: self.made.as_ref().map(word),
            adopted: self.adopted.as_ref().map(word),
            deleted: self.deleted,
            missing: self.missing,
            indexed: self.indexed.clone(),
            holds: self.holds.clone(),
        };
        framed::encode(&shown, &kept)
    }

    fn places(&self) -> Option<Places> {
        // None of what is indexed differs between the word and what is shown.
        let (_, archive) = self.made.as_ref().or(self.adopted.as_ref())?;
        let listed = Listed::Archives;
        let mut indexes = vec![
            listed.index(By::All, ""),
            listed.index(By::Server, archive.server.as_str()),
            listed.index(By::Repository, archive.repository.as_str()),
        ];
        indexes.extend(archive.plan.as_ref().map(|plan| listed.index(By::Plan, plan.as_str())));
        let suffix = suffix(number_of(archive.facts.started_at), archive.id.0);
        Some(Places { listed, suffix, indexes })
    }
}

impl Record for ArchiveRecord {
    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (shown, kept): (Option<Archive>, Kept) = framed::decode(bytes)?;
        let word = |word: Word| {
            let archive = word.archive.or_else(|| shown.clone());
            let archive =
                archive.ok_or_else(|| StoreError::Damaged("an archive that shows nothing".into()))?;
            Ok::<_, StoreError>((word.sequence, archive))
        };
        Ok(Self {
            made: kept.made.map(word).transpose()?,
            adopted: kept.adopted.map(word).transpose()?,
            deleted: kept.deleted,
            missing: kept.missing,
            indexed: kept.indexed,
            holds: kept.holds,
        })
    }
}

fn edit(
    views: &mut Overlay<'_>,
    id: ArchiveId,
    change: impl FnOnce(&mut ArchiveRecord),
) -> Result<(), FoldError> {
    views.edit(Listed::Archives.record(id.0), |place: &mut Option<ArchiveRecord>| {
        change(place.get_or_insert_default());
    })?;
    Ok(())
}

fn job_succeeded(views: &mut Overlay<'_>, event: &Recorded, succeeded: &Succeeded) -> Result<(), FoldError> {
    let outcome = &succeeded.outcome;
    if !matches!(
        outcome.result,
        JobResult::Backup { .. } | JobResult::CopyArchive { .. } | JobResult::IndexArchive { .. }
    ) {
        return Ok(());
    }
    let job = id_of(event)?;
    let requested = views
        .look(Listed::Jobs.record(job.0), |job: Option<&JobRecord>| {
            job.map(|record| record.job.requested.clone())
        })?
        .ok_or_else(|| never_requested(event))?;
    match (&outcome.result, &requested.spec) {
        (JobResult::Backup { archive: facts, .. }, JobSpec::Backup(spec)) => {
            let archive = Archive {
                job: Some(job),
                incomplete: outcome.completeness == Completeness::Incomplete,
                ..archive_of(facts, &requested, &spec.access.repository)
            };
            edit(views, facts.id, |record| record.made(event.sequence, archive))
        }
        (JobResult::CopyArchive { archive: facts, .. }, JobSpec::CopyArchive(spec)) => {
            let archive = Archive {
                job: Some(job),
                plan: spec.plan.clone(),
                incomplete: spec.incomplete,
                ..archive_of(facts, &requested, &spec.access.repository)
            };
            edit(views, facts.id, |record| record.made(event.sequence, archive))
        }
        (JobResult::IndexArchive { index }, JobSpec::IndexArchive { archive, .. }) => {
            edit(views, archive.id, |record| {
                record.indexed(event.sequence, requested.node.clone(), index.clone());
            })
        }
        _ => Err(FoldError::Senseless("an archive or an index from a job that was to make none".into())),
    }
}

fn archive_of(facts: &Facts, requested: &Requested, repository: &RepositoryId) -> Archive {
    Archive {
        id: facts.id,
        repository: repository.clone(),
        server: requested.server.clone(),
        node: requested.node.clone(),
        plan: requested.spec.plan().cloned(),
        job: None,
        facts: facts.clone(),
        incomplete: false,
        missing: false,
        holds: Vec::new(),
    }
}

fn archive_event(views: &mut Overlay<'_>, event: &Recorded) -> Result<(), FoldError> {
    let text = &event.aggregate.id;
    let id: ArchiveId =
        text.parse().map_err(|e| FoldError::Senseless(format!("'{text}' is no id of an archive: {e}")))?;
    let adopted = match &event.event {
        Event::ArchiveAdopted(adopted) => Some(found_archive(id, adopted)?),
        _ => None,
    };
    edit(views, id, |record| {
        if event.version == 1 {
            record.forget_own_history();
        }
        record.holds.evolve(&event.event);
        match &event.event {
            Event::ArchiveDeleted(_) => record.deleted(event.sequence),
            Event::ArchiveMissing(_) => record.missing(event.sequence, true),
            Event::ArchiveFound(_) => record.missing(event.sequence, false),
            _ => {}
        }
        if let Some(archive) = adopted {
            record.adopted(event.sequence, archive);
            record.missing(event.sequence, false);
        }
    })
}

/// An archive that a scan found. No node has made an index of it, which the name of its node says.
fn found_archive(id: ArchiveId, adopted: &Adopted) -> Result<Archive, FoldError> {
    let node = "unknown".parse().map_err(|e| FoldError::Senseless(format!("a node: {e}")))?;
    Ok(Archive {
        id,
        repository: adopted.repository.clone(),
        server: adopted.server.clone(),
        node,
        plan: adopted.plan.clone(),
        job: None,
        facts: adopted.facts.clone(),
        incomplete: false,
        missing: false,
        holds: Vec::new(),
    })
}

//! What a scan of a repository means for the archives that are known.
//!
//! The accident that this prevents: an archive that is told to be missing while it is there (its backup ended during
//! the scan, a page of the scan was lost), or that is believed to be there while it is gone (it was deleted after the
//! scan had seen it).

use super::World;
use super::world::Scan;
use std::collections::{BTreeMap, HashMap, HashSet};
use strongroom_bus::Recorded;
use strongroom_domain::archive::{Adopted, Facts, Found, Missing};
use strongroom_domain::job::JobSpec;
use strongroom_domain::{ArchiveId, Event, JobId, NodeId, PlanId, RepositoryId};

/// A page of a scan.
#[derive(Debug, Clone)]
pub struct ScanPage {
    /// The scan.
    pub job: JobId,
    /// Its fencing token: what was known before this sequence must be seen.
    pub epoch: u64,
    /// 0, 1, ...
    pub page: u32,
    /// What is there.
    pub archives: Vec<Facts>,
    /// Whether it is the last one.
    pub last: bool,
    /// With the last one, mostly: what is on all of them.
    pub all: Option<Vec<ArchiveId>>,
}

/// What follows from a page.
#[derive(Debug, Default, PartialEq)]
pub struct Taken {
    /// The facts, by archive.
    pub facts: Vec<(ArchiveId, Event)>,
    /// The end of the scan has come, and not all that was before it: nothing can be said to be missing.
    pub is_incomplete: bool,
}

/// A page that is not true: an archive's id follows from the repository and from borg's own id, and this one's does not.
/// Nothing of the page is believed, for what it hides behind a wrong id would be told to be missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("page {page} of a scan gives the archive {borg_id:?} an id that is not its own")]
pub struct WrongId {
    /// Which page.
    pub page: u32,
    /// Which archive, in borg's words.
    pub borg_id: String,
}

/// Whether a scan may say something about an archive with this history: what was written after the scan had begun is
/// newer than what it saw, above all a deletion.
pub fn is_news(history: &[Recorded], epoch: u64) -> bool {
    history.iter().all(|e| e.sequence < epoch)
}

/// The pages of scans that run. In memory only: a scan of so many archives that no page can name them all, and whose pages
/// were not all seen here, declares nothing missing.
#[derive(Debug, Default)]
pub struct Scans(HashMap<(JobId, u64), Seen>);

#[derive(Debug, Default)]
struct Seen {
    pages: BTreeMap<u32, HashSet<ArchiveId>>,
    last: Option<u32>,
}

impl Scans {
    /// Takes a page in, and gives the facts that follow, by archive.
    pub fn take(
        &mut self,
        world: &World,
        repository: &RepositoryId,
        page: &ScanPage,
    ) -> Result<Taken, WrongId> {
        let there = &page.archives;
        if let Some(wrong) = there.iter().find(|f| f.id != ArchiveId::of(repository, &f.borg_id)) {
            return Err(WrongId { page: page.page, borg_id: wrong.borg_id.chars().take(64).collect() });
        }
        let deleting = world.being_deleted(repository);
        let known = world.archives.get(repository);
        let mut facts = Vec::new();
        for archive in there {
            match known.and_then(|k| k.get(&archive.id)) {
                None if deleting.contains(&archive.id) => {}
                None => facts.extend(adopt(world, repository, page.job, archive).map(|e| (archive.id, e))),
                Some(k) if k.missing => {
                    let found = Found { job: page.job, repository: repository.clone() };
                    facts.push((archive.id, Event::ArchiveFound(found)));
                }
                Some(_) => {}
            }
        }
        let seen = self.0.entry((page.job, page.epoch)).or_default();
        seen.pages.insert(page.page, there.iter().map(|f| f.id).collect());
        if page.last {
            seen.last = Some(page.page);
        }
        let told = page.all.as_ref().filter(|_| page.last);
        let all = told.map(|all| all.iter().copied().collect()).or_else(|| seen.all());
        let is_incomplete = seen.last.is_some() && all.is_none();
        if let Some(all) = all {
            for (id, known) in known.into_iter().flatten() {
                // One that came into being while the scan ran may rightly be on no page.
                if known.since < page.epoch && !known.missing && !all.contains(id) && !deleting.contains(id) {
                    let missing = Missing { job: page.job, repository: repository.clone() };
                    facts.push((*id, Event::ArchiveMissing(missing)));
                }
            }
        }
        Ok(Taken { facts, is_incomplete })
    }

    /// Forgets scans of which no page can come any more.
    pub fn forget(&mut self, world: &World) {
        self.0.retain(|(job, _), _| world.knows_scan(*job));
    }
}

impl Seen {
    /// Everything on all pages, when all pages were seen.
    fn all(&self) -> Option<HashSet<ArchiveId>> {
        let last = self.last?;
        let complete = (0..=last).all(|n| self.pages.contains_key(&n));
        complete.then(|| self.pages.values().flatten().copied().collect())
    }
}

fn adopt(world: &World, repository: &RepositoryId, job: JobId, facts: &Facts) -> Option<Event> {
    let server = world.repositories.get(repository)?.server.clone();
    let plan = plan_of(&facts.name).filter(|plan| world.plans.contains_key(plan));
    Some(Event::ArchiveAdopted(Adopted {
        repository: repository.clone(),
        server,
        plan,
        facts: facts.clone(),
        job,
    }))
}

/// The plan in a name of ours, `<plan>-<job id>`.
fn plan_of(name: &str) -> Option<PlanId> {
    let (plan, job) = name.split_at_checked(name.len().checked_sub(36)?)?;
    job.parse::<JobId>().ok()?;
    plan.strip_suffix('-')?.parse().ok()
}

impl World {
    /// The attempt at a scan that this page speaks of: one that runs, or was done a moment ago. Schedulers share the reports,
    /// so one may take the end of a scan down before another has come to its last page.
    pub fn scan(&self, job: JobId, node: &NodeId, epoch: u64) -> Option<Scan> {
        let done = || self.scanned.iter().find(|s| s.job == job).cloned();
        self.open_scan(job).or_else(done).filter(|s| s.node == *node && s.epoch == epoch)
    }

    /// Whether pages of this scan may still come.
    pub fn knows_scan(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job) || self.scanned.iter().any(|s| s.job == job)
    }

    /// The attempt at a scan that runs.
    pub fn open_scan(&self, id: JobId) -> Option<Scan> {
        let job = self.jobs.get(&id)?;
        let JobSpec::ScanRepository { access } = &job.state.requested.spec else { return None };
        let admission = job.admission.as_ref()?;
        Some(Scan {
            job: id,
            node: admission.node.clone(),
            epoch: admission.epoch,
            repository: access.repository.clone(),
            cause: job.cause.clone(),
        })
    }
}

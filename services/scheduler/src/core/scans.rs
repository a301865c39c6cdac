//! What a scan of a repository means for the archives that are known.
//!
//! The accident that this prevents: an archive that is told to be missing while it is there (its backup ended during
//! the scan, a page of the scan was lost), or that is believed to be there while it is gone.

use super::World;
use std::collections::{BTreeMap, HashMap, HashSet};
use strongroom_domain::archive::{Adopted, Facts, Found, Missing};
use strongroom_domain::{ArchiveId, Event, JobId, PlanId, RepositoryId};

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
}

/// The pages of scans that run. In memory only: a scan whose pages were not all seen here declares nothing missing.
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
    ) -> Vec<(ArchiveId, Event)> {
        // A node may call an archive what it wants; its id follows from the repository and borg's own id.
        let there: Vec<&Facts> =
            page.archives.iter().filter(|f| f.id == ArchiveId::of(repository, &f.borg_id)).collect();
        let deleting = world.being_deleted(repository);
        let known = world.archives.get(repository);
        let mut facts = Vec::new();
        for archive in &there {
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
        if let Some(all) = seen.all() {
            for (id, known) in known.into_iter().flatten() {
                // One that came into being while the scan ran may rightly be on no page.
                if known.since < page.epoch && !known.missing && !all.contains(id) && !deleting.contains(id) {
                    let missing = Missing { job: page.job, repository: repository.clone() };
                    facts.push((*id, Event::ArchiveMissing(missing)));
                }
            }
        }
        facts
    }

    /// Forgets scans of jobs that have ended.
    pub fn forget(&mut self, world: &World) {
        self.0.retain(|(job, _), _| world.jobs.contains_key(job));
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

//! The laws of the system, checked by reading the log and the repositories behind its back.

use anyhow::{Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use strongroom_bus::{Bus, Delivery, Recorded};
use strongroom_domain::job::JobResult;
use strongroom_domain::{Event, Kind};

/// All of the log, in order.
pub struct History {
    /// Oldest first.
    pub events: Vec<Recorded>,
}

impl History {
    /// Reads it. A follower checks sequences, versions and the chain of hashes on the way.
    pub async fn read(bus: &Bus) -> Result<Self> {
        let mut follower = bus.follow(0);
        let mut events = Vec::new();
        loop {
            match follower.next().await? {
                Delivery::Event(event) => events.push(*event),
                Delivery::Poison(poison) => bail!("sequence {}: {}", poison.sequence, poison.reason),
                Delivery::CaughtUp(_) => return Ok(Self { events }),
            }
        }
    }

    /// The events of one kind of aggregate, by id.
    pub fn of(&self, kind: Kind) -> BTreeMap<String, Vec<&Recorded>> {
        let mut out: BTreeMap<String, Vec<&Recorded>> = BTreeMap::new();
        for event in self.events.iter().filter(|e| e.aggregate.kind == kind) {
            out.entry(event.aggregate.id.clone()).or_default().push(event);
        }
        out
    }

    /// How many jobs were asked for and have not ended.
    pub fn open_jobs(&self) -> usize {
        let jobs = self.of(Kind::Job);
        jobs.values().filter(|events| !events.iter().any(|e| e.event.ends_job())).count()
    }
}

/// The laws that hold for a history.
pub struct Laws<'a> {
    /// The history.
    pub history: &'a History,
}

impl Laws<'_> {
    /// Law 1: every accepted request ends in exactly one terminal event, and nothing follows it.
    pub fn every_request_ends_once(&self) -> Result<usize> {
        let jobs = self.history.of(Kind::Job);
        for (id, events) in &jobs {
            ensure!(
                matches!(events.first().map(|e| &e.event), Some(Event::JobRequested(_))),
                "job {id} does not begin with its request"
            );
            let ends: Vec<usize> = (0..events.len()).filter(|i| events[*i].event.ends_job()).collect();
            ensure!(ends.len() == 1, "job {id} ends {} times: {:?}", ends.len(), types(events));
            ensure!(ends[0] == events.len() - 1, "job {id} goes on after its end: {:?}", types(events));
        }
        Ok(jobs.len())
    }

    /// Law 1, seen from the queue: no two attempts of a job hold it at once, and epochs grow.
    pub fn epochs_grow(&self) -> Result<()> {
        for (id, events) in self.history.of(Kind::Job) {
            let mut last = 0;
            let mut open: Option<u64> = None;
            for event in &events {
                match &event.event {
                    Event::JobStarted(e) => {
                        ensure!(open.is_none(), "job {id}: a second attempt begins while one runs");
                        ensure!(e.epoch > last, "job {id}: epoch {} after {last}", e.epoch);
                        (last, open) = (e.epoch, Some(e.epoch));
                    }
                    Event::JobInterrupted(_) | Event::JobLeaseExpired(_) => open = None,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Law 2: what the catalog lists is what the repository holds, no more and no less.
    pub fn archives_are_there(
        &self,
        catalog: &BTreeSet<String>,
        repository: &BTreeSet<String>,
    ) -> Result<()> {
        let invented: Vec<_> = catalog.difference(repository).collect();
        let unknown: Vec<_> = repository.difference(catalog).collect();
        ensure!(invented.is_empty(), "the catalog claims archives that are not there: {invented:?}");
        ensure!(
            unknown.is_empty(),
            "the repository holds archives that the catalog does not know: {unknown:?}"
        );
        Ok(())
    }

    /// Law 2: every archive of a job that succeeded is in the repository under the job's name, unless it was deleted.
    pub fn archive_names_of_successes(&self) -> BTreeSet<String> {
        let is_deleted = |event: &&Recorded| matches!(event.event, Event::ArchiveDeleted(_));
        let deleted: BTreeSet<&str> =
            self.history.events.iter().filter(is_deleted).map(|e| e.aggregate.id.as_str()).collect();
        let made = self.history.events.iter().filter_map(|e| match &e.event {
            Event::JobSucceeded(done) => match &done.outcome.result {
                JobResult::Backup { archive, .. } => Some(archive),
                _ => None,
            },
            _ => None,
        });
        made.filter(|archive| !deleted.contains(archive.id.to_string().as_str()))
            .map(|archive| archive.name.clone())
            .collect()
    }

    /// Retention removes what was written down before, once, and by the job that was named there. Says how many archives
    /// it has removed.
    pub fn only_what_was_decided_is_removed(&self) -> Result<usize> {
        let (mut decided, mut removed) = (BTreeMap::new(), BTreeSet::new());
        for event in &self.history.events {
            match &event.event {
                Event::RetentionDecided(decision) => {
                    for of in &decision.repositories {
                        let removes = of.removes.iter().map(|removal| removal.archive.id);
                        ensure!(
                            of.gate.is_none() || of.removes.is_empty(),
                            "something goes behind a gate: {of:?}"
                        );
                        decided.extend(removes.map(|archive| (archive, of.job)));
                    }
                }
                Event::ArchiveDeleted(deleted) => {
                    let archive = event.aggregate.id.parse()?;
                    ensure!(removed.insert(archive), "{archive} was removed twice");
                    let job = decided.get(&archive).copied();
                    ensure!(
                        job == Some(Some(deleted.job)),
                        "{archive} was removed by {}, and not {job:?}",
                        deleted.job
                    );
                }
                _ => {}
            }
        }
        let jobs = self.history.of(Kind::Job);
        for job in decided.values().flatten() {
            ensure!(jobs.contains_key(&job.to_string()), "job {job} was decided and never asked for");
        }
        Ok(removed.len())
    }

    /// Law 3: each nominal time of a schedule has one fact, times grow, and each one that fired has its job.
    pub fn no_trigger_is_lost_or_doubled(&self) -> Result<usize> {
        let jobs = self.history.of(Kind::Job);
        let mut seen = 0;
        for (plan, events) in self.history.of(Kind::Schedule) {
            let mut last = None;
            for event in events {
                let (nominal, job) = match &event.event {
                    Event::ScheduleFired(e) => (e.nominal_at, Some(e.job)),
                    Event::ScheduleSkipped(e) => (e.nominal_at, None),
                    _ => continue,
                };
                ensure!(last < Some(nominal), "plan {plan}: {nominal} after {last:?}");
                last = Some(nominal);
                seen += 1;
                if let Some(job) = job {
                    ensure!(
                        jobs.contains_key(&job.to_string()),
                        "plan {plan}: {nominal} fired and has no job"
                    );
                }
            }
        }
        Ok(seen)
    }

    /// Law 4: what was answered with a position is in the log.
    pub fn what_was_accepted_is_there(&self, accepted: &[(Kind, String)]) -> Result<()> {
        for (kind, id) in accepted {
            let there =
                self.history.events.iter().any(|e| e.aggregate.kind == *kind && e.aggregate.id == *id);
            ensure!(there, "{kind} {id} was accepted and is not in the log");
        }
        Ok(())
    }
}

fn types(events: &[&Recorded]) -> Vec<&'static str> {
    events.iter().map(|e| e.event.type_name()).collect()
}

/// The archives of a repository, by name, as borg itself lists them, checkpoints left out.
pub fn archives_in(repository: &Path, passphrase: &str, base: &Path) -> Result<BTreeSet<String>> {
    let output = Command::new("borg")
        .args(["list", "--short", "--bypass-lock"])
        .arg(repository)
        .env("BORG_BASE_DIR", base)
        .env("BORG_PASSPHRASE", passphrase)
        .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
        .stdin(Stdio::null())
        .output()?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "borg list: {problem}");
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.lines().filter(|n| !n.contains(".checkpoint")).map(ToOwned::to_owned).collect())
}

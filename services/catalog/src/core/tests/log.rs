//! A log that grows by what can happen, from numbers that proptest can draw.

use jiff::Timestamp;
use std::collections::BTreeMap;
use strongroom_bus::{Context, Delivery, Poison, Recorded, subjects};
use strongroom_domain::archive::{
    Adopted, Deleted, Facts, Found, Held, IndexFacts, Missing, Released, Sampled, Target,
};
use strongroom_domain::definition::Retired;
use strongroom_domain::failure::{Finding, Severity};
use strongroom_domain::job::{
    BackupSpec, CopySpec, Interrupted, JobResult, JobSpec, Outcome, Requested, Started, Succeeded, Trigger,
};
use strongroom_domain::plan::{Compression, Files, Hooks, Limits, Source};
use strongroom_domain::repository::{Access, Encryption};
use strongroom_domain::retention::Hold;
use strongroom_domain::{
    Aggregate, ArchiveId, Event, EventId, Failure, FailureCode, JobId, Kind, job, node, plan, server,
};
use uuid::Uuid;

#[derive(Default)]
pub struct Log {
    pub items: Vec<Delivery>,
    versions: BTreeMap<Aggregate, u64>,
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub fn job(n: u8) -> JobId {
    JobId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000 + u128::from(n)))
}

pub fn archive(n: u8) -> ArchiveId {
    ArchiveId::of(&"web".parse().unwrap(), &format!("borg{n}"))
}

pub fn job_of(n: u8) -> Aggregate {
    Aggregate::new(Kind::Job, job(n))
}

pub fn archive_of(n: u8) -> Aggregate {
    Aggregate::new(Kind::Archive, archive(n))
}

pub fn plan_of(n: u8) -> Aggregate {
    Aggregate::new(Kind::Plan, format!("plan{n}"))
}

pub fn access() -> Access {
    Access {
        repository: "web".parse().unwrap(),
        location: "/srv/backup/www1/web".into(),
        encryption: Encryption::None,
        passphrase: None,
        store: None,
        recipients: Vec::new(),
        deduplicate: false,
        identity: None,
    }
}

fn source() -> Source {
    Source::Files(Files {
        paths: vec!["/etc".into()],
        excludes: Vec::new(),
        one_file_system: false,
        exclude_caches: false,
    })
}

pub fn facts(n: u8) -> Facts {
    Facts {
        id: archive(n),
        name: format!("a{n}"),
        borg_id: format!("borg{n}"),
        started_at: at(i64::from(n) * 10),
        ended_at: None,
        stats: None,
        comment: String::new(),
        hostname: String::new(),
        index: None,
        dump: None,
    }
}

pub fn requested(spec: JobSpec) -> Event {
    Event::JobRequested(Requested {
        spec,
        server: "www1".parse().unwrap(),
        node: "local".parse().unwrap(),
        trigger: Trigger::Manual,
        deadline_s: None,
    })
}

pub fn backup(plan: u8) -> Event {
    requested(JobSpec::Backup(BackupSpec {
        copies: Vec::new(),
        plan: format!("plan{plan}").parse().unwrap(),
        access: access(),
        source: source(),
        compression: Compression::default(),
        limits: Limits::default(),
        hooks: Hooks::default(),
        quiesce: Vec::new(),
        variant: Default::default(),
        full_every: Default::default(),
        full: false,
        priority: None,
        start_by: None,
        base: None,
    }))
}

pub fn copy_job(of: u8, incomplete: bool) -> Event {
    let archive = Target { id: archive(of), name: format!("a{of}"), borg_id: format!("borg{of}") };
    let plan = Some("plan0".parse().unwrap());
    requested(JobSpec::CopyArchive(CopySpec { from: access(), archive, plan, incomplete, access: access() }))
}

pub fn copied(n: u8) -> Event {
    succeeded(JobResult::CopyArchive { archive: facts(n), recovered: false }, Vec::new())
}

pub fn index_job(of: u8) -> Event {
    let archive = Target { id: archive(of), name: format!("a{of}"), borg_id: format!("borg{of}") };
    requested(JobSpec::IndexArchive { access: access(), archive, sample: false })
}

pub fn started(attempt: u32) -> Event {
    Event::JobStarted(Started {
        attempt,
        node: "local".parse().unwrap(),
        epoch: u64::from(attempt),
        boot: "b".into(),
    })
}

pub fn succeeded(result: JobResult, findings: Vec<Finding>) -> Event {
    let outcome = Outcome::new(result, findings);
    Event::JobSucceeded(Succeeded { epoch: 1, outcome, log_tail: vec!["line".into()] })
}

pub fn made(n: u8) -> Event {
    let finding = Finding { severity: Severity::Incomplete, path: Some("/x".into()), message: "no".into() };
    let result = JobResult::Backup { archive: facts(n), recovered: false, space: None };
    succeeded(result, if n.is_multiple_of(2) { Vec::new() } else { vec![finding] })
}

pub fn indexed(entries: u64) -> Event {
    indexed_with(entries, &[])
}

/// With the digests of these files.
pub fn indexed_with(entries: u64, files: &[&str]) -> Event {
    let sampled = |path: &&str| Sampled { path: (*path).into(), size_bytes: 1, sha256: "11".into() };
    let sample = files.iter().map(sampled).collect();
    let index = IndexFacts { chunks: 1, entries, sha256: "00".into(), sample };
    succeeded(JobResult::IndexArchive { index }, Vec::new())
}

pub fn failed() -> Event {
    let failure = Failure::new(FailureCode::NoSpace, "full").with_log(vec!["tail".into()]);
    Event::JobFailed(job::Failed { epoch: 1, failure })
}

pub fn adopted(n: u8) -> Event {
    Event::ArchiveAdopted(Adopted {
        repository: "web".parse().unwrap(),
        server: "www1".parse().unwrap(),
        plan: None,
        facts: facts(n),
        job: job(200),
    })
}

pub fn deleted() -> Event {
    Event::ArchiveDeleted(Deleted { job: job(201), repository: "web".parse().unwrap() })
}

pub fn missing() -> Event {
    Event::ArchiveMissing(Missing { job: job(202), repository: "web".parse().unwrap() })
}

pub fn found() -> Event {
    Event::ArchiveFound(Found { job: job(203), repository: "web".parse().unwrap() })
}

pub fn held(name: &str, reason: &str) -> Event {
    let hold = Hold { name: name.into(), by: "token:ana".into(), reason: reason.into(), until: None };
    Event::ArchiveHeld(Held { repository: "web".parse().unwrap(), hold })
}

pub fn released(name: &str) -> Event {
    Event::ArchiveReleased(Released { repository: "web".parse().unwrap(), name: name.into() })
}

pub fn plan_defined(n: u8) -> Event {
    Event::PlanDefined(plan::Spec {
        copies: Vec::new(),
        server: format!("www{}", n % 2).parse().unwrap(),
        repository: "web".parse().unwrap(),
        source: source(),
        compression: Compression::default(),
        objective: Default::default(),
        retention: None,
        retention_schedule: None,
        schedule: None,
        limits: Limits::default(),
        hooks: Hooks::default(),
        quiesce: Vec::new(),
        variant: Default::default(),
        full_every: Default::default(),
        description: format!("d{n}"),
    })
}

impl Log {
    pub fn last(&self) -> u64 {
        self.items.len() as u64
    }

    pub fn event(&mut self, aggregate: Aggregate, event: Event) -> &mut Self {
        let sequence = self.last() + 1;
        let version = self.versions.entry(aggregate.clone()).or_default();
        *version += 1;
        self.items.push(Delivery::Event(Box::new(Recorded {
            sequence,
            aggregate,
            id: EventId(Uuid::from_u128(u128::from(sequence))),
            at: at(i64::try_from(sequence).unwrap()),
            version: *version,
            previous: String::new(),
            hash: String::new(),
            source: "/test".into(),
            context: Context::default(),
            event,
        })));
        self
    }

    /// Something happens: mostly what can happen, and sometimes what makes no sense.
    pub fn step(&mut self, what: u8, n: u8) -> &mut Self {
        match what {
            0 => self.event(job_of(n), backup(n % 2)),
            1 => self.event(job_of(n), started(1)),
            2 => self.event(job_of(n), made(n)),
            3 => self.event(job_of(n), failed()),
            4 => {
                self.event(job_of(n), Event::JobInterrupted(Interrupted { epoch: 1, reason: "stop".into() }))
            }
            5 => self.event(job_of(n + 50), index_job(n)),
            6 => self.event(job_of(n + 50), indexed(u64::from(n))),
            7 => self.event(archive_of(n), adopted(n)),
            8 => self.event(archive_of(n), deleted()),
            9 => self.event(archive_of(n), missing()),
            10 => self.event(archive_of(n), found()),
            11 => self.event(plan_of(n), plan_defined(n)),
            12 => self.event(plan_of(n), Event::PlanRetired(Retired::default())),
            13 => self.event(plan_of(n), Event::PlanPaused(plan::Paused { reason: "r".into() })),
            14 => self.event(
                Aggregate::new(Kind::Server, format!("www{n}")),
                Event::ServerDefined(server::Spec {
                    node: "local".parse().unwrap(),
                    description: String::new(),
                    max_concurrent_jobs: None,
                    dump_roots: Vec::new(),
                    restore_roots: Vec::new(),
                }),
            ),
            15 => self.event(
                Aggregate::new(Kind::Node, format!("node{n}")),
                Event::NodeJoined(node::Joined {
                    boot: "b".into(),
                    age_recipient: "age1".into(),
                    version: "1".into(),
                    capabilities: node::Capabilities::default(),
                    started_at: at(0),
                }),
            ),
            16 => self.event(archive_of(n), held("audit", "r")),
            17 => self.event(archive_of(n), released("audit")),
            _ => self.event(job_of(n), Event::JobCancelRequested(job::CancelRequested::default())),
        }
    }

    /// The same log as an older build would read it: the message at this sequence is poison to it.
    pub fn unreadable_at(&self, sequence: u64) -> Vec<Delivery> {
        let mut items = self.items.clone();
        for item in &mut items {
            if let Delivery::Event(event) = item
                && event.sequence == sequence
            {
                *item = Delivery::Poison(Poison {
                    sequence,
                    aggregate: Some(event.aggregate.clone()),
                    subject: subjects::event(&event.aggregate),
                    reason: "unknown event type".into(),
                });
            }
        }
        items
    }

    pub fn history(&self, aggregate: &Aggregate) -> Vec<Recorded> {
        self.items
            .iter()
            .filter_map(|item| match item {
                Delivery::Event(event) if event.aggregate == *aggregate => Some((**event).clone()),
                _ => None,
            })
            .collect()
    }
}

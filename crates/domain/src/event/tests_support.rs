#![allow(clippy::unwrap_used, reason = "tests")]
//! One sample of every event, filled in, for fixtures and tests.

use crate::archive::{Adopted, Deleted, Facts, Found, IndexFacts, Missing, Stats, Target};
use crate::cron::{CatchUp, Overlap, ScheduleSpec};
use crate::definition::Retired;
use crate::failure::{FailureCode, Finding, Severity};
use crate::job::{BackupSpec, JobResult, JobSpec, Outcome, Requested, Trigger};
use crate::plan::{Compression, Files, Hooks, Limits, Source};
use crate::repository::{Access, Encryption};
use crate::{ArchiveId, Event, EventId, Failure, JobId, SecretRef};
use crate::{
    archive, channel, destination, job, node, notification, plan, queue, repository, retention, schedule,
    server, settings, token,
};
use jiff::Timestamp;
use uuid::Uuid;

fn at() -> Timestamp {
    "2026-01-02T03:04:05.678Z".parse().unwrap()
}

fn job_id() -> JobId {
    JobId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001))
}

fn secret() -> SecretRef {
    SecretRef { reference: "repository-web".into(), version: 2 }
}

fn access() -> Access {
    Access {
        repository: "web".parse().unwrap(),
        location: "/srv/backup/www1/web".into(),
        encryption: Encryption::RepokeyBlake2,
        passphrase: Some(secret()),
        store: None,
        recipients: Vec::new(),
        deduplicate: false,
        identity: None,
    }
}

fn source() -> Source {
    Source::Files(Files {
        paths: vec!["/etc".into(), "/home".into()],
        excludes: vec!["*/.cache".into()],
        one_file_system: true,
        exclude_caches: true,
    })
}

/// A request for a backup.
pub(crate) fn requested() -> Requested {
    Requested {
        spec: JobSpec::Backup(BackupSpec {
            copies: Vec::new(),
            plan: "web".parse().unwrap(),
            access: access(),
            source: source(),
            compression: Compression::default(),
            limits: Limits { upload_rate_kib_per_s: Some(1), max_duration_s: Some(2), lock_wait_s: Some(3) },
            hooks: Hooks::default(),
            quiesce: Vec::new(),
            variant: Default::default(),
            full_every: Default::default(),
            full: false,
            priority: None,
            start_by: None,
            base: None,
        }),
        server: "www1".parse().unwrap(),
        node: "local".parse().unwrap(),
        trigger: Trigger::Schedule { nominal_at: at() },
        deadline_s: Some(3600),
    }
}

fn facts() -> Facts {
    Facts {
        id: ArchiveId::of(&"web".parse().unwrap(), "abcd"),
        name: "web-1".into(),
        borg_id: "abcd".into(),
        started_at: at(),
        ended_at: Some(at()),
        stats: Some(Stats {
            files: 1,
            original_size_bytes: 2,
            compressed_size_bytes: 3,
            deduplicated_size_bytes: 4,
            duration_ms: 5,
            average_rate_bytes_per_s: 6,
            repository_size_bytes: Some(7),
        }),
        comment: "c".into(),
        hostname: "h".into(),
        index: Some(IndexFacts { chunks: 1, entries: 2, sha256: "00".into(), sample: Vec::new() }),
        dump: None,
    }
}

fn hold() -> retention::Hold {
    retention::Hold {
        name: "audit".into(),
        by: "token:t".into(),
        reason: "asked for by the auditors".into(),
        until: Some(at()),
    }
}

fn decided() -> retention::Decided {
    let archive = Target { id: facts().id, name: facts().name, borg_id: facts().borg_id };
    let why = retention::Gone::NoRule;
    retention::Decided {
        policy: retention::Policy::of_days(30),
        nominal_at: Some(at()),
        repositories: vec![
            retention::OfRepository {
                repository: "web".parse().unwrap(),
                archives: 7,
                gate: None,
                going: 1,
                removes: vec![retention::Removal { archive, made_at: at(), why }],
                job: Some(job_id()),
            },
            retention::OfRepository {
                repository: "copy".parse().unwrap(),
                archives: 7,
                gate: Some(retention::Gate::RunsFail { failures_in_a_row: 2 }),
                going: 1,
                removes: Vec::new(),
                job: None,
            },
        ],
    }
}

/// One of each.
pub(crate) fn samples() -> Vec<Event> {
    let retired = || Retired { reason: Some("gone".into()) };
    let finding =
        Finding { severity: Severity::Incomplete, path: Some("/etc/shadow".into()), message: "no".into() };
    let mut failure = Failure::new(FailureCode::NoSpace, "full").with_log(vec!["line".into()]);
    // As it was given then: what is advised today stands in no event of yesterday.
    failure.advice = "Free space at the destination or for borg's cache on the node, then retry.".into();
    vec![
        Event::ServerDefined(server::Spec {
            node: "local".parse().unwrap(),
            description: "d".into(),
            max_concurrent_jobs: Some(2),
            dump_roots: Vec::new(),
            restore_roots: vec!["/restore".into()],
        }),
        Event::ServerRetired(retired()),
        Event::DestinationDefined(destination::Spec {
            location: destination::Location::Local(destination::Local { path: "/srv/backup".into() }),
            sealed_for: Vec::new(),
            max_concurrent_jobs: None,
            description: "d".into(),
        }),
        Event::DestinationRetired(retired()),
        Event::RepositoryDefined(repository::Spec {
            server: "www1".parse().unwrap(),
            destination: "disk".parse().unwrap(),
            kind: repository::Kind::Borg,
            encryption: Encryption::Repokey,
            passphrase: Some(secret()),
            recipients: Vec::new(),
            deduplicate: false,
            identity: None,
            max_concurrent_jobs: None,
            description: "d".into(),
        }),
        Event::RepositoryRetired(retired()),
        Event::PlanDefined(plan::Spec {
            copies: Vec::new(),
            server: "www1".parse().unwrap(),
            repository: "web".parse().unwrap(),
            source: source(),
            compression: Compression::try_from("zstd,9".to_owned()).unwrap(),
            schedule: Some(ScheduleSpec {
                cron: "30 2 * * *".into(),
                time_zone: "Europe/Paris".into(),
                catch_up: CatchUp::All,
                overlap: Overlap::Queue,
                jitter_s: 60,
                ..ScheduleSpec::new("", "")
            }),
            limits: Limits::default(),
            hooks: Hooks::default(),
            quiesce: Vec::new(),
            variant: Default::default(),
            full_every: Default::default(),
            objective: Default::default(),
            retention: None,
            retention_schedule: None,
            description: "d".into(),
        }),
        Event::PlanRetired(retired()),
        Event::PlanPaused(plan::Paused { reason: "move".into() }),
        Event::PlanResumed(plan::Resumed {}),
        Event::ChannelDefined(channel::Spec {
            target: channel::Target::Webhook {
                url: "https://example.org/hook".into(),
                signing_key: Some(secret()),
            },
            description: "d".into(),
        }),
        Event::ChannelRetired(retired()),
        Event::TokenIssued(token::Issued {
            sha256: "ab".into(),
            scope: token::Scope::Operate,
            description: "d".into(),
            expires_at: Some(at()),
        }),
        Event::TokenRevoked(token::Revoked {}),
        Event::SettingsLimitsDefined(settings::LimitsSpec {
            max_jobs: Some(8),
            max_jobs_per_server: Some(4),
            max_jobs_per_destination: Some(3),
            max_jobs_per_repository: Some(2),
        }),
        Event::JobRequested(requested()),
        Event::JobCancelRequested(job::CancelRequested { reason: Some("wrong plan".into()) }),
        Event::JobStarted(job::Started {
            attempt: 1,
            node: "local".parse().unwrap(),
            epoch: 9,
            boot: "b".into(),
        }),
        Event::JobInterrupted(job::Interrupted { epoch: 9, reason: "r".into() }),
        Event::JobLeaseExpired(job::LeaseExpired { epoch: 9, silent_s: 61 }),
        Event::JobSucceeded(job::Succeeded {
            epoch: 9,
            outcome: Outcome::new(
                JobResult::Backup { archive: facts(), recovered: true, space: None },
                vec![finding],
            ),
            log_tail: vec!["line".into()],
        }),
        Event::JobFailed(job::Failed { epoch: 9, failure }),
        Event::JobCancelled(job::Cancelled { epoch: 9 }),
        Event::JobAbandoned(job::Abandoned { reason: "r".into() }),
        Event::ScheduleFired(schedule::Fired { nominal_at: at(), job: job_id() }),
        Event::ScheduleSkipped(schedule::Skipped { nominal_at: at(), reason: schedule::SkipReason::Missed }),
        Event::ScheduleOverdue(schedule::Overdue {
            since: at(),
            last_good_at: Some(at()),
            failures_in_a_row: 2,
        }),
        Event::ScheduleInTime(schedule::InTime {
            overdue_since: at(),
            last_good_at: Some(at()),
            exempt: Some(crate::lateness::Exemption::Paused),
        }),
        Event::QueueAdmitted(queue::Admitted { job: job_id(), node: "local".parse().unwrap(), attempt: 1 }),
        Event::ArchiveAdopted(Adopted {
            repository: "web".parse().unwrap(),
            server: "www1".parse().unwrap(),
            plan: Some("web".parse().unwrap()),
            facts: archive::Facts { stats: None, index: None, ..facts() },
            job: job_id(),
        }),
        Event::ArchiveDeleted(Deleted { job: job_id(), repository: "web".parse().unwrap() }),
        Event::ArchiveMissing(Missing { job: job_id(), repository: "web".parse().unwrap() }),
        Event::ArchiveFound(Found { job: job_id(), repository: "web".parse().unwrap() }),
        Event::ArchiveHeld(archive::Held { repository: "web".parse().unwrap(), hold: hold() }),
        Event::ArchiveReleased(archive::Released {
            repository: "web".parse().unwrap(),
            name: "audit".into(),
        }),
        Event::RetentionDecided(decided()),
        Event::NodeJoined(node::Joined {
            boot: "b".into(),
            age_recipient: "age1".into(),
            version: "0.1.0".into(),
            capabilities: node::Capabilities {
                borg_version: Some("1.2.4".into()),
                hostname: "h".into(),
                capacity: 4,
            },
            started_at: at(),
        }),
        Event::NotificationAttempted(notification::Attempted {
            channel: "ops".parse().unwrap(),
            about: EventId(Uuid::from_u128(1)),
            attempt: 1,
            problem: "503".into(),
            next_at: at(),
        }),
        Event::NotificationDelivered(notification::Delivered {
            channel: "ops".parse().unwrap(),
            about: EventId(Uuid::from_u128(1)),
            attempt: 2,
            status: 204,
        }),
        Event::NotificationFailed(notification::Failed {
            channel: "ops".parse().unwrap(),
            about: EventId(Uuid::from_u128(1)),
            attempts: 9,
            problem: "410".into(),
        }),
    ]
}

//! Given a log, when something comes, then these facts follow.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod admission;
mod chains;
mod copying;
mod exactly_once;
mod fold;
mod indexing;
mod inventory;
mod lateness;
mod reports;
mod retention;
mod scans;
mod triggers;
mod upkeep;

use super::World;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::HashMap;
use strongroom_bus::{Context, Recorded};
use strongroom_domain::archive::Facts;
use strongroom_domain::job::{self, Completeness, JobResult, JobSpec, Outcome, Trigger};
use strongroom_domain::queue::Admitted;
use strongroom_domain::{Aggregate, ArchiveId, Event, EventId, JobId, Kind, NodeId, RepositoryId};
use uuid::Uuid;

/// A log that is being written, and the world that it tells.
pub struct Given {
    pub world: World,
    pub events: Vec<Recorded>,
    versions: HashMap<Aggregate, u64>,
    pub now: Timestamp,
}

/// Reads a payload from JSON, as short as a test can say it.
pub fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub fn job(n: u128) -> JobId {
    JobId(Uuid::from_u128(n))
}

impl Given {
    /// A server `s` on node `n`, a destination, repositories `r0` to `r2`.
    pub fn a_fleet() -> Self {
        let now = "2026-03-01T00:00:00Z".parse().unwrap();
        let mut given = Self { world: World::default(), events: Vec::new(), versions: HashMap::new(), now };
        given.event("server.s", Event::ServerDefined(read(json!({ "node": "n" }))));
        let place = json!({ "location": { "type": "local", "path": "/b" } });
        given.event("destination.d", Event::DestinationDefined(read(place)));
        for n in 0..3 {
            let repository = json!({ "server": "s", "destination": "d", "encryption": "none" });
            given.event(&format!("repository.r{n}"), Event::RepositoryDefined(read(repository)));
        }
        given
    }

    pub fn event(&mut self, aggregate: &str, event: Event) -> u64 {
        let aggregate = Aggregate::parse(aggregate).unwrap();
        let version = self.versions.entry(aggregate.clone()).or_default();
        *version += 1;
        let sequence = self.events.len() as u64 + 1;
        let recorded = Recorded {
            sequence,
            aggregate,
            id: EventId(Uuid::from_u128(u128::from(sequence))),
            at: self.now,
            version: *version,
            previous: String::new(),
            hash: format!("hash{sequence}"),
            source: "/test".into(),
            context: Context::default(),
            event,
        };
        self.world.apply(&recorded);
        self.events.push(recorded);
        sequence
    }

    pub fn after(&mut self, seconds: i64) -> &mut Self {
        self.now += SignedDuration::from_secs(seconds);
        self
    }

    pub fn plan(&mut self, id: &str, schedule: serde_json::Value) {
        let spec = json!({
            "server": "s", "repository": "r0", "source": { "type": "files", "paths": ["/x"] }, "schedule": schedule,
        });
        self.event(&format!("plan.{id}"), Event::PlanDefined(read(spec)));
    }

    pub fn requested(&mut self, n: u128, spec: JobSpec) {
        let requested = json!({ "spec": spec, "server": "s", "node": "n", "trigger": { "type": "manual" } });
        self.event(&format!("job.{}", job(n)), Event::JobRequested(read(requested)));
    }

    /// A backup to this repository was asked for.
    pub fn backup(&mut self, n: u128, repository: u8) {
        let spec = json!({
            "kind": "backup", "plan": "p", "access": access(repository),
            "source": { "type": "files", "paths": ["/x"] }, "compression": "lz4",
        });
        self.requested(n, read(spec));
    }

    pub fn admitted(&mut self, n: u128, attempt: u32) -> u64 {
        self.event("queue.main", Event::QueueAdmitted(Admitted { job: job(n), node: node("n"), attempt }))
    }

    pub fn started(&mut self, n: u128, epoch: u64) {
        let started = job::Started { attempt: 1, node: node("n"), epoch, boot: "boot1".into() };
        self.event(&format!("job.{}", job(n)), Event::JobStarted(started));
    }

    pub fn backed_up(&mut self, n: u128, epoch: u64, archive: Facts) {
        let outcome = Outcome {
            result: JobResult::Backup { archive, recovered: false, space: None },
            completeness: Completeness::Complete,
            findings: Vec::new(),
            incomplete_total: 0,
            benign_total: 0,
        };
        let done = job::Succeeded { epoch, outcome, log_tail: Vec::new() };
        self.event(&format!("job.{}", job(n)), Event::JobSucceeded(done));
    }

    pub fn history(&self, n: u128) -> Vec<Recorded> {
        let aggregate = Aggregate::new(Kind::Job, job(n));
        self.events.iter().filter(|e| e.aggregate == aggregate).cloned().collect()
    }
}

pub fn access(repository: u8) -> serde_json::Value {
    json!({ "repository": format!("r{repository}"), "location": "/b/s/r", "encryption": "none" })
}

pub fn repository(n: u8) -> RepositoryId {
    format!("r{n}").parse().unwrap()
}

pub fn facts(repository_n: u8, borg_id: &str, name: &str) -> Facts {
    Facts {
        id: ArchiveId::of(&repository(repository_n), borg_id),
        name: name.into(),
        borg_id: borg_id.into(),
        started_at: "2026-03-01T00:00:00Z".parse().unwrap(),
        ended_at: None,
        stats: None,
        comment: String::new(),
        hostname: String::new(),
        index: None,
        dump: None,
    }
}

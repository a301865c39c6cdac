//! A log, schedulers on it, and the parts that the tests play.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use strongroom_bus::{Bus, Context, NewEvent, NodeBus, Recorded, WorkDelivery};
use strongroom_domain::job::{Completeness, JobResult, Outcome, Report};
use strongroom_domain::wire::{NodeReport, Status, WorkItem};
use strongroom_domain::{Aggregate, ArchiveId, Event, EventId, JobId, Kind};
use strongroom_scheduler::{Config, run};
use strongroom_service::{Shutdown, clock};
use strongroom_testkit::{Nats, wait_until};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const BOOT: &str = "boot1";

pub struct Stage {
    pub nats: Nats,
    pub gateway: Bus,
    pub node: NodeBus,
    schedulers: Vec<(Shutdown, JoinHandle<anyhow::Result<()>>)>,
}

pub fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Quick to notice that a node is gone.
pub fn config() -> Config {
    Config {
        lease_s: 3,
        reconcile_every: Duration::from_millis(500),
        watch_every: Duration::from_millis(100),
        ..Config::default()
    }
}

impl Stage {
    /// So many nats-servers and schedulers, and a server, a destination and four repositories.
    pub async fn set(members: usize, schedulers: usize) -> Result<Self> {
        let nats = if members == 1 {
            Nats::one(&["n", "other"]).await?
        } else {
            Nats::three(&["n", "other"]).await?
        };
        let (gateway, node) = (nats.bus("gateway").await?, nats.node("n").await?);
        let mut stage = Self { nats, gateway, node, schedulers: Vec::new() };
        stage.define("server.s", json!({ "node": "n" })).await?;
        stage.define("destination.d", json!({ "location": { "type": "local", "path": "/b" } })).await?;
        for n in 0..4 {
            let repository = json!({ "server": "s", "destination": "d", "encryption": "none" });
            stage.define(&format!("repository.r{n}"), repository).await?;
        }
        for _ in 0..schedulers {
            stage.start_scheduler(config()).await?;
        }
        Ok(stage)
    }

    pub async fn start_scheduler(&mut self, config: Config) -> Result<()> {
        let bus = self.nats.bus("scheduler").await?;
        let shutdown = Shutdown::new();
        self.schedulers.push((shutdown.clone(), tokio::spawn(run(config, bus, shutdown))));
        Ok(())
    }

    /// Ends all schedulers as a kill does: in the middle of whatever they do.
    pub async fn kill_schedulers(&mut self) {
        for (_, task) in self.schedulers.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }

    pub async fn append(&self, aggregate: &str, event: Event) -> Result<()> {
        let aggregate = Aggregate::parse(aggregate).unwrap();
        let new = NewEvent { id: EventId(Uuid::now_v7()), at: clock::now(), event };
        let context = Context::service("gateway");
        self.gateway
            .journal()
            .decide(&aggregate, &context, |_| Ok::<_, std::convert::Infallible>(Some(new.clone())))
            .await?;
        Ok(())
    }

    pub async fn define(&self, aggregate: &str, spec: Value) -> Result<()> {
        let event = match Aggregate::parse(aggregate).unwrap().kind {
            Kind::Server => Event::ServerDefined(read(spec)),
            Kind::Destination => Event::DestinationDefined(read(spec)),
            Kind::Repository => Event::RepositoryDefined(read(spec)),
            Kind::Plan => Event::PlanDefined(read(spec)),
            other => panic!("{other}"),
        };
        self.append(aggregate, event).await
    }

    pub async fn ask(&self, spec: Value) -> Result<JobId> {
        let job = JobId(Uuid::now_v7());
        let requested = json!({ "spec": spec, "server": "s", "node": "n", "trigger": { "type": "manual" } });
        self.append(&format!("job.{job}"), Event::JobRequested(read(requested))).await?;
        Ok(job)
    }

    pub async fn ask_backup(&self, repository: u8) -> Result<JobId> {
        self.ask(json!({
            "kind": "backup", "plan": "p", "access": access(repository),
            "source": { "type": "files", "paths": ["/x"] }, "compression": "lz4",
        }))
        .await
    }

    pub async fn history(&self, aggregate: &str) -> Result<Vec<Recorded>> {
        Ok(self.gateway.journal().load(&Aggregate::parse(aggregate).unwrap()).await?.events)
    }

    pub async fn types(&self, job: JobId) -> Vec<String> {
        let events = self.history(&format!("job.{job}")).await.unwrap_or_default();
        events.iter().map(|e| e.event.type_name().split('.').nth(2).unwrap().to_owned()).collect()
    }

    pub async fn until_types(&self, job: JobId, expected: &[&str]) -> Result<()> {
        let what = format!("{expected:?}");
        let found = wait_until(&what, PATIENCE, async || (self.types(job).await == expected).then_some(()));
        match found.await {
            Ok(()) => Ok(()),
            Err(e) => anyhow::bail!("{e}; there is {:?}", self.types(job).await),
        }
    }

    /// The next work for the node, which lives.
    pub async fn work(&self) -> Result<(WorkItem, WorkDelivery)> {
        loop {
            self.heartbeat(&[]).await;
            if let Some(delivery) = self.node.next_work(Duration::from_secs(1)).await? {
                return Ok((delivery.item.clone().unwrap(), delivery));
            }
        }
    }

    pub async fn heartbeat(&self, running: &[(JobId, u64)]) {
        let status = Status::Heartbeat {
            node: "n".parse().unwrap(),
            boot: BOOT.into(),
            at: Timestamp::UNIX_EPOCH,
            running: running.to_vec(),
        };
        self.node.status("heartbeat", &status).await;
    }

    pub async fn report(&self, report: NodeReport) -> Result<()> {
        Ok(self.node.report(&Uuid::now_v7().to_string(), &report, None).await?)
    }

    pub async fn begin(&self, item: &WorkItem) -> Result<()> {
        self.report(NodeReport::Started { job: item.job, epoch: item.epoch, boot: BOOT.into() }).await
    }

    pub async fn end(&self, item: &WorkItem) -> Result<()> {
        let how = Report::Succeeded { outcome: outcome(item), log_tail: Vec::new() };
        self.report(NodeReport::Ended { job: item.job, epoch: item.epoch, how }).await
    }
}

pub fn access(repository: u8) -> Value {
    json!({ "repository": format!("r{repository}"), "location": "/b", "encryption": "none" })
}

pub fn facts(repository: u8, borg_id: &str, name: &str) -> Value {
    let id = ArchiveId::of(&format!("r{repository}").parse().unwrap(), borg_id);
    json!({ "id": id, "name": name, "borg_id": borg_id, "started_at": "2026-01-01T00:00:00Z" })
}

fn index() -> Value {
    json!({ "chunks": 1, "entries": 1, "sha256": "00" })
}

/// What a node says that does what it was asked to.
pub fn outcome(item: &WorkItem) -> Outcome {
    use strongroom_domain::job::JobSpec;
    let result = match &item.spec {
        JobSpec::Backup(_) => {
            let borg_id = item.job.to_string().replace('-', "");
            let repository: u8 = item.spec.repository().unwrap().as_str()[1..].parse().unwrap();
            let mut archive = facts(repository, &borg_id, &format!("p-{}", item.job));
            archive["index"] = index();
            JobResult::Backup { archive: read(archive), recovered: false, space: None }
        }
        JobSpec::IndexArchive { .. } => JobResult::IndexArchive { index: read(index()) },
        JobSpec::DeleteArchive { .. } => JobResult::DeleteArchive { was_gone: false },
        _ => JobResult::ScanRepository { archives: 0 },
    };
    Outcome {
        result,
        completeness: Completeness::Complete,
        findings: Vec::new(),
        incomplete_total: 0,
        benign_total: 0,
    }
}

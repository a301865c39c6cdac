//! A log, a catalog on it, and hands to write and ask.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_bus::{AskError, Bus, Context, Head, NewEvent, Position};
use strongroom_catalog::{Config, run};
use strongroom_domain::archive::{Facts, IndexFacts, Stats};
use strongroom_domain::job::{
    BackupSpec, JobResult, JobSpec, Outcome, Requested, Started, Succeeded, Trigger,
};
use strongroom_domain::plan::{Compression, Files, Hooks, Limits, Source};
use strongroom_domain::repository::{Access, Encryption};
use strongroom_domain::view::Health;
use strongroom_domain::{Aggregate, ArchiveId, Event, EventId, JobId, Kind, plan, server};
use strongroom_service::Shutdown;
use strongroom_testkit::{Nats, wait_until};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Stage {
    pub nats: Nats,
    pub gateway: Bus,
    pub scheduler: Bus,
    pub folder: tempfile::TempDir,
}

/// A catalog that runs until it is stopped.
pub struct Running {
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it ends soon").unwrap()
    }

    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Stage {
    pub async fn new() -> Self {
        let nats = Nats::one(&["local"]).await.unwrap();
        let (gateway, scheduler) = (nats.bus("gateway").await.unwrap(), nats.bus("scheduler").await.unwrap());
        Self { nats, gateway, scheduler, folder: tempfile::tempdir().unwrap() }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("catalog")
    }

    pub async fn start(&self) -> Running {
        self.start_in(&self.state_dir()).await
    }

    pub async fn start_in(&self, state_dir: &Path) -> Running {
        let bus = self.nats.bus("catalog").await.unwrap();
        let shutdown = Shutdown::new();
        let config = Config { state_dir: state_dir.to_owned() };
        let task = tokio::spawn(run(config, bus, shutdown.clone()));
        Running { shutdown, task }
    }

    /// Asks until there is an answer that is no fault.
    pub async fn ask<A: DeserializeOwned>(&self, view: &str, question: &impl Serialize) -> A {
        let end = self.end().await;
        wait_until(&format!("an answer to '{view}'"), PATIENCE, async || {
            match self.gateway.ask("catalog", view, question, Some(end.clone()), None).await {
                Ok((answer, position)) => {
                    assert!(position.sequence >= end.sequence);
                    Some(answer)
                }
                Err(AskError::Rejected(rejection)) => panic!("{rejection}"),
                Err(_) => None,
            }
        })
        .await
        .unwrap()
    }

    /// Asks for something that is answered with no, and gives its code.
    pub async fn refused(&self, view: &str, question: &impl Serialize) -> String {
        wait_until(&format!("a refusal of '{view}'"), PATIENCE, async || {
            match self.gateway.ask::<_, ()>("catalog", view, question, None, None).await {
                Err(AskError::Rejected(rejection)) => Some(rejection.code().to_owned()),
                Ok(_) => panic!("it was answered"),
                Err(_) => None,
            }
        })
        .await
        .unwrap()
    }

    pub async fn health(&self) -> Option<Health> {
        Some(self.gateway.ask("catalog", "health", &(), None, None).await.ok()?.0)
    }

    pub async fn end(&self) -> Position {
        let (generation, sequence) = self.gateway.log_state().await.unwrap();
        Position { generation, sequence }
    }

    /// Appends an event to the end of its aggregate.
    pub async fn write(&self, bus: &Bus, aggregate: &Aggregate, event: Event) {
        let new = NewEvent { id: EventId(Uuid::now_v7()), at: now(), event };
        let context = Context::service("test");
        let decided = bus
            .journal()
            .decide::<std::convert::Infallible, _>(aggregate, &context, |_| Ok(Some(new.clone())))
            .await;
        decided.unwrap();
    }

    pub async fn server(&self, name: &str) {
        let spec = server::Spec {
            node: "local".parse().unwrap(),
            description: String::new(),
            max_concurrent_jobs: None,
            dump_roots: Vec::new(),
            restore_roots: Vec::new(),
        };
        self.write(&self.gateway, &Aggregate::new(Kind::Server, name), Event::ServerDefined(spec)).await;
    }

    pub async fn plan(&self, name: &str) {
        let spec = plan::Spec {
            copies: Vec::new(),
            server: "www1".parse().unwrap(),
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
            description: String::new(),
        };
        self.write(&self.gateway, &Aggregate::new(Kind::Plan, name), Event::PlanDefined(spec)).await;
    }

    /// A backup from its request to its end.
    pub async fn backup(&self, plan: &str, index: Option<IndexFacts>) -> (JobId, ArchiveId) {
        let job = JobId(Uuid::now_v7());
        let aggregate = Aggregate::new(Kind::Job, job);
        let facts = facts(job, index);
        let context = Context::service("test");
        let mut head = Head::default();
        for (bus, event) in [
            (&self.gateway, requested(plan)),
            (&self.scheduler, started()),
            (&self.scheduler, succeeded(facts.clone())),
        ] {
            let new = NewEvent { id: EventId(Uuid::now_v7()), at: now(), event };
            head = bus.journal().append(&aggregate, &head, &new, &context).await.unwrap().head;
        }
        (job, facts.id)
    }

    /// A message on an aggregate's subject that nobody can read.
    pub async fn junk(&self, bus: &Bus, aggregate: &Aggregate) {
        let subject = strongroom_bus::subjects::event(aggregate);
        let store = bus.journal().store();
        let last = store.last(&subject).await.unwrap();
        store.publish(&subject, Vec::new(), "{\"junk\":1}".into(), last).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a test may read the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

fn source() -> Source {
    Source::Files(Files {
        paths: vec!["/etc".into(), "/home".into()],
        excludes: vec!["*/.cache".into()],
        one_file_system: true,
        exclude_caches: true,
    })
}

pub fn requested(plan: &str) -> Event {
    let spec = BackupSpec {
        copies: Vec::new(),
        plan: plan.parse().unwrap(),
        access: Access {
            repository: "web".parse().unwrap(),
            location: "/srv/backup/www1/web".into(),
            encryption: Encryption::None,
            passphrase: None,
            store: None,
            recipients: Vec::new(),
            deduplicate: false,
            identity: None,
        },
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
    };
    Event::JobRequested(Requested {
        spec: JobSpec::Backup(spec),
        server: "www1".parse().unwrap(),
        node: "local".parse().unwrap(),
        trigger: Trigger::Manual,
        deadline_s: None,
    })
}

pub fn started() -> Event {
    let node = "local".parse().unwrap();
    Event::JobStarted(Started { attempt: 1, node, epoch: 1, boot: "b".into() })
}

pub fn facts(job: JobId, index: Option<IndexFacts>) -> Facts {
    let borg_id = format!("{:x}", job.0.as_u128());
    Facts {
        id: ArchiveId::of(&"web".parse().unwrap(), &borg_id),
        name: format!("web-{job}"),
        borg_id,
        started_at: now(),
        ended_at: Some(now()),
        stats: Some(Stats {
            files: 1,
            original_size_bytes: 2,
            compressed_size_bytes: 3,
            deduplicated_size_bytes: 4,
            duration_ms: 5,
            average_rate_bytes_per_s: 6,
            repository_size_bytes: Some(7),
        }),
        comment: "{}".into(),
        hostname: "h".into(),
        index,
        dump: None,
    }
}

pub fn succeeded(archive: Facts) -> Event {
    let outcome = Outcome::new(JobResult::Backup { archive, recovered: false, space: None }, Vec::new());
    Event::JobSucceeded(Succeeded { epoch: 1, outcome, log_tail: vec!["Creating archive".into()] })
}

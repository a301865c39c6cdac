//! A log, a notifier on it, and the hands that the gateway and the scheduler have in the product.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use strongroom_bus::{Bus, Context, Head, NewEvent};
use strongroom_domain::archive::{Facts, Stats};
use strongroom_domain::channel::{self, Target};
use strongroom_domain::job::{self, BackupSpec, JobResult, JobSpec, Outcome, Requested, Trigger};
use strongroom_domain::plan::{Compression, Files, Hooks, Limits, Source};
use strongroom_domain::repository::{Access, Encryption};
use strongroom_domain::view::Health;
use strongroom_domain::{Aggregate, ArchiveId, Event, EventId, Failure, FailureCode, JobId, Kind, SecretRef};
use strongroom_notifier::Config;
use strongroom_notifier::core::signature::SigningKey;
use strongroom_service::{Shutdown, clock};
use strongroom_testkit::{Nats, Received, wait_until};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Everything that a test needs.
pub struct Stage {
    pub nats: Nats,
    pub gateway: Bus,
    pub scheduler: Bus,
    pub state: tempfile::TempDir,
    ladder: Vec<Duration>,
    running: Option<(Shutdown, JoinHandle<anyhow::Result<()>>)>,
}

impl Stage {
    /// A log with a notifier whose retries wait this long.
    pub async fn new(ladder_ms: &[u64]) -> Self {
        let nats = Nats::one(&["a"]).await.unwrap();
        let (gateway, scheduler) = (nats.bus("gateway").await.unwrap(), nats.bus("scheduler").await.unwrap());
        let mut stage = Self {
            nats,
            gateway,
            scheduler,
            state: tempfile::tempdir().unwrap(),
            ladder: ladder_ms.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            running: None,
        };
        stage.start().await;
        stage
    }

    /// Starts the notifier and waits until it is ready.
    pub async fn start(&mut self) {
        assert!(self.running.is_none());
        let config = Config { state_dir: self.state_dir().to_owned(), ladder: self.ladder.clone() };
        let bus = self.nats.bus("notifier").await.unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(strongroom_notifier::run(config, bus, shutdown.clone()));
        self.running = Some((shutdown, task));
        wait_until("the notifier is ready", PATIENCE, async || self.health().await.filter(|h| h.ready))
            .await
            .unwrap();
    }

    /// Ends it as a signal does.
    pub async fn stop(&mut self) {
        let (shutdown, task) = self.running.take().unwrap();
        shutdown.cancel();
        task.await.unwrap().unwrap();
    }

    /// Ends it in the middle of whatever it does.
    pub async fn kill(&mut self) {
        let (_, task) = self.running.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    pub async fn health(&self) -> Option<Health> {
        self.gateway.ask("notifier", "health", &(), None, None).await.ok().map(|(health, _)| health)
    }

    /// Appends to the end of an aggregate.
    pub async fn append(&self, bus: &Bus, kind: Kind, id: &str, event: Event) -> EventId {
        let aggregate = Aggregate::new(kind, id);
        let head = bus.journal().load(&aggregate).await.unwrap().head;
        let new = NewEvent { id: EventId(Uuid::now_v7()), at: clock::now(), event };
        let context = Context { actor: "test".into(), ..Context::default() };
        bus.journal().append(&aggregate, &head, &new, &context).await.unwrap();
        new.id
    }

    /// Defines a channel as the gateway does, with its key encrypted to the notifier.
    pub async fn channel(&self, id: &str, url: String) {
        let (recipient, _): (String, _) =
            self.gateway.ask("notifier", "recipient", &(), None, None).await.unwrap();
        let recipient = age::x25519::Recipient::from_str(&recipient).unwrap();
        let secret = SecretRef { reference: format!("channel-{id}"), version: 1 };
        let ciphertext = age::encrypt(&recipient, KEY.as_bytes()).unwrap();
        self.gateway.put_secret(&secret, ciphertext).await.unwrap();
        let target = Target::Webhook { url, signing_key: Some(secret) };
        let spec = channel::Spec { target, description: String::new() };
        self.append(&self.gateway, Kind::Channel, id, Event::ChannelDefined(spec)).await;
    }

    /// A job that was asked for and ended so.
    pub async fn job(&self, end: Event) -> JobId {
        let job = JobId(Uuid::now_v7());
        self.append(&self.gateway, Kind::Job, &job.to_string(), Event::JobRequested(backup())).await;
        self.append(&self.scheduler, Kind::Job, &job.to_string(), end).await;
        job
    }

    /// The facts about notifications so far, oldest first: subject's id and event.
    pub async fn facts(&self) -> Vec<(String, Event)> {
        let raw = self.gateway.journal().store().read(None, 1, 1000).await.unwrap();
        let events = raw.iter().filter_map(|m| strongroom_bus::Recorded::read(m).ok());
        events.filter(|e| e.aggregate.kind == Kind::Notification).map(|e| (e.aggregate.id, e.event)).collect()
    }

    /// Waits until there are so many facts about notifications.
    pub async fn wait_for_facts(&self, count: usize) -> Vec<(String, Event)> {
        wait_until("facts about notifications", PATIENCE, async || {
            Some(self.facts().await).filter(|f| f.len() >= count)
        })
        .await
        .unwrap()
    }

    /// Writes something into an aggregate's stream that no program of ours can read.
    pub async fn junk(&self, aggregate: &Aggregate, head: &Head) {
        let subject = strongroom_bus::subjects::event(aggregate);
        let answer =
            self.gateway.journal().store().publish(&subject, Vec::new(), "junk".into(), head.sequence).await;
        assert!(matches!(answer, strongroom_bus::log_store::PublishAnswer::Stored(_)), "{answer:?}");
    }
}

/// The body of a request, once its signature was found to be right.
pub fn verified(request: &Received) -> serde_json::Value {
    let header = |name: &str| request.headers.get(name).unwrap().clone();
    let timestamp: i64 = header("webhook-timestamp").parse().unwrap();
    assert!((clock::now().as_second() - timestamp).abs() < 300);
    let expected = SigningKey::parse(KEY).unwrap().sign(&header("webhook-id"), timestamp, &request.body);
    assert_eq!(header("webhook-signature"), expected);
    assert_eq!(header("content-type"), "application/json");
    serde_json::from_slice(&request.body).unwrap()
}

pub fn backup() -> Requested {
    Requested {
        spec: JobSpec::Backup(BackupSpec {
            copies: Vec::new(),
            plan: "web".parse().unwrap(),
            access: Access {
                repository: "main".parse().unwrap(),
                location: "/srv/backup".into(),
                encryption: Encryption::None,
                passphrase: None,
                store: None,
                recipients: Vec::new(),
                deduplicate: false,
                identity: None,
            },
            source: Source::Files(Files {
                paths: vec!["/etc".into()],
                excludes: Vec::new(),
                one_file_system: false,
                exclude_caches: false,
            }),
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
        }),
        server: "www1".parse().unwrap(),
        node: "a".parse().unwrap(),
        trigger: Trigger::Manual,
        deadline_s: None,
    }
}

pub fn succeeded() -> Event {
    let facts = Facts {
        id: ArchiveId::of(&"main".parse().unwrap(), "ab"),
        name: "web-1".into(),
        borg_id: "ab".into(),
        started_at: clock::now(),
        ended_at: None,
        stats: Some(Stats {
            files: 7,
            original_size_bytes: 70,
            compressed_size_bytes: 60,
            deduplicated_size_bytes: 50,
            duration_ms: 40,
            average_rate_bytes_per_s: 30,
            repository_size_bytes: None,
        }),
        comment: String::new(),
        hostname: String::new(),
        index: None,
        dump: None,
    };
    let result = JobResult::Backup { archive: facts, recovered: false, space: None };
    Event::JobSucceeded(job::Succeeded {
        epoch: 1,
        outcome: Outcome::new(result, Vec::new()),
        log_tail: Vec::new(),
    })
}

pub fn failed() -> Event {
    let failure = Failure::new(FailureCode::WrongPassphrase, "The passphrase is wrong.");
    Event::JobFailed(job::Failed { epoch: 1, failure })
}

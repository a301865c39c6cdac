//! An executor, and the scheduler that the tests play.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strongroom_bus::Bus;
use strongroom_domain::JobId;
use strongroom_domain::job::{Outcome, Report};
use strongroom_domain::wire::{LeaseAnswer, NodeReport, SealedSecret, WorkItem};
use strongroom_domain::{Failure, FailureCode};
use strongroom_executor::{Config, ContainerSettings, When, run};
use strongroom_service::Shutdown;
use strongroom_testkit::Nats;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub const PATIENCE: Duration = Duration::from_secs(90);
pub const PASSPHRASE: &str = "correct horse";

/// What is said when nothing is said.
const NO_REPORT: &str = "no report came";

/// What a lease question is answered with, by job; `Held` when nothing is said.
type Leases = Arc<Mutex<HashMap<JobId, LeaseAnswer>>>;

pub struct Stage {
    pub nats: Nats,
    pub scheduler: Bus,
    pub leases: Leases,
    pub recipient: String,
    pub folder: tempfile::TempDir,
    /// Secrets that go with the work besides the passphrase, by reference.
    pub secrets: Mutex<HashMap<String, String>>,
    executor: Option<(Shutdown, JoinHandle<anyhow::Result<()>>)>,
    epoch: Mutex<u64>,
    /// The last epoch of each job: an earlier attempt is stale.
    admitted: Arc<Mutex<HashMap<JobId, u64>>>,
}

pub fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl Stage {
    pub async fn set() -> Result<Self> {
        Self::set_with(|config| config).await
    }

    pub async fn set_with(change: impl FnOnce(Config) -> Config) -> Result<Self> {
        Self::set_on(Nats::one(&["n"]).await?, change).await
    }

    /// The same on a server that the test has made.
    pub async fn set_on(nats: Nats, change: impl FnOnce(Config) -> Config) -> Result<Self> {
        let scheduler = nats.bus("scheduler").await?;
        let leases = Leases::default();
        let admitted = Arc::new(Mutex::new(HashMap::new()));
        let (answers, epochs, bus) = (leases.clone(), admitted.clone(), scheduler.clone());
        tokio::spawn(async move {
            let answer = |_: &_, question: &strongroom_domain::wire::LeaseQuestion| {
                let last = epochs.lock().unwrap().get(&question.job).copied().unwrap_or_default();
                let usual = if question.epoch < last { LeaseAnswer::Stale } else { LeaseAnswer::Held };
                answers.lock().unwrap().get(&question.job).copied().unwrap_or(usual)
            };
            bus.serve_leases(answer).await
        });
        let folder = tempfile::tempdir()?;
        let mut stage = Self {
            nats,
            scheduler,
            leases,
            recipient: String::new(),
            folder,
            secrets: Mutex::default(),
            executor: None,
            epoch: Mutex::new(100),
            admitted,
        };
        stage.start(change).await?;
        Ok(stage)
    }

    /// Starts the executor on the stage's state folder, and waits for its word.
    pub async fn start(&mut self, change: impl FnOnce(Config) -> Config) -> Result<()> {
        let config = change(Config {
            lease_every: Duration::from_millis(200),
            // What images there are is a matter of the machine.
            containers: ContainerSettings { when: When::Never, ..ContainerSettings::default() },
            ..Config::new("n".parse()?, self.path("state"))
        });
        let (bus, shutdown) = (self.nats.node("n").await?, Shutdown::new());
        self.executor = Some((shutdown.clone(), tokio::spawn(run(config, bus, shutdown))));
        let NodeReport::Joined(joined) = self.report().await? else { anyhow::bail!("it did not join first") };
        self.recipient = joined.age_recipient;
        Ok(())
    }

    /// Ends the executor as it should end.
    pub async fn stop(&mut self) -> Result<()> {
        let (shutdown, task) = self.executor.take().context("it does not run")?;
        shutdown.cancel();
        task.await?
    }

    /// Ends the executor in the middle of whatever it does.
    pub async fn abort(&mut self) {
        if let Some((_, task)) = self.executor.take() {
            task.abort();
            let _ = task.await;
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The next report; it is acked.
    pub async fn report(&self) -> Result<NodeReport> {
        let next = async {
            loop {
                if let Some(delivery) = self.scheduler.next_report(Duration::from_secs(1)).await? {
                    delivery.done().await?;
                    return delivery.report.map_err(anyhow::Error::msg);
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.context(NO_REPORT)?
    }

    pub async fn emit(&self, spec: Value) -> Result<(JobId, u64)> {
        self.emit_attempt(JobId(Uuid::now_v7()), 1, spec, Some(PASSPHRASE)).await
    }

    /// The same for a job whose id somebody knows already.
    pub async fn emit_as(&self, job: JobId, spec: Value) -> Result<u64> {
        Ok(self.emit_attempt(job, 1, spec, Some(PASSPHRASE)).await?.1)
    }

    pub async fn emit_attempt(
        &self,
        job: JobId,
        attempt: u32,
        spec: Value,
        passphrase: Option<&str>,
    ) -> Result<(JobId, u64)> {
        let epoch = {
            let mut epoch = self.epoch.lock().unwrap();
            *epoch += 1;
            *epoch
        };
        self.admitted.lock().unwrap().insert(job, epoch);
        let recipient: age::x25519::Recipient = self.recipient.parse().map_err(anyhow::Error::msg)?;
        let secrets = passphrase.map(|text| SealedSecret {
            reference: read(secret()),
            ciphertext: age::encrypt(&recipient, text.as_bytes()).unwrap(),
        });
        let more = self.secrets.lock().unwrap().clone().into_iter().map(|(name, text)| SealedSecret {
            reference: read(json!({ "reference": name, "version": 1 })),
            ciphertext: age::encrypt(&recipient, text.as_bytes()).unwrap(),
        });
        let secrets = secrets.into_iter().chain(more).collect();
        let item = WorkItem {
            job,
            epoch,
            attempt,
            spec: read(spec),
            borg_repository_id: None,
            expected_bytes: None,
            secrets,
        };
        self.scheduler.emit_work(&"n".parse()?, &item, None).await?;
        Ok((job, epoch))
    }

    /// Waits for the end of an attempt; its beginning must come first.
    pub async fn end_of(&self, job: JobId, epoch: u64) -> Result<Report> {
        loop {
            match self.report().await? {
                NodeReport::Ended { job: j, epoch: e, how } if j == job && e == epoch => return Ok(how),
                NodeReport::Started { job: j, .. } if j == job => {}
                NodeReport::Scanned { job: j, .. } if j == job => {}
                other => anyhow::bail!("unexpected: {other:?}"),
            }
        }
    }

    /// The same for one that takes its time.
    pub async fn end_within(&self, job: JobId, epoch: u64, patience: Duration) -> Result<Report> {
        let ending = async {
            loop {
                match self.end_of(job, epoch).await {
                    Err(e) if e.to_string() == NO_REPORT => {}
                    ended => return ended,
                }
            }
        };
        tokio::time::timeout(patience, ending).await.context(NO_REPORT)?
    }

    pub async fn end(&self, spec: Value) -> Result<Report> {
        let (job, epoch) = self.emit(spec).await?;
        self.end_of(job, epoch).await
    }

    pub async fn success(&self, spec: Value) -> Result<Outcome> {
        match self.end(spec).await? {
            Report::Succeeded { outcome, .. } => Ok(outcome),
            other => anyhow::bail!("{other:?}"),
        }
    }

    pub async fn failure(&self, spec: Value, code: FailureCode) -> Result<Failure> {
        match self.end(spec).await? {
            Report::Failed { failure } if failure.code == code => Ok(failure),
            other => anyhow::bail!("expected {code}: {other:?}"),
        }
    }

    /// Waits until the job has begun.
    pub async fn begun(&self, job: JobId) -> Result<()> {
        match self.report().await? {
            NodeReport::Started { job: j, .. } if j == job => Ok(()),
            other => anyhow::bail!("unexpected: {other:?}"),
        }
    }

    pub fn access(&self) -> Value {
        self.access_at(&self.path("repository"))
    }

    pub fn access_at(&self, place: &Path) -> Value {
        json!({ "repository": "r", "location": place, "encryption": "repokey-blake2", "passphrase": secret() })
    }

    pub async fn init(&self) -> Result<()> {
        self.success(json!({ "kind": "init-repository", "access": self.access() })).await.map(|_| ())
    }

    pub fn backup(&self, source: &Path) -> Value {
        json!({
            "kind": "backup", "plan": "p", "access": self.access(), "compression": "lz4",
            "source": { "type": "files", "paths": [source] }, "limits": { "lock_wait_s": 1 },
        })
    }

    /// A borg that is slow to begin: time to look at it.
    pub fn slow_borg(&self, seconds: u32) -> Result<PathBuf> {
        self.script(
            "slow-borg",
            &format!("case \"$*\" in *create*) sleep {seconds};; esac\nexec borg \"$@\"\n"),
        )
    }

    pub fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        script(&self.path(name), text)
    }
}

pub fn script(path: &Path, text: &str) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\n{text}"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path.to_owned())
}

pub fn secret() -> Value {
    json!({ "reference": "repository-r", "version": 1 })
}

/// A tree with a few files.
pub fn tree(files: usize) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for n in 0..files {
        let below = folder.path().join(format!("d{}", n % 5));
        std::fs::create_dir_all(&below)?;
        std::fs::write(below.join(format!("f{n}")), format!("content {n}").repeat(n % 50 + 1))?;
    }
    Ok(folder)
}

/// Command lines of processes that speak of this path.
pub fn processes(path: &Path) -> Vec<String> {
    let path = path.display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|e| std::fs::read(e.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&path))
        .collect()
}

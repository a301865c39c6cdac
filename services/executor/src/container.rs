//! Programs of database systems that the node does not have, in containers of images that it has.
//!
//! Which images these are says whoever administers the node, and nothing is ever fetched: a plan, which comes over HTTP,
//! names no image and no engine (`docs/decisions/019-tools-in-containers.md`).

mod running;

pub use running::{Container, Inside, Live, Lost};

use crate::child::{Input, Plan};
use crate::control::{Control, NoOutcome, never};
use crate::core::container::{self, EXECUTOR, Family, Image};
use crate::jobs::Bench;
use crate::program::{self, Said};
use crate::state::State;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strongroom_domain::{Failure, FailureCode, JobId, NodeId};
use tokio::time::Instant;

/// Where Docker's engine listens, unless something else is said.
const ENGINE: &str = "unix:///var/run/docker.sock";
/// A folder that is not there: what people have in their own settings of `docker` has no say here.
const NO_SETTINGS: &str = "--config=/nonexistent";
/// How long what is known of the engine holds.
const FRESH: Duration = Duration::from_secs(10);
/// How long the engine may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take until the containers of a job that has ended are gone.
const GONE_WITHIN: Duration = Duration::from_secs(30);
/// How long an engine that went away may take to come back.
pub const BACK_WITHIN: Duration = Duration::from_secs(120);
/// How often it is looked whether it did.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after the machine has come up the engine may still be coming, in seconds.
const BOOTED_WITHIN_S: u64 = 600;
/// The label that names the job.
const JOB: &str = "strongroom.job";
/// How it is to answer.
const JSON: &str = "--format={{json .}}";
/// The same for a list of images.
const LISTED: &str = "--format={{.Repository}}\t{{.Tag}}";

/// When programs of database systems run in containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// When the node has none that fits.
    #[default]
    WhenMissing,
    /// Never.
    Never,
    /// Always, whatever the node has.
    Always,
}

/// What the administrator of a node says of containers.
#[derive(Debug, Clone, clap::Args)]
pub struct ContainerSettings {
    /// When programs of database systems (pg_dump and the like) run in containers, of images that are on this node.
    #[arg(
        long = "tools-in-containers",
        env = "STRONGROOM_TOOLS_IN_CONTAINERS",
        value_enum,
        default_value = "when-missing",
        value_name = "WHEN"
    )]
    pub when: When,
    /// An image with such programs; give it once for each. The official ones when absent: postgres, mariadb, mysql, mongo.
    #[arg(long = "tool-image", env = "STRONGROOM_TOOL_IMAGES", value_delimiter = ',', value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Docker's engine on this machine.
    #[arg(long = "docker-host", env = "DOCKER_HOST", default_value = ENGINE, value_name = "SOCKET")]
    pub host: String,
}

impl Default for ContainerSettings {
    fn default() -> Self {
        Self { when: When::default(), images: Vec::new(), host: ENGINE.to_owned() }
    }
}

impl ContainerSettings {
    /// The engine, when it is another one than programs of Docker ask by themselves.
    pub fn named_host(&self) -> Option<&str> {
        Some(self.host.as_str()).filter(|host| !host.is_empty() && *host != ENGINE)
    }

    /// Its socket, when it listens on one of this machine.
    pub fn socket(&self) -> Option<&Path> {
        container::socket(&self.host).ok()
    }
}

/// An engine that answers.
#[derive(Debug, Clone)]
pub struct Engine {
    program: PathBuf,
    host: String,
}

impl Engine {
    /// Where it listens.
    fn socket(&self) -> Option<&Path> {
        container::socket(&self.host).ok()
    }

    /// The arguments of `docker` before those that say what is to be done.
    fn arguments(&self, words: impl IntoIterator<Item = String>) -> Vec<String> {
        [NO_SETTINGS.to_owned(), format!("--host={}", self.host)].into_iter().chain(words).collect()
    }
}

/// A program that is looked for.
pub struct Sought<'a> {
    /// Whose.
    pub family: Family,
    /// Its names.
    pub names: &'a [&'a str],
    /// By which arguments it tells its version.
    pub version: &'a [&'a str],
    /// The version of the server, when it is known and matters.
    pub server: Option<u32>,
}

/// A program in an image.
pub struct Found {
    /// Where it is.
    pub inside: Inside,
    /// What it is called there.
    pub name: String,
    /// What it says of its version.
    pub said: String,
}

/// The containers of an executor.
pub struct Containers {
    settings: ContainerSettings,
    /// By which its containers are known from those of all others.
    executor: String,
    node: NodeId,
    notes: PathBuf,
    known: tokio::sync::Mutex<Known>,
    /// What programs in images say of themselves; nothing, when they are not in it.
    versions: Mutex<HashMap<(String, String), Option<String>>>,
    live: Arc<Live>,
}

#[derive(Default)]
struct Known {
    looked: Option<(Instant, Result<Engine, String>)>,
    /// Whether it has answered in this life of the executor.
    has_answered: bool,
    /// Whether what an earlier life has left is gone.
    cleared: bool,
}

impl Containers {
    /// Those of an executor with this state folder.
    pub fn new(settings: ContainerSettings, node: NodeId, state: &State) -> Self {
        Self {
            settings,
            executor: format!("{EXECUTOR}={}", state.host_id),
            node,
            notes: state.children(),
            known: tokio::sync::Mutex::default(),
            versions: Mutex::default(),
            live: Arc::default(),
        }
    }

    /// Removes what an earlier life has left. It waits for no engine that is not there: what is left ends with its dump, and
    /// goes before anything else is started.
    pub async fn clear(&self) {
        if let Err(why) = self.engine().await {
            tracing::debug!(why, "no containers of an earlier life are looked for");
        }
    }

    /// Waits until no container of a job is there any more.
    pub async fn gone(&self, job: JobId) {
        // Where it takes longer, whoever removes them has told so.
        let _ = tokio::time::timeout(GONE_WITHIN, self.live.gone(job)).await;
    }

    /// The engine that programs of plans are to ask, when it is not the usual one.
    pub fn named_host(&self) -> Option<&str> {
        self.settings.named_host()
    }

    /// Whether the engine was away when a job needed it, which is forgotten.
    pub fn lost(&self, job: JobId) -> Option<Lost> {
        self.live.lost(job)
    }

    /// Waits until it answers again, and removes what it may have left of a job; says whether it does.
    pub async fn back(&self, job: JobId) -> bool {
        let answers = async {
            loop {
                // What was known of it is not so any more.
                self.known.lock().await.looked = None;
                match self.engine().await {
                    Ok(engine) => return engine,
                    Err(_) => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        match tokio::time::timeout(BACK_WITHIN, answers).await {
            Ok(engine) => {
                self.remove_left(&engine, &format!("{JOB}={job}")).await;
                true
            }
            Err(_) => false,
        }
    }

    /// Whether it may be expected to answer soon: it did before, or the machine has just come up.
    async fn is_expected(&self) -> bool {
        let uptime = || std::fs::read_to_string("/proc/uptime").ok()?.split('.').next()?.parse::<u64>().ok();
        let has_booted = || uptime().is_some_and(|seconds| seconds < BOOTED_WITHIN_S);
        self.known.lock().await.has_answered || (!program::find("docker", &[]).is_empty() && has_booted())
    }

    /// Whether programs of the node count.
    pub fn node_counts(&self) -> bool {
        self.settings.when != When::Always
    }

    /// Programs in images, up to the first that is just right.
    pub async fn find(
        &self,
        bench: &Bench<'_>,
        control: Control,
        sought: &Sought<'_>,
        right: impl Fn(&str) -> bool,
    ) -> Result<Vec<Found>, NoOutcome> {
        if self.settings.when == When::Never {
            return Ok(Vec::new());
        }
        let Ok(engine) = self.engine().await else {
            if self.is_expected().await {
                self.live.lose(bench.job, Lost::BeforeIt);
            }
            return Ok(Vec::new());
        };
        let (mut found, mut trouble) = (Vec::new(), None);
        for image in self.images(bench, &engine, sought, &control).await? {
            for &name in sought.names {
                let labels = vec![
                    self.executor.clone(),
                    format!("strongroom.node={}", self.node),
                    format!("{JOB}={}", bench.job),
                    format!("strongroom.epoch={}", bench.epoch),
                ];
                let inside = Inside::new(engine.clone(), image.clone(), labels, bench.job, self.live.clone());
                match self.version(&inside, name, sought.version, control.clone()).await {
                    Ok(Some(said)) => {
                        let is_right = right(&said);
                        found.push(Found { inside, name: name.to_owned(), said });
                        if is_right {
                            return Ok(found);
                        }
                    }
                    Ok(None) => {}
                    Err(NoOutcome::Failed(failure)) => trouble = Some(failure),
                    Err(stopped) => return Err(stopped),
                }
            }
        }
        match trouble {
            Some(failure) if found.is_empty() => Err(failure.into()),
            _ => Ok(found),
        }
    }

    /// That a program is nowhere: `lacks` says what of the node, `package` has it, and so has the image `repository`.
    pub async fn missing(
        &self,
        name: &str,
        lacks: String,
        package: &str,
        repository: &str,
        server: Option<u32>,
    ) -> Failure {
        let image = container::wanted(repository, server);
        let would_do = match self.engine().await {
            _ if !self.settings.images.is_empty() => format!(
                "have an image with it on the node and name it with --tool-image ({} is not there, or does not have it)",
                self.settings.images.join(", ")
            ),
            Ok(_) => format!("fetch the image {image} (docker pull {image}), in which it is run then"),
            Err(why) => format!("have it run in the image {image}, for which Docker is needed: {why}"),
        };
        let message = match self.settings.when {
            When::Never => format!("{lacks}; install the package {package}"),
            When::WhenMissing => format!("{lacks}; install the package {package}, or {would_do}"),
            When::Always => {
                format!(
                    "there is no {name} that fits in an image on this node, where it is to be run; {would_do}"
                )
            }
        };
        Failure::new(FailureCode::ToolMissing, message)
    }

    /// What a program in an image says of its version. An image never changes, so that it is asked once.
    async fn version(
        &self,
        inside: &Inside,
        name: &str,
        arguments: &[&str],
        control: Control,
    ) -> Result<Option<String>, NoOutcome> {
        let key = (inside.image().id.clone(), name.to_owned());
        let versions = || self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = versions().get(&key).cloned() {
            return Ok(known);
        }
        let mut plan = self.plan(name.into(), arguments.iter().map(|&word| word.to_owned()).collect());
        plan.inside = Some(inside.seeing([]));
        let said = match program::ask(plan, control).await {
            Ok(said) if said.status.success() => {
                Some(String::from_utf8_lossy(&said.stdout).trim().to_owned()).filter(|said| !said.is_empty())
            }
            // Killed, or not begun: that says nothing of what is in the image, and the next one asks again.
            Ok(said) if said.status.code().is_none_or(|code| code > 125) => return Ok(None),
            Ok(_) => None,
            Err(NoOutcome::Failed(failure)) if container::is_lacking(&failure.log_tail) => None,
            Err(why) => return Err(why),
        };
        versions().insert(key, said.clone());
        Ok(said)
    }

    /// The images that may have a program, as they are now.
    async fn images(
        &self,
        bench: &Bench<'_>,
        engine: &Engine,
        sought: &Sought<'_>,
        control: &Control,
    ) -> Result<Vec<Image>, NoOutcome> {
        let mut names = self.settings.images.clone();
        if names.is_empty() {
            let listed = self.ask(engine, &["image", "ls", LISTED], control).await?.ok_or_else(|| {
                self.live.lose(bench.job, Lost::InTheMiddle);
                let message = format!("Docker's engine at {} does not say which images it has", engine.host);
                Failure::new(FailureCode::ContainerFailed, message)
            })?;
            names = container::candidates(sought.family, &String::from_utf8_lossy(&listed), sought.server);
        }
        let mut images = Vec::new();
        for name in names {
            let said = self.ask(engine, &["image", "inspect", JSON, "--", &name], control).await?;
            images.extend(said.and_then(|said| container::inspected(&name, &said)));
        }
        Ok(images)
    }

    /// What the engine prints, when it does what it is told.
    async fn ask(
        &self,
        engine: &Engine,
        words: &[&str],
        control: &Control,
    ) -> Result<Option<Vec<u8>>, NoOutcome> {
        let said = self.told(engine, words, control.clone()).await?;
        Ok(said.filter(|said| said.status.success()).map(|said| said.stdout))
    }

    /// What comes of telling the engine something; nothing, when it does not answer in time.
    async fn told(
        &self,
        engine: &Engine,
        words: &[&str],
        control: Control,
    ) -> Result<Option<Said>, NoOutcome> {
        let words = engine.arguments(words.iter().map(|&word| word.to_owned()));
        let asking = program::ask(self.plan(engine.program.clone(), words), control);
        match tokio::time::timeout(ANSWERS_WITHIN, asking).await {
            Ok(said) => said.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The engine, when it can be used. Before it is used for the first time, what an earlier life has left is removed.
    async fn engine(&self) -> Result<Engine, String> {
        let mut known = self.known.lock().await;
        if let Some((_, engine)) = known.looked.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return engine.clone();
        }
        let engine = self.look().await;
        if let Ok(engine) = &engine {
            known.has_answered = true;
            if !known.cleared {
                known.cleared = self.remove_left(engine, &self.executor).await;
            }
        }
        known.looked = Some((Instant::now(), engine.clone()));
        engine
    }

    async fn look(&self) -> Result<Engine, String> {
        let host = if self.settings.host.is_empty() { ENGINE } else { self.settings.host.as_str() };
        let socket = container::socket(host)?;
        if !socket.exists() {
            return Err(format!("Docker's engine is not running: there is no {}", socket.display()));
        }
        // Several may be there, of which one is too new for the engine.
        let mut why = "there is no docker program on this node".to_owned();
        for (n, program) in program::find("docker", &[]).into_iter().enumerate() {
            let engine = Engine { program, host: host.to_owned() };
            let unfit = match self.say(&engine, &["info", JSON]).await {
                Ok(said) => container::unfit(&said.stdout, &said.tail),
                Err(why) => Some(why),
            };
            match unfit {
                None => return Ok(engine),
                Some(reason) if n == 0 => why = reason,
                Some(_) => {}
            }
        }
        Err(why)
    }

    /// Removes what an earlier life has left; says whether nothing is left.
    async fn remove_left(&self, engine: &Engine, label: &str) -> bool {
        let ours = format!("--filter=label={}", self.executor);
        let filter = format!("--filter=label={label}");
        let left = match self.say(engine, &["ps", "--all", "--quiet", "--no-trunc", &ours, &filter]).await {
            Ok(said) if said.status.success() => said.stdout,
            _ => return false,
        };
        let left = String::from_utf8_lossy(&left).into_owned();
        let ids: Vec<&str> = left.split_whitespace().collect();
        if ids.is_empty() {
            return true;
        }
        tracing::warn!(containers = ids.len(), "containers of an earlier life still run; they are removed");
        let words: Vec<&str> = ["rm", "--force", "--volumes"].into_iter().chain(ids).collect();
        match self.say(engine, &words).await {
            Ok(said) if said.status.success() => true,
            Ok(said) => {
                tracing::warn!(said = said.tail.join("; "), "containers of an earlier life are not removed");
                false
            }
            Err(why) => {
                tracing::warn!(why, "containers of an earlier life are not removed");
                false
            }
        }
    }

    async fn say(&self, engine: &Engine, words: &[&str]) -> Result<Said, String> {
        match self.told(engine, words, never()).await {
            Ok(Some(said)) => Ok(said),
            Err(NoOutcome::Failed(failure)) => Err(failure.message),
            Err(NoOutcome::Stopped(_)) => Err("it was stopped".to_owned()),
            Ok(None) => Err(format!("Docker's engine gave no answer within {} s", ANSWERS_WITHIN.as_secs())),
        }
    }

    fn plan(&self, program: PathBuf, arguments: Vec<String>) -> Plan {
        program::plan(&program, arguments, None, Input::Nothing, self.notes.clone())
    }
}

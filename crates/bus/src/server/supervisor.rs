//! Running nats-server as a child: it dies with its parent, and is started again when it dies alone.

use super::child::{ChildPlan, StoreLock};
use super::config::ServerConfig;
use super::monitor::{self, Unfit};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Why the server is not up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken.
    #[error("port {port} on {host} is taken ({problem}); end what listens there or choose another port")]
    PortTaken {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// What the system says.
        problem: String,
    },
    /// Another nats-server works in the same folder.
    #[error("another nats-server runs on {path} and does not end; end it, or choose another data folder")]
    StoreInUse {
        /// Which folder.
        path: String,
    },
    /// The child did not come up.
    #[error("nats-server did not come up: {0}")]
    NotReady(String),
    /// It came up, but must not keep the log.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A file could not be written.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: String,
        /// What went wrong.
        problem: String,
    },
}

/// How the child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// It was not started yet.
    Starting,
    /// It runs, with this process id.
    Running(u32),
    /// It died and will be started again.
    Restarting,
    /// It was stopped.
    Stopped,
}

/// Why a new configuration is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It could not be written.
    #[error(transparent)]
    File(#[from] StartError),
    /// The server does not run at the moment; it takes the new one when it is started again.
    #[error("nats-server is being started again, with the new configuration")]
    Restarting,
    /// The server goes on with the old one.
    #[error("nats-server does not take the new configuration and goes on with the old one: {0}")]
    Refused(String),
}

/// A nats-server that is kept running. Dropping it ends the server, as [`Supervisor::stop`] does, without waiting.
pub struct Supervisor {
    state: watch::Receiver<ServerState>,
    stop: mpsc::Sender<()>,
    monitor: String,
    plan: ChildPlan,
}

/// How long a server whose parent was killed may take to end.
const PREDECESSOR: Duration = Duration::from_secs(15);
/// How long the server may take to come up, with all that it has to recover.
const COMING_UP: Duration = Duration::from_secs(60);
/// How long it may take to end before it is killed.
const ENDING: Duration = Duration::from_secs(10);
/// How long it may take to take a new configuration.
const RELOADING: Duration = Duration::from_secs(5);
/// What the server may have printed before its output is begun anew.
const MAX_OUTPUT_BYTES: u64 = 4 << 20;

impl Supervisor {
    /// Starts the server and waits until it serves.
    pub async fn start(
        binary: &Path,
        config: &ServerConfig,
        rendered: &str,
        config_file: &Path,
    ) -> Result<Self, StartError> {
        let plan = ChildPlan {
            binary: binary.to_owned(),
            config_file: config_file.to_owned(),
            store_dir: config.store_dir.clone(),
            log_file: config.log_file.clone(),
            death_signal: "TERM",
        };
        let store = wait_for_predecessor(&plan).await?;
        check_port(&config.host, config.port)?;
        check_port("127.0.0.1", config.monitor_port)?;
        if let Some(cluster) = &config.cluster {
            check_port(&config.host, cluster.port)?;
        }
        write_private(config_file, rendered)?;
        let (stop, stopped) = mpsc::channel();
        let (tell, state) = watch::channel(ServerState::Starting);
        // A thread of its own for the life of the child: the death signal of a child fires when the *thread* that
        // spawned it ends, so a worker of the runtime must not be the parent.
        let keeper = Keeper { plan: plan.clone(), stopped, tell };
        std::thread::Builder::new()
            .name("nats-server".into())
            .spawn(move || keeper.run(store))
            .map_err(|e| StartError::NotReady(e.to_string()))?;
        let monitor = format!("127.0.0.1:{}", config.monitor_port);
        let mut supervisor = Self { state, stop, monitor, plan };
        // A member of a cluster is healthy only when others are, which may be started after it.
        supervisor.wait_until_up(config.cluster.is_some()).await?;
        monitor::check(&supervisor.monitor).await?;
        Ok(supervisor)
    }

    async fn wait_until_up(&mut self, is_member: bool) -> Result<(), StartError> {
        let words = self.plan.clone();
        let not_ready = |why: &str| StartError::NotReady(format!("{why}: {}", words.last_words()));
        let end = Instant::now() + COMING_UP;
        while Instant::now() < end {
            let state = *self.state.borrow_and_update();
            match state {
                // It will be tried again, but what fails at the first start is seldom helped by that.
                ServerState::Restarting => return Err(not_ready("it ended at once")),
                ServerState::Stopped => return Err(not_ready("it cannot be started")),
                ServerState::Running(_) if self.is_up(is_member).await => return Ok(()),
                ServerState::Running(_) | ServerState::Starting => {}
            }
            let _ = tokio::time::timeout(Duration::from_millis(20), self.state.changed()).await;
        }
        Err(not_ready("it gives no sign of health"))
    }

    async fn is_up(&self, is_member: bool) -> bool {
        if is_member {
            monitor::varz(&self.monitor).await.is_ok()
        } else {
            monitor::is_healthy(&self.monitor).await
        }
    }

    /// How the child is, and a way to wait for changes.
    pub fn state(&self) -> watch::Receiver<ServerState> {
        self.state.clone()
    }

    /// The process id of the child, when it runs.
    pub fn pid(&self) -> Option<u32> {
        match *self.state.borrow() {
            ServerState::Running(pid) => Some(pid),
            ServerState::Starting | ServerState::Restarting | ServerState::Stopped => None,
        }
    }

    /// Where the server says how it is, `host:port`; for [`monitor::check`].
    pub fn monitor(&self) -> &str {
        &self.monitor
    }

    /// Puts a new configuration in force without a restart, as when a node joins. Connections stay.
    pub async fn reload(&self, rendered: &str) -> Result<(), ReloadError> {
        // Tried beside the file in force: a bad one there would keep the server from coming back after a crash.
        let candidate = self.plan.config_file.with_extension("candidate");
        write_private(&candidate, rendered)?;
        let tried =
            tokio::process::Command::new(&self.plan.binary).arg("-t").arg("-c").arg(&candidate).output();
        let tried = tried.await.map_err(|e| ReloadError::Refused(e.to_string()))?;
        if !tried.status.success() {
            return Err(ReloadError::Refused(String::from_utf8_lossy(&tried.stderr).trim().to_owned()));
        }
        std::fs::rename(&candidate, &self.plan.config_file)
            .map_err(|e| file_error(&self.plan.config_file, &e))?;
        // Twice, because an account that is new at a reload is made without its imports, and given them at the next one.
        for _ in 0..2 {
            self.reload_once().await?;
        }
        Ok(())
    }

    async fn reload_once(&self) -> Result<(), ReloadError> {
        let before = self.loaded_at().await?;
        let Some(pid) = self.pid() else { return Err(ReloadError::Restarting) };
        signal(pid, rustix::process::Signal::HUP);
        let end = Instant::now() + RELOADING;
        while self.loaded_at().await? == before {
            if Instant::now() >= end {
                return Err(ReloadError::Refused(self.plan.last_words()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn loaded_at(&self) -> Result<Option<serde_json::Value>, ReloadError> {
        let varz = monitor::varz(&self.monitor).await.map_err(|e| ReloadError::Refused(e.to_string()))?;
        Ok(varz.get("config_load_time").cloned())
    }

    /// Stops the child and waits until it is gone.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        let patience = ENDING + Duration::from_secs(5);
        let stopped = self.state.wait_for(|s| *s == ServerState::Stopped);
        if tokio::time::timeout(patience, stopped).await.is_err() {
            tracing::warn!("nats-server does not end");
        }
    }
}

async fn wait_for_predecessor(plan: &ChildPlan) -> Result<StoreLock, StartError> {
    let end = Instant::now() + PREDECESSOR;
    loop {
        match plan.lock_store() {
            Ok(Some(store)) => return Ok(store),
            Ok(None) if Instant::now() >= end => {
                return Err(StartError::StoreInUse { path: plan.store_dir.display().to_string() });
            }
            Ok(None) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(e) => return Err(file_error(&plan.store_dir, &e)),
        }
    }
}

fn check_port(host: &str, port: u16) -> Result<(), StartError> {
    TcpListener::bind((host, port)).map(|_| ()).map_err(|e| StartError::PortTaken {
        host: host.to_owned(),
        port,
        problem: e.to_string(),
    })
}

/// The configuration of a cluster holds a password, so no other user of the machine may read it.
fn write_private(path: &Path, text: &str) -> Result<(), StartError> {
    let aside = path.with_extension("new");
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&aside, path))
        .map_err(|e| file_error(path, &e))
}

fn file_error(path: &Path, error: &std::io::Error) -> StartError {
    StartError::File { path: path.display().to_string(), problem: error.to_string() }
}

/// The thread that keeps the child.
struct Keeper {
    plan: ChildPlan,
    stopped: mpsc::Receiver<()>,
    tell: watch::Sender<ServerState>,
}

impl Keeper {
    fn run(self, store: StoreLock) {
        let mut store = Some(store);
        let mut wait = Duration::from_millis(100);
        loop {
            let begun = Instant::now();
            match self.start(store.take()) {
                Ok(mut child) => {
                    self.tell.send_replace(ServerState::Running(child.id()));
                    if self.was_told_to_end(&mut child) {
                        break;
                    }
                    tracing::warn!(
                        server.output = self.plan.last_words(),
                        "nats-server died; it is started again"
                    );
                }
                Err(e) => {
                    tracing::error!(error = %e, "nats-server cannot be started");
                    // What fails before there was any child is told to whoever waits for the first one.
                    if *self.tell.borrow() == ServerState::Starting {
                        let _ = std::fs::write(self.plan.output_file(), e.to_string());
                        break;
                    }
                }
            }
            self.tell.send_replace(ServerState::Restarting);
            let was_stable = begun.elapsed() > Duration::from_secs(10);
            wait =
                if was_stable { Duration::from_millis(100) } else { (wait * 2).min(Duration::from_secs(5)) };
            if !matches!(self.stopped.recv_timeout(wait), Err(mpsc::RecvTimeoutError::Timeout)) {
                break;
            }
        }
        self.tell.send_replace(ServerState::Stopped);
    }

    fn start(&self, store: Option<StoreLock>) -> std::io::Result<Child> {
        let output = self.plan.output_file();
        if std::fs::metadata(&output).is_ok_and(|m| m.len() > MAX_OUTPUT_BYTES) {
            std::fs::File::create(&output)?;
        }
        let store = match store {
            Some(store) => store,
            None => self.plan.lock_store()?.ok_or_else(|| std::io::Error::other("the store is in use"))?,
        };
        self.plan.spawn(store)
    }

    /// Waits for the end of the child, and says whether it was told to.
    fn was_told_to_end(&self, child: &mut Child) -> bool {
        loop {
            if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
                return false;
            }
            match self.stopped.recv_timeout(Duration::from_millis(50)) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                // Told to stop, or the supervisor was dropped.
                Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    end(child);
                    return true;
                }
            }
        }
    }
}

/// A signal to a child that may be gone: then there is nobody to tell, and nothing to do.
fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn end(child: &mut Child) {
    signal(child.id(), rustix::process::Signal::TERM);
    let deadline = Instant::now() + ENDING;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A free TCP port on loopback, for servers that cannot choose one themselves.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Where the configuration lies in a data folder.
pub fn config_path(data: &Path) -> PathBuf {
    data.join("nats-server.conf")
}

//! Running nats-server as a child: it dies with its parent, and is started again when it dies alone.

use super::config::ServerConfig;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
    /// The child did not come up.
    #[error("nats-server did not come up: {0}")]
    NotReady(String),
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
    /// It runs, with this process id.
    Running(u32),
    /// It died and will be started again.
    Restarting,
    /// It was stopped.
    Stopped,
}

/// A nats-server that is kept running.
pub struct Supervisor {
    state: watch::Receiver<ServerState>,
    stop: mpsc::Sender<()>,
}

impl Supervisor {
    /// Starts the server and waits until it answers.
    pub async fn start(
        binary: &Path,
        config: &ServerConfig,
        rendered: &str,
        config_file: &Path,
    ) -> Result<Self, StartError> {
        check_port(&config.host, config.port)?;
        check_port("127.0.0.1", config.monitor_port)?;
        std::fs::write(config_file, rendered).map_err(|e| StartError::File {
            path: config_file.display().to_string(),
            problem: e.to_string(),
        })?;
        let log = config_file.with_extension("log");
        let (stop, stopped) = mpsc::channel();
        let (tell, state) = watch::channel(ServerState::Restarting);
        let (binary, file) = (binary.to_owned(), config_file.to_owned());
        // A thread of its own for the life of the child: the death signal of a child fires when the *thread* that
        // spawned it ends, so a worker of the runtime must not be the parent.
        std::thread::Builder::new()
            .name("nats-server".into())
            .spawn(move || keep_running(&binary, &file, &log, &stopped, &tell))
            .map_err(|e| StartError::NotReady(e.to_string()))?;
        let supervisor = Self { state, stop };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if tokio::net::TcpStream::connect((config.host.as_str(), config.port)).await.is_ok() {
                return Ok(supervisor);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(StartError::NotReady(tail(&config_file.with_extension("log"))))
    }

    /// How the child is, and a way to wait for changes.
    pub fn state(&self) -> watch::Receiver<ServerState> {
        self.state.clone()
    }

    /// Stops the child and waits until it is gone.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(
            Duration::from_secs(15),
            self.state.wait_for(|s| *s == ServerState::Stopped),
        )
        .await;
    }
}

fn check_port(host: &str, port: u16) -> Result<(), StartError> {
    TcpListener::bind((host, port)).map(|_| ()).map_err(|e| StartError::PortTaken {
        host: host.to_owned(),
        port,
        problem: e.to_string(),
    })
}

fn keep_running(
    binary: &Path,
    config: &Path,
    log: &Path,
    stopped: &mpsc::Receiver<()>,
    tell: &watch::Sender<ServerState>,
) {
    let mut wait = Duration::from_millis(100);
    loop {
        let begun = Instant::now();
        match spawn(binary, config, log) {
            Ok(mut child) => {
                tell.send_replace(ServerState::Running(child.id()));
                if run_until_end(&mut child, stopped) {
                    tell.send_replace(ServerState::Stopped);
                    return;
                }
                tracing::warn!("nats-server died; it is started again");
            }
            Err(e) => tracing::error!(error = %e, "nats-server cannot be started"),
        }
        tell.send_replace(ServerState::Restarting);
        wait = if begun.elapsed() > Duration::from_secs(10) {
            Duration::from_millis(100)
        } else {
            (wait * 2).min(Duration::from_secs(5))
        };
        if !matches!(stopped.recv_timeout(wait), Err(mpsc::RecvTimeoutError::Timeout)) {
            tell.send_replace(ServerState::Stopped);
            return;
        }
    }
}

/// Whether it ended because it was told to.
fn run_until_end(child: &mut Child, stopped: &mpsc::Receiver<()>) -> bool {
    loop {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return false;
        }
        match stopped.recv_timeout(Duration::from_millis(50)) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            // Told to stop, or the supervisor was dropped.
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                end(child);
                return true;
            }
        }
    }
}

fn end(child: &mut Child) {
    signal(child.id(), "TERM");
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Sends a signal through kill(1): the product itself holds no unsafe code.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}

fn spawn(binary: &Path, config: &Path, log: &Path) -> std::io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    // setpriv (util-linux) asks the kernel to end the server when its parent is gone, however that died. Its own process
    // group keeps a Ctrl-C at the terminal from ending the log before its writers.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(binary).arg("-c").arg(config);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    command.spawn()
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(5)).copied().collect::<Vec<_>>().join(" | ")
}

/// What `/varz` must say for the log to be safe; the error says what is wrong.
pub fn check_settings(varz: &serde_json::Value) -> Result<(), String> {
    let config = varz.pointer("/jetstream/config");
    let always =
        config.and_then(|c| c.get("sync_always")).and_then(serde_json::Value::as_bool).unwrap_or(false);
    if !always {
        return Err("JetStream does not run with 'sync_interval: always': acknowledged events can be lost at a power cut".into());
    }
    Ok(())
}

/// A free TCP port on loopback, for servers that cannot choose one themselves.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Where the configuration and its log lie in a data folder.
pub fn config_path(data: &Path) -> PathBuf {
    data.join("nats-server.conf")
}

//! nats-server with keys, rights and streams as the product makes them, in a folder that goes with it.

use anyhow::{Context, Result, anyhow};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use strongroom_bus::Bus;
use strongroom_bus::NodeBus;
use strongroom_bus::nats::Settings;
use strongroom_bus::server::config::{Cluster, ServerConfig, render};
use strongroom_bus::server::keys::KeyRing;
use strongroom_bus::server::provision::Provision;
use strongroom_bus::server::{binary, supervisor};
use strongroom_domain::NodeId;

/// One nats-server or a cluster of three.
pub struct Nats {
    folder: tempfile::TempDir,
    keys: KeyRing,
    nodes: Vec<NodeId>,
    secret: String,
    members: Vec<Member>,
}

struct Member {
    config: ServerConfig,
    child: Option<Child>,
}

impl Nats {
    /// One server, with these nodes known.
    pub async fn one(nodes: &[&str]) -> Result<Self> {
        Self::start(1, nodes, Duration::from_secs(5)).await
    }

    /// A cluster of three.
    pub async fn three(nodes: &[&str]) -> Result<Self> {
        Self::start(3, nodes, Duration::from_secs(5)).await
    }

    /// `members` servers; deliveries to nodes are kept for `work_ack_wait` without a sign of them.
    pub async fn start(members: usize, nodes: &[&str], work_ack_wait: Duration) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let nodes: Vec<NodeId> =
            nodes.iter().map(|n| n.parse().map_err(|_| anyhow!("not a node name"))).collect::<Result<_>>()?;
        let keys = KeyRing::open(&folder.path().join("keys"), &nodes)?;
        let routes: Vec<u16> = (0..members).map(|_| supervisor::free_port()).collect::<Result<_, _>>()?;
        let mut nats = Self {
            folder,
            keys,
            nodes: nodes.clone(),
            secret: uuid::Uuid::now_v7().to_string(),
            members: Vec::new(),
        };
        for (i, port) in routes.iter().enumerate() {
            let config = ServerConfig {
                name: format!("n{i}"),
                host: "127.0.0.1".into(),
                port: supervisor::free_port()?,
                monitor_port: supervisor::free_port()?,
                store_dir: nats.folder.path().join(format!("store{i}")),
                max_store_bytes: 4 << 30,
                log_file: None,
                cluster: (members > 1).then(|| Cluster {
                    port: *port,
                    routes: routes.iter().map(|r| format!("127.0.0.1:{r}")).collect(),
                    secret: nats.secret.clone(),
                }),
            };
            nats.members.push(Member { config, child: None });
        }
        for i in 0..members {
            nats.start_member(i)?;
        }
        let provision = Provision {
            replicas: u32::try_from(members)?,
            log_max_bytes: 1 << 30,
            indexes_max_bytes: 256 << 20,
            nodes,
            work_ack_wait,
            generation: uuid::Uuid::now_v7().to_string(),
        };
        provision.apply(&nats.settings("provisioner")).await?;
        Ok(nats)
    }

    /// How many servers there are.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The addresses of all servers, comma separated.
    pub fn urls(&self) -> String {
        self.members
            .iter()
            .map(|m| format!("nats://127.0.0.1:{}", m.config.port))
            .collect::<Vec<_>>()
            .join(",")
    }

    /// How a user connects.
    pub fn settings(&self, user: &str) -> Settings {
        Settings { urls: self.urls(), user: user.to_owned(), nkey_file: self.keys.seed_file(user) }
    }

    /// The folder with everything, for tests that want to look.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A core service's connection.
    pub async fn bus(&self, service: &str) -> Result<Bus> {
        Ok(Bus::connect(&self.settings(service)).await?)
    }

    /// A node's connection.
    pub async fn node(&self, node: &str) -> Result<NodeBus> {
        let settings = self.settings(&format!("node-{node}"));
        Ok(NodeBus::connect(&settings, node.parse().map_err(|_| anyhow!("not a node name"))?).await?)
    }

    /// kill -9 of one server.
    pub fn kill(&mut self, i: usize) -> Result<()> {
        let member = self.members.get_mut(i).context("no such member")?;
        if let Some(mut child) = member.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Starts a server that was killed, and waits until it accepts connections.
    pub fn start_member(&mut self, i: usize) -> Result<()> {
        let server =
            binary::find().context("the tests need a nats-server; 'cargo xtask test' installs one")?;
        let member = self.members.get_mut(i).context("no such member")?;
        let file = self.folder.path().join(format!("n{i}.conf"));
        std::fs::write(&file, render(&member.config, &self.nodes, self.keys.public()))?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("n{i}.log")))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(server)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting nats-server")?;
        member.child = Some(child);
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", member.config.port)).is_err() {
            anyhow::ensure!(Instant::now() < end, "nats-server did not come up; see its log");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for i in 0..self.members.len() {
            let _ = self.kill(i);
        }
    }
}

/// Whether borg is installed; the tests that need it fail with a word on how to get it.
pub fn borg_is_there() -> Result<()> {
    let found =
        Command::new("borg").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    anyhow::ensure!(found, "the tests need borg; 'cargo xtask test' installs it");
    Ok(())
}
